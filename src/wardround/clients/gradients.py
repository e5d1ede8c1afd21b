"""One private step: the clipped sum of per-record gradients of a Poisson batch, noise, and the optimizer's step.

Opacus computes per-record gradients in every mode it has, and drives the step. Ours are three changes: noise comes from
a counted source of its own stream, a record whose gradient is not finite contributes zero, and an empty batch is a step
like any other. Left out on purpose: Opacus' PrivacyEngine and its accountant, as the ledger is charged from the plan.
"""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from torch import Tensor, nn

from wardround.clients.clipped_sums import add_to_sum, clipped_blocks, sum_of, with_margin
from wardround.clients.programs import RecordProgram
from wardround.errors import ConfigError, UpdateError
from wardround.privacy.noise import GaussianNoise

__all__ = [
    "GhostOptimizer",
    "GhostTwin",
    "MOST_GRADIENT_FLOATS",
    "LossPerRecord",
    "PrivateOptimizer",
    "accumulate_batch",
    "per_record_module",
    "quiet_hooks",
]

LossPerRecord = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, k), labels (n,)) -> losses (n,)."""

MOST_GRADIENT_FLOATS = 2**27
"""Half a GiB of float32 per-record gradients at a time."""


class _CountedNoise:
    """Noise from a counted source, where Opacus would draw from a torch generator.

    torch's CPU generator keeps 32 bits of its seed, so hospital-rounds would come to share noise by birthday.
    """

    def draw_from(self, noise: GaussianNoise) -> None:
        self._noise = noise

    def add_noise(self: Any) -> None:
        stddev = self.noise_multiplier * self.max_grad_norm
        for parameter, drawn in zip(self.params, self._noise.noise_for(self.params, stddev), strict=True):
            parameter.grad = (sum_of(parameter) + drawn).to(parameter.dtype)


class PrivateOptimizer(_CountedNoise, DPOptimizer):  # type: ignore[misc]
    """Opacus' optimizer over materialised per-record gradients, scrubbing those that are not finite.

    A record's clipped gradient depends on that record alone, and zero is within the clip, so scrubbing leaves the
    sensitivity at max_grad_norm (Abadi et al. 2016, algorithm 1, with one more per-record map).
    """

    num_scrubbed = 0
    num_rows = 0
    owners: Tensor | None = None
    """Which record of the chunk each row belongs to, ascending from 0; None where every row is a record."""

    def clip_and_accumulate(self) -> None:
        """Add the clipped sum of the chunk to every parameter's sum."""
        rows_found = {len(rows) for rows in self.grad_samples}
        if rows_found != {self.num_rows}:
            raise UpdateError(
                f"{sorted(rows_found)} gradients came out of a batch of {self.num_rows} rows: the model folds "
                "something into the batch, and clipping would not bound a record; nothing was released"
            )
        gradients = [rows.reshape(len(rows), p.numel()) for rows, p in zip(self.grad_samples, self.params, strict=True)]
        if self.owners is not None:
            gradients = [_mean_by_owner(rows, self.owners) for rows in gradients]
        for block, factors, num_lost in clipped_blocks(gradients, self.max_grad_norm):
            self.num_scrubbed += num_lost
            self.add_up(block, factors)

    def add_up(self, block: Sequence[Tensor], factors: Tensor) -> None:
        """Add float64 gradients (n, p) of each parameter times their records' factors (n,) to every parameter's sum."""
        for parameter, rows in zip(self.params, block, strict=True):
            add_to_sum(parameter, factors @ rows)


