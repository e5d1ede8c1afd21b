"""What trains a hospital, made of the settings and the data: the model, checked, and the records as tensors.

Simulated hospitals and real sites build theirs here alike, except for where their random numbers come from. What is
left out on purpose: training itself (see `training`).
"""

import torch
from torch import nn

from wardround.clients.checks import check_training
from wardround.clients.held_model import fresh_copy
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import Config
from wardround.datasets import Federation, HospitalData
from wardround.identity import source_of
from wardround.models import build_model
from wardround.privacy.cells import cell_of

__all__ = ["build_trainer", "hospital_tensors", "trainer_of"]


def build_trainer(config: Config, federation: Federation, *, is_real: bool = False) -> LocalTrainer:
    """Return what trains one hospital after the other, its model checked by `check_training`.

    Args:
        config: all settings.
        federation: for the shapes of its data, and what tells it from any other.
        is_real: whether for a site of its own, which draws from the operating system whatever the settings say.

    Raises:
        ConfigError: the model or the mode can't be trusted with privacy, or does not fit the data.
    """
    model, _ = build_model(
        config.model,
        input_shape=federation.input_shape,
        num_outputs=federation.num_classes,
        seed=config.federation.seed,
        private=cell_of(config.privacy).is_private,
    )
    return trainer_of(model, config, federation, is_real=is_real)


def trainer_of(model: nn.Module, config: Config, federation: Federation, *, is_real: bool = False) -> LocalTrainer:
    """Return what trains copies of a model that was built already; see `build_trainer`."""
    # What a module's own way of being copied makes of it is what is checked.
    model = fresh_copy(model)
    mode = check_training(config, federation, model)
    fingerprints = [hospital.fingerprint for hospital in federation.hospitals]
    source = source_of(config, fingerprints=fingerprints, is_real=is_real)
    protects = mode is not None
    trainer = LocalTrainer(model, config.training, task=federation.task, source=source, protects_records=protects)
    if protects:
        trainer.mode_for(federation.input_shape)  # refuses now what it would refuse once it is charged
    return trainer


def hospital_tensors(hospital: HospitalData, device: torch.device) -> HospitalTensors:
    """Return a hospital's records as tensors on the device, copied: the arrays are read-only and may be shared."""
    return HospitalTensors(
        train_features=torch.tensor(hospital.train_features, device=device),
        train_labels=torch.tensor(hospital.train_labels, device=device),
        test_features=torch.tensor(hospital.test_features, device=device),
        test_labels=torch.tensor(hospital.test_labels, device=device),
        train_owners=None if hospital.train_owners is None else torch.tensor(hospital.train_owners, device=device),
    )
