"""What trains a hospital, made of the settings and the data: the model, checked, and the records as tensors.

Simulated hospitals and real sites build theirs here alike, except for where their random numbers come from. What is
left out on purpose: training itself (see `training`).
"""

from dataclasses import fields

import torch
from torch import nn

from wardround.clients.cells import torch_half
from wardround.clients.heap import keep_freed_memory
from wardround.clients.initial_models import built_model
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import Config
from wardround.datasets import FederatedData, HospitalData
from wardround.datasets.constants import Balance, Constants
from wardround.datasets.oversampling import check_classes, oversampled
from wardround.errors import ConfigError
from wardround.identity import source_of
from wardround.models.fitting import copied
from wardround.object_digests import digest_of_object
from wardround.privacy.cells import AUTOMATIC, cell_of
from wardround.streams import Source

__all__ = ["build_trainer", "hospital_tensors", "training_tensors"]


def build_trainer(
    config: Config, federation: FederatedData, *, model: nn.Module | None = None, source: Source | None = None
) -> LocalTrainer:
    """Return what trains one hospital after the other, its model checked as its cell asks.

    Args:
        config: all settings.
        federation: for the shapes of its data, and what tells it from any other.
        model: where it was built already; it is copied.
        source: of what is drawn; None is what the settings say, for simulated hospitals. A real site gives its own.

    Raises:
        ConfigError: the model or the mode can't be trusted with privacy, or does not fit the data.
    """
    keep_freed_memory()
    check_classes(config, federation)
    if model is None:
        model, _ = built_model(config, federation.input_shape, federation.num_classes)
    if source is None:
        fingerprints = [hospital.fingerprint for hospital in federation.hospitals]
        source = source_of(config, fingerprints=fingerprints, model=_as_built(config, model))
    cell, group_size = cell_of(config.privacy), config.privacy.microbatch_size
    if group_size > 1 and any(hospital.train_owners is not None for hospital in federation.hospitals):
        raise ConfigError(
            f"microbatch-size = {group_size} groups records of one row, and patients have several rows here, which are "
            "clipped as one already ([privacy] microbatch-size): remove it"
        )
    trainer = LocalTrainer(
        model,
        config.training,
        task=federation.task,
        edges=federation.time_edges,
        source=source,
        protects_records=cell.clips_records,
        clips_automatically=config.privacy.clipping == AUTOMATIC,
    )
    if config.imbalance.remedy == "duplicate" and (by_class := config.imbalance.copies) is not None:
        trainer.weigh(Balance(loss_weights=(1.0,) * len(by_class), copies=by_class))
    # Refused now and of the copy that is trained, not once it is charged.
    torch_half(cell.name).check(trainer, federation)
    return trainer


def _as_built(config: Config, model: nn.Module) -> str:
    """Return a digest of all that a user's model is but the values of its parameters, which every key has anyway.

    A factory may read a file or a variable of the environment, of which neither its code nor its name tells.
    """
    if ":" not in config.model.name:
        return ""
    empty = copied(config.model.name, model)
    with torch.no_grad():
        for parameter in empty.parameters():
            parameter.zero_()
    return digest_of_object(empty, "model", is_named=True)[0]


def training_tensors(
    config: Config, hospital: HospitalData, constants: Constants, device: torch.device
) -> HospitalTensors:
    """Return a hospital's records as its model takes them: scaled, and with synthetic ones where the settings ask."""
    taken = hospital if constants.scaling is None else constants.scaling.of_hospital(hospital)
    if config.imbalance.remedy != "smote":
        return hospital_tensors(taken, device, config.privacy.microbatch_size)
    taken, num_synthetic = oversampled(taken, config.federation.seed, config.imbalance.neighbours)
    return hospital_tensors(taken, device, num_synthetic=num_synthetic)


def hospital_tensors(
    hospital: HospitalData, device: torch.device, group_size: int = 1, num_synthetic: int = 0
) -> HospitalTensors:
    """Return a hospital's records as tensors on the device, copied: the arrays are read-only and may be shared.

    So many records at a time are drawn and clipped as one ([privacy] microbatch-size); the last ones are synthetic.
    """
    numbers = ("group_size", "num_synthetic")
    names = [item.name for item in fields(HospitalTensors) if item.init and item.name not in numbers]
    arrays = {name: getattr(hospital, name) for name in names}
    rows = {name: torch.tensor(array, device=device) for name, array in arrays.items() if array is not None}
    return HospitalTensors(**rows, group_size=group_size, num_synthetic=num_synthetic)