class GhostOptimizer(_CountedNoise, DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer for ghost clipping: gradients arrive clipped and summed, from a twin in float64."""

    num_scrubbed = 0

    def take_from(self, twins: Sequence[nn.Parameter]) -> None:
        """Set the float64 parameters, in the order of `params`, in whose `grad` clipped sums arrive."""
        self._twins = twins

    def accumulate(self) -> None:
        """Add the twin's clipped sum of the chunk to every parameter's sum."""
        for parameter, twin in zip(self.params, self._twins, strict=True):
            add_to_sum(parameter, torch.zeros_like(twin) if twin.grad is None else twin.grad)


class GhostTwin(nn.Module):
    """A float64 copy of a model, wrapped for ghost clipping, that follows the model's parameters.

    Ghost clipping scales losses and lets one backward pass do the sum, which is rounded however long the batch is; in
    float64 that is far below the margin of the clip (see `clipped_sums`).
    """

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        """Copy the model; it is followed from now on."""
        super().__init__()
        self._followed = [parameter for parameter in model.parameters() if parameter.requires_grad]
        copied = copy.deepcopy(model).double()
        self.parameters_in_double = [parameter for parameter in copied.parameters() if parameter.requires_grad]
        self.wrapped = GradSampleModuleFastGradientClipping(
            copied, loss_reduction="mean", max_grad_norm=with_margin(max_grad_norm), use_ghost_clipping=True
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs (n, k), float64, of the model as it is now."""
        with torch.no_grad():
            for parameter, followed in zip(self.parameters_in_double, self._followed, strict=True):
                parameter.copy_(followed)
        return self.wrapped(features.double())  # type: ignore[no-any-return]


def per_record_module(model: nn.Module, mode: str, max_grad_norm: float) -> nn.Module:
    """Return the model wrapped so that a backward pass leaves per-record gradients (or their norms).

    Args:
        model: its parameters are shared with the wrapper; its forward is a known one.
        mode: hooks, functorch, ew (expanded weights) or ghost.
        max_grad_norm: per-record L2 clip; used by ghost only.

    Raises:
        ConfigError: Opacus can't serve a layer of the model in this mode.
    """
    try:
        if mode == "ew":
            return GradSampleModuleExpandedWeights(model, loss_reduction="mean")  # type: ignore[no-any-return]
        if mode == "ghost":
            return GhostTwin(model, max_grad_norm)
        return GradSampleModule(model, loss_reduction="mean", force_functorch=mode == "functorch")  # type: ignore[no-any-return]
    except (NotImplementedError, ValueError) as error:
        raise ConfigError(
            f'grad-sample-mode = "{mode}" can\'t serve this model: {error} ([training] grad-sample-mode)'
        ) from error


@contextmanager
def quiet_hooks() -> Iterator[None]:
    """Silence torch's remark that the first layer's inputs need no gradient, which is as it should be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield


def accumulate_batch(
    module: nn.Module | RecordProgram,
    optimizer: PrivateOptimizer | GhostOptimizer,
    features: Tensor,
    labels: Tensor,
    loss_per_record: LossPerRecord,
    owners: Tensor | None = None,
    *,
    most_floats: int = MOST_GRADIENT_FLOATS,
) -> Tensor:
    """Take one private step on a Poisson batch of any size, zero included, and return the rows' losses (n,).

    Large batches are worked off in chunks, whose clipped sums add up to the same step.

    Args:
        module: from `per_record_module`, or a program of one record.
        optimizer: of the matching kind.
        features: (n, ...) rows of the batch.
        labels: (n,).
        loss_per_record: loss of each row; a program has its own.
        owners: (n,) int64, ascending: the patient of each row, where patients have several rows. A patient's gradient
            is then the mean of the rows' gradients, clipped as one (as De et al. 2022 do with augmentations), so that
            the patient is the record that is protected.
        most_floats: of gradients at a time (>= 1).
    """
    chunk = max(1, most_floats // sum(parameter.numel() for parameter in optimizer.params))
    parts = _chunks(len(labels), chunk, owners)
    if not parts:
        _step_on_nothing(optimizer)
        return labels.new_zeros(0, dtype=torch.float32)
    losses = []
    for part in parts:
        optimizer.zero_grad(set_to_none=True)
        if isinstance(optimizer, GhostOptimizer):
            losses.append(_ghost_backward(module, optimizer, features[part], labels[part], loss_per_record))
        else:
            optimizer.owners = (
                None if owners is None else torch.unique_consecutive(owners[part], return_inverse=True)[1]
            )
            optimizer.num_rows = len(labels[part])
            losses.append(_plain_backward(module, features[part], labels[part], loss_per_record))
        optimizer.signal_skip_step(do_skip=part is not parts[-1])
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return torch.cat(losses)


def _chunks(num_rows: int, chunk: int, owners: Tensor | None) -> list[slice]:
    """Return slices of about `chunk` rows that leave each owner's rows together."""
    starts = torch.arange(0, num_rows, chunk)
    if owners is not None and num_rows:
        # The first row of the owner that the plain start falls on.
        starts = torch.unique(torch.searchsorted(owners.cpu(), owners.cpu()[starts]))
    edges = [*starts.tolist(), num_rows]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def _mean_by_owner(rows: Tensor, owners: Tensor) -> Tensor:
    """Return the mean of each owner's rows: (n, p) and (n,) -> (num_owners, p)."""
    counts = torch.bincount(owners)
    return rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, owners, rows) / counts[:, None]


