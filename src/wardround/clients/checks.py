"""Whether the settings' mode of per-record gradients serves a model, found out before anything is charged.

That records are apart follows from the kind of the model's forward (see `modes`), not from what is tried here. Tried is
that the model runs, and that Opacus' gradients are the ones that plain differentiation gives, on numbers that are far
apart in size. What is left out on purpose: any exception for models that draw at random.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.forwards import check_unwatched
from wardround.clients.gradients import (
    ClippedSum,
    PerRecord,
    per_record_module,
    quiet_hooks,
    trained_parameters,
)
from wardround.clients.held_model import HeldModel, fresh_copy
from wardround.clients.losses import LossPerRecord
from wardround.clients.modes import Mode
from wardround.datasets import FederatedData
from wardround.errors import ConfigError, WardroundError
from wardround.survival import SURVIVAL

__all__ = ["check_hospitals_apart", "check_records_apart"]

_NUM_RECORDS = 4
_TOLERANCE = 1e-3


def check_records_apart(held: HeldModel, federation: FederatedData) -> Mode:
    """Return how gradients by record will be computed, having tried that every one of them is clipped.

    Raises:
        ConfigError: the model or the mode can't be trusted: the reason, and what to do.
    """
    check_unwatched()
    _check_precision(held)
    mode = held.mode_for(federation.input_shape)
    if mode.name == "ghost" and any(hospital.train_owners is not None for hospital in federation.hospitals):
        raise ConfigError(
            'grad-sample-mode = "ghost" can\'t average the rows of one patient, and patients have several here: '
            'set "hooks" ([training] grad-sample-mode)'
        )
    with _extremes(federation) as (features, labels):
        if mode.name == "per-record":
            _compare_by_record(held, features.to(held.device), labels.to(held.device))
        else:
            _compare(mode.name, _probe(held.model), features, labels, held.loss)
    return mode


def check_hospitals_apart(held: HeldModel, federation: FederatedData) -> None:
    """Refuse a model that gives another gradient after other records went through another copy of it.

    Raises:
        ConfigError: the reason, and what to do.
    """
    check_unwatched()
    _check_precision(held)
    if not held.unknown_because(federation.input_shape):
        return
    with _extremes(federation) as (features, labels):
        first = _gradient_on_batch(held, features, labels)
        _gradient_on_batch(held, features * 3 + 1, labels)
        again = _gradient_on_batch(held, features, labels)
    if not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise ConfigError(
            "the model gives other gradients once other records went through a copy of it: it keeps something outside "
            "of its attributes, or draws outside of torch, and could carry one hospital's data to the next. Keep its "
            "forward a function of the batch and the parameters ([model] name)"
        )


def _check_precision(held: HeldModel) -> None:
    """Refuse what the proof of the clipped sum is not of (see `clipped_sums`)."""
    for name, parameter in held.model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise ConfigError(
                f"the model's parameter {name} is {str(parameter.dtype).removeprefix('torch.')} and must be float32, "
                "for which clipping is proved: call .float() on the model in its factory ([model] name)"
            )


@contextmanager
def _extremes(federation: FederatedData) -> Iterator[tuple[Tensor, Tensor]]:
    """Give records of very different sizes: an ordinary, a large and a small one, and a single spike."""
    with torch.random.fork_rng(devices=[]), quiet_hooks():
        _seed(0)
        features = torch.randn((_NUM_RECORDS, *federation.input_shape))
        features[1] *= 1e3
        features[2] *= 1e-3
        features[3] = 0.0
        features[3].view(-1)[0] = 1e3
        labels = torch.arange(_NUM_RECORDS) % federation.num_classes
        if federation.task == "regression":
            labels = torch.randn(_NUM_RECORDS)
        elif federation.task == SURVIVAL:
            # Events in some intervals, and as many that were censored; one of each is beyond the last edge.
            times = torch.linspace(0, 1.5 * federation.time_edges[-1], _NUM_RECORDS)
            labels = torch.where(torch.arange(_NUM_RECORDS) % 2 == 0, times, -times)
        try:
            yield features, labels
        except WardroundError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the model can't be trained on such records: {type(error).__name__}: {error}: correct its forward "
                "([model] name) or, where records are clipped, try another mode ([training] grad-sample-mode)"
            ) from error


def _seed(seed: int) -> None:
    """Seed the processor's generator alone: `torch.manual_seed` also notes a stack trace for each kind of device."""
    torch.default_generator.manual_seed(seed)


