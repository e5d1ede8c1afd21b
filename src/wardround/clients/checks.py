"""Whether the settings' mode of per-record gradients serves a model, found out before anything is charged.

That records are apart follows from the kind of the model's forward (see `modes`), not from what is tried here. Tried is
that the model runs, and that Opacus' gradients are the ones that plain differentiation gives, on numbers that are far
apart in size. What is left out on purpose: any exception for models that draw at random.
"""

import torch
from torch import Tensor, nn

from wardround.clients.clipped_sums import CLIP_MARGIN
from wardround.clients.forwards import check_unwatched
from wardround.clients.gradient_sums import GhostSum, GradientSum
from wardround.clients.gradients import GhostTwin, LossPerRecord, accumulate_batch, per_record_module, quiet_hooks
from wardround.clients.held_model import HeldModel, fresh_copy
from wardround.clients.modes import Mode
from wardround.clients.programs import RecordProgram, record_program
from wardround.datasets import Federation
from wardround.errors import ConfigError, WardroundError

__all__ = ["check_hospitals_apart", "check_records_apart"]

_NUM_RECORDS = 4
_TOLERANCE = 1e-3


def check_records_apart(held: HeldModel, federation: Federation) -> Mode:
    """Return how gradients by record will be computed, having tried that every one of them is clipped.

    Raises:
        ConfigError: the model or the mode can't be trusted: the reason, and what to do.
    """
    check_unwatched()
    _check_precision(held.now)
    mode = held.mode_for(federation.input_shape)
    if mode.name == "ghost" and any(hospital.train_owners is not None for hospital in federation.hospitals):
        raise ConfigError(
            'grad-sample-mode = "ghost" can\'t average the rows of one patient, and patients have several here: '
            'set "hooks" ([training] grad-sample-mode)'
        )
    with torch.random.fork_rng(devices=[]), quiet_hooks():
        torch.manual_seed(0)
        features, labels = _extremes(federation)
        _compare(mode.name, _probe(held.now), features, labels, held.loss)
    return mode


def check_hospitals_apart(held: HeldModel, federation: Federation) -> None:
    """Refuse a model that could carry something of one hospital to the next.

    Raises:
        ConfigError: the reason, and what to do.
    """
    check_unwatched()
    _check_precision(held.now)
    if held.unknown_because(federation.input_shape):
        with torch.random.fork_rng(devices=[]), quiet_hooks():
            torch.manual_seed(0)
            features, labels = _extremes(federation)
            _check_carries_nothing(held.now, features, labels, held.loss)