def _step_on_nothing(optimizer: PrivateOptimizer | GhostOptimizer) -> None:
    """Step on an empty batch: noise alone. Not every mode can run a batch of size zero forward."""
    for parameter in optimizer.params:
        parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
    if isinstance(optimizer, PrivateOptimizer):
        optimizer.num_rows, optimizer.owners = 0, None
    else:
        optimizer.take_from([nn.Parameter(torch.zeros_like(p, dtype=torch.float64)) for p in optimizer.params])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _plain_backward(
    module: nn.Module | RecordProgram, features: Tensor, labels: Tensor, loss_per_record: LossPerRecord
) -> Tensor:
    if isinstance(module, RecordProgram):
        return module.gradients_of(features, labels)
    losses = loss_per_record(module(features), labels)
    torch.autograd.backward(losses.mean())
    return losses.detach()


def _ghost_backward(
    module: Any, optimizer: GhostOptimizer, features: Tensor, labels: Tensor, loss_per_record: LossPerRecord
) -> Tensor:
    """Norms in a first backward pass, the clipped sum in a second (Li et al. 2022, ghost clipping)."""
    twin: GhostTwin = module
    optimizer.take_from(twin.parameters_in_double)
    draws = _draws(features.device)
    losses, finite = _ghost_norms(twin, features, labels, loss_per_record)
    shown = losses.detach().float()
    if not bool(finite.all()):
        # A zero coefficient can't hide a nan (0 * nan = nan): such records are emptied, and keep their place, so that
        # random layers draw for the others what they drew before.
        optimizer.num_scrubbed += int((~finite).sum())
        _draw_again(draws, features.device)
        broken = ~finite.view(-1, *(1 for _ in features.shape[1:]))
        emptied = features.masked_fill(broken, 0), labels.masked_fill(~finite, 0)
        losses, again = _ghost_norms(twin, *emptied, loss_per_record)
        if not bool(again.all()):
            # Not even an empty record has a gradient: these leave the batch.
            twin.zero_grad(set_to_none=True)
            if bool(finite.any()):
                _ghost_backward(twin, optimizer, features[finite], labels[finite], loss_per_record)
            return shown
    coefficients = twin.wrapped.get_clipping_coef() * finite
    twin.wrapped.disable_hooks()
    torch.autograd.backward((coefficients * losses).sum())
    twin.wrapped.enable_hooks()
    return shown


def _ghost_norms(
    twin: GhostTwin, features: Tensor, labels: Tensor, loss_per_record: LossPerRecord
) -> tuple[Tensor, Tensor]:
    """Return the losses, whose graph is kept, and which records have a finite norm; norms stay with the twin."""
    twin.zero_grad(set_to_none=True)
    losses = loss_per_record(twin(features), labels)
    torch.autograd.backward(losses.mean(), retain_graph=True)
    finite = twin.wrapped.get_norm_sample().isfinite()
    twin.zero_grad(set_to_none=True)
    return losses, finite


def _draws(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _draw_again(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
