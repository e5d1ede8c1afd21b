"""The mean loss of models on public records, computed by whoever releases them: no hospital has a part in it."""

from collections.abc import Callable

import torch

from wardround.clients.evaluation import outputs_of
from wardround.clients.held_model import resolve_device
from wardround.clients.initial_models import built_model
from wardround.clients.losses import loss_per_record
from wardround.config import Config
from wardround.datasets.public_records import PublicRecords
from wardround.exact_sums import Arrays
from wardround.models import load_parameters
from wardround.rounds import HospitalProfile

__all__ = ["public_loss"]


def public_loss(config: Config, records: PublicRecords, profile: HospitalProfile) -> Callable[[Arrays], float]:
    """Return what gives a model's mean loss on public records, by its parameters; the same bits for the same ones.

    Args:
        config: names the model, and the device.
        records: public.
        profile: of any hospital, whose task and shapes are those of all.

    Raises:
        ConfigError: the model does not fit.
    """
    device = resolve_device(config.training.device)
    model = built_model(config, profile.input_shape, profile.num_outputs)[0].to(device).eval()
    features, labels = (torch.tensor(part, device=device) for part in (records.features, records.labels))
    loss = loss_per_record(profile.task)

    def measured(arrays: Arrays) -> float:
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the last bits of sums depend on it, and which of two models is better may
        try:
            load_parameters(model, arrays)
            with torch.no_grad():
                return float(loss(outputs_of(model, features), labels).double().mean())
        finally:
            torch.set_num_threads(num_threads)

    return measured
