"""Whether DP-SGD can be trusted with a model, found out before anything is charged: by trying it.

No list of layers can rule out what a user's forward does. A model that folds time or patches into the batch, mixes
records, or uses what Opacus can't follow is found by comparing one private step with gradients taken record by record.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wardround.clients.gradients import (
    GhostOptimizer,
    PrivateOptimizer,
    accumulate_batch,
    per_record_module,
    quiet_hooks,
)
from wardround.clients.losses import loss_per_record
from wardround.config import Config
from wardround.datasets import Federation
from wardround.errors import ConfigError, WardroundError
from wardround.privacy.noise import GaussianNoise

__all__ = ["check_training"]

_NUM_RECORDS = 3
_TOLERANCE = 1e-3


def check_training(config: Config, federation: Federation, model: nn.Module) -> None:
    """Refuse a model or a mode whose private step is not the sum of every record's clipped gradient.

    Args:
        config: all settings; where no record is protected there is nothing to check.
        federation: gives the records' shape.
        model: as it will be trained; it is not changed.

    Raises:
        ConfigError: the reason, and what to do.
    """
    mode = config.training.grad_sample_mode
    if config.privacy.placement == "none" or config.privacy.unit == "hospital":
        return  # no record is clipped
    if mode == "ghost" and any(hospital.train_owners is not None for hospital in federation.hospitals):
        raise ConfigError(
            'grad-sample-mode = "ghost" can\'t average the rows of one patient, and patients have several here: '
            'set "hooks" ([training] grad-sample-mode)'
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probe = _probe(model)
        features = torch.randn((_NUM_RECORDS, *federation.input_shape))
        labels = torch.arange(_NUM_RECORDS) % federation.num_classes
        if federation.task == "regression":
            labels = torch.randn(_NUM_RECORDS)
        _compare(config.model.name, mode, probe, features, labels, loss_per_record(federation.task))


def _probe(model: nn.Module) -> nn.Module:
    """Return a copy in training mode, with random parameters (a head of zeros would hide all) and without dropout."""
    probe = copy.deepcopy(model).cpu().train()
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for module in probe.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return probe


def _compare(name: str, mode: str, probe: nn.Module, features: Tensor, labels: Tensor, loss: Any) -> None:
    parameters = [parameter for parameter in probe.parameters() if parameter.requires_grad]
    alone = [_gradient_of(probe, parameters, features[[i]], labels[[i]], loss) for i in range(_NUM_RECORDS)]
    again = _gradient_of(probe, parameters, features[[0]], labels[[0]], loss)
    norms = torch.stack([gradient.norm() for gradient in alone])
    max_grad_norm = float(norms.median()) / 2 or 1.0
    wanted = torch.stack([g * min(1.0, max_grad_norm / (float(n) + 1e-6)) for g, n in zip(alone, norms, strict=True)])
    got = _private_sum(mode, probe, features, labels, loss, max_grad_norm)
    by_chance = not torch.allclose(again, alone[0])  # its own random layers: only the shapes could be checked
    error = float((got - wanted.sum(dim=0)).norm())
    if not by_chance and error > _TOLERANCE * max_grad_norm * _NUM_RECORDS:
        raise ConfigError(
            f'model "{name}" with grad-sample-mode = "{mode}" does not clip every record\'s gradient: a step on '
            f"{_NUM_RECORDS} records is {error / max_grad_norm:.3g} clips off the sum of theirs. Its forward mixes "
            "records, or folds something else into the batch: keep records apart along the first dimension, or set "
            '[privacy] placement = "none"'
        )


def _gradient_of(probe: nn.Module, parameters: list[nn.Parameter], record: Tensor, label: Tensor, loss: Any) -> Tensor:
    """Return one record's gradient, flat, by plain differentiation."""
    gradients = torch.autograd.grad(loss(probe(record), label).sum(), parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).reshape(-1)
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _private_sum(
    mode: str, probe: nn.Module, features: Tensor, labels: Tensor, loss: Any, max_grad_norm: float
) -> Tensor:
    """Return the clipped sum that one private step without noise takes, flat, as training takes it."""
    before = nn.utils.parameters_to_vector(p for p in probe.parameters() if p.requires_grad).detach().clone()
    kind = GhostOptimizer if mode == "ghost" else PrivateOptimizer
    try:
        module = per_record_module(probe, mode, max_grad_norm)
        optimizer = kind(
            torch.optim.SGD([p for p in probe.parameters() if p.requires_grad], lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=max_grad_norm,
            expected_batch_size=1.0,
        )
        optimizer.draw_from(GaussianNoise(np.random.default_rng(0), torch.device("cpu")))
        with quiet_hooks():
            accumulate_batch(module, optimizer, features, labels, loss)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'grad-sample-mode = "{mode}" can\'t serve this model: {type(error).__name__}: {error}: correct the model, '
            "or try another mode ([training] grad-sample-mode)"
        ) from error
    return before - nn.utils.parameters_to_vector(p for p in probe.parameters() if p.requires_grad).detach()