def _check_precision(model: nn.Module) -> None:
    """Refuse what the proof of the clipped sum is not of (see `clipped_sums`)."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise ConfigError(
                f"the model's parameter {name} is {str(parameter.dtype).removeprefix('torch.')} and must be float32, "
                "for which clipping is proved: call .float() on the model in its factory ([model] name)"
            )


def _extremes(federation: Federation) -> tuple[Tensor, Tensor]:
    """Return records of very different sizes: an ordinary, a large and a small one, and a single spike."""
    features = torch.randn((_NUM_RECORDS, *federation.input_shape))
    features[1] *= 1e3
    features[2] *= 1e-3
    features[3] = 0.0
    features[3].view(-1)[0] = 1e3
    if federation.task == "regression":
        return features, torch.randn(_NUM_RECORDS)
    return features, torch.arange(_NUM_RECORDS) % federation.num_classes


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


def _compare(mode: str, probe: nn.Module, features: Tensor, labels: Tensor, loss: LossPerRecord) -> None:
    parameters = [parameter for parameter in probe.parameters() if parameter.requires_grad]
    alone: list[Tensor] = []
    if mode != "per-record":
        alone = [_gradient_of(probe, parameters, features[[i]], labels[[i]], loss) for i in range(_NUM_RECORDS)]
    max_grad_norm = (float(torch.stack([g.norm() for g in alone]).median()) / 2 or 1.0) if alone else 1.0
    module: nn.Module | RecordProgram
    if mode == "per-record":
        module = record_program(probe, tuple(features.shape[1:]), labels.dtype, loss)
    else:
        module = per_record_module(probe, mode, max_grad_norm)
    whole = _clipped_sum(mode, module, probe, features, labels, loss, max_grad_norm)
    for index in range(_NUM_RECORDS):
        # A record that is not a number has no gradient: it counts as zeroed out.
        broken = features.clone()
        broken[index] = torch.nan
        moved = float((whole - _clipped_sum(mode, module, probe, broken, labels, loss, max_grad_norm)).norm())
        # A forward that makes numbers of nan moves the sum by another record of its own.
        if not moved <= 2 * max_grad_norm * (1 + CLIP_MARGIN):
            raise _off(mode, f"one record moves the sum of {_NUM_RECORDS} by {moved / max_grad_norm:.3g} clips")
    if alone:
        clipped = [g.double() * min(1.0, max_grad_norm / (float(g.double().norm()) + 1e-6)) for g in alone]
        error = float((whole - torch.stack(clipped).sum(dim=0)).norm())
        if not error <= _TOLERANCE * max_grad_norm * _NUM_RECORDS:
            raise _off(mode, f"a step on {_NUM_RECORDS} records is {error / max_grad_norm:.3g} clips off theirs")


def _off(mode: str, what: str) -> ConfigError:
    return ConfigError(
        f'grad-sample-mode = "{mode}" does not clip every record\'s gradient of this model: {what}. Set "per-record" '
        '([training] grad-sample-mode), or [privacy] placement = "none"'
    )


def _gradient_of(
    probe: nn.Module, parameters: list[nn.Parameter], record: Tensor, label: Tensor, loss: LossPerRecord
) -> Tensor:
    """Return one record's gradient, flat, by plain differentiation."""
    gradients = torch.autograd.grad(loss(probe(record), label).sum(), parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).reshape(-1)
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _clipped_sum(
    mode: str,
    module: nn.Module | RecordProgram,
    probe: nn.Module,
    features: Tensor,
    labels: Tensor,
    loss: LossPerRecord,
    max_grad_norm: float,
) -> Tensor:
    """Return the clipped sum of one step, flat, as training takes it, with the same random layers each time."""
    kind = GhostSum if isinstance(module, GhostTwin) else GradientSum
    optimizer = kind(
        torch.optim.SGD([p for p in probe.parameters() if p.requires_grad], lr=0.0),
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        expected_batch_size=1.0,
    )
    torch.manual_seed(1)
    try:
        accumulate_batch(module, optimizer, features, labels, loss)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'grad-sample-mode = "{mode}" can\'t serve this model: {type(error).__name__}: {error}: correct the model, '
            "or try another mode ([training] grad-sample-mode)"
        ) from error
    return torch.cat([part.reshape(-1) for part in optimizer.gradient_sum])


def _check_carries_nothing(model: nn.Module, features: Tensor, labels: Tensor, loss: LossPerRecord) -> None:
    """Refuse a model that gives another gradient after other records went through another copy of it."""
    try:
        first = _gradient_on_batch(model, features, labels, loss)
        _gradient_on_batch(model, features * 3 + 1, labels, loss)
        again = _gradient_on_batch(model, features, labels, loss)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the model can't be trained on such records: {type(error).__name__}: {error}: correct its forward "
            "([model] name)"
        ) from error
    if not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise ConfigError(
            "the model gives other gradients once other records went through a copy of it: it keeps something outside "
            "of its attributes, or draws outside of torch, and could carry one hospital's data to the next. Keep its "
            "forward a function of the batch and the parameters ([model] name)"
        )


def _gradient_on_batch(model: nn.Module, features: Tensor, labels: Tensor, loss: LossPerRecord) -> Tensor:
    copied = fresh_copy(model).cpu().train()
    torch.manual_seed(1)
    parameters = [parameter for parameter in copied.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss(copied(features), labels).sum(), parameters, allow_unused=True)
    return torch.cat([gradient.reshape(-1) for gradient in gradients if gradient is not None])