def _probe(model: nn.Module) -> nn.Module:
    """Return a copy in training mode, with random parameters (a head of zeros would hide all) and without dropout."""
    probe = fresh_copy(model).cpu().train()
    with torch.no_grad():
        for parameter in probe.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    for module in probe.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return probe


def _compare_by_record(held: HeldModel, features: Tensor, labels: Tensor) -> None:
    """Try the program that training will run, with other parameters: a head of zeros would hide all."""
    program = held.program(tuple(features.shape[1:]), labels.dtype)
    parameters = [
        nn.Parameter(each.detach() + 0.1 * torch.randn(each.shape).to(each.device)) for each in held.parameters
    ]
    module = replace(program, parameters=tuple(parameters))
    _move_each("per-record", module, parameters, 1.0, (features, labels), held.loss)


def _compare(mode: str, probe: nn.Module, features: Tensor, labels: Tensor, loss: LossPerRecord) -> None:
    alone = [_gradient_of(probe, features[[index]], labels[[index]], loss) for index in range(_NUM_RECORDS)]
    max_grad_norm = float(torch.stack([gradient.norm() for gradient in alone]).median()) / 2 or 1.0
    module = per_record_module(probe, mode, max_grad_norm)
    whole = _move_each(mode, module, trained_parameters(probe), max_grad_norm, (features, labels), loss)
    clipped = [g.double() * min(1.0, max_grad_norm / (float(g.double().norm()) + 1e-6)) for g in alone]
    error = float((whole - torch.stack(clipped).sum(dim=0)).norm())
    if not error <= _TOLERANCE * max_grad_norm * _NUM_RECORDS:
        raise _off(mode, f"a step on {_NUM_RECORDS} records is {error / max_grad_norm:.3g} clips off theirs")


def _move_each(
    mode: str,
    module: PerRecord,
    parameters: Sequence[nn.Parameter],
    max_grad_norm: float,
    records: tuple[Tensor, Tensor],
    loss: LossPerRecord,
) -> Tensor:
    """Return the clipped sum of the records, having tried that no one moves it by more than it may."""
    features, labels = records

    def clipped_sum(features: Tensor) -> Tensor:
        # As training takes it, with the same random layers each time.
        _seed(1)
        summed = ClippedSum(parameters, max_grad_norm)
        summed.add_batch(module, features, labels, loss)
        return torch.cat([part.reshape(-1) for part in summed.values()])

    whole = clipped_sum(features)
    for index in range(_NUM_RECORDS):
        # A record that is not a number has no gradient: it counts as zeroed out.
        broken = features.clone()
        broken[index] = torch.nan
        moved = float((whole - clipped_sum(broken)).norm())
        # A forward that makes numbers of nan moves the sum by another record of its own.
        if not moved <= 2 * max_grad_norm * (1 + CLIP_MARGIN):
            raise _off(mode, f"one record moves the sum of {_NUM_RECORDS} by {moved / max_grad_norm:.3g} clips")
    return whole


def _off(mode: str, what: str) -> ConfigError:
    return ConfigError(
        f'grad-sample-mode = "{mode}" does not clip every record\'s gradient of this model: {what}. Set "per-record" '
        '([training] grad-sample-mode), or [privacy] placement = "none"'
    )


def _gradient_of(model: nn.Module, features: Tensor, labels: Tensor, loss: LossPerRecord) -> Tensor:
    """Return the gradient of the summed losses, flat, by plain differentiation."""
    parameters = trained_parameters(model)
    gradients = torch.autograd.grad(
        loss(model(features), labels).sum(), parameters, allow_unused=True, materialize_grads=True
    )
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def _gradient_on_batch(held: HeldModel, features: Tensor, labels: Tensor) -> Tensor:
    torch.manual_seed(1)
    return _gradient_of(fresh_copy(held.model).cpu().train(), features, labels, held.loss)
