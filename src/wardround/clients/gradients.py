"""The clipped sum of the per-record gradients of one Poisson batch, of any size, in every mode that there is.

Opacus computes per-record gradients in the modes that it has. Clipping and adding up are ours (see `clipped_sums`): a
record whose gradient is not finite contributes zero, and an empty batch has a sum like any other. Left out on purpose:
Opacus' PrivacyEngine and its accountant, as the ledger is charged from the plan, and what becomes of a sum (see
`steps`).
"""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wardround.clients.clipped_sums import SumInParts, clipped, with_margin
from wardround.clients.closed_form.alone import ClosedForm
from wardround.clients.closed_form.by_record import ByRecord, Formed, means_by_owner
from wardround.clients.ghost_clipping import GhostTwin, clipped_backward
from wardround.clients.losses import LossPerRecord
from wardround.clients.programs import RecordProgram
from wardround.errors import ConfigError, UpdateError

__all__ = [
    "MOST_GRADIENT_FLOATS",
    "ClippedSum",
    "PerRecord",
    "chunks",
    "per_record_module",
    "quiet_hooks",
    "trained_parameters",
]

PerRecord = nn.Module | RecordProgram | ClosedForm
"""What makes every record's gradient, or their clipped sum: of `per_record_module`, or a program of one record."""

MOST_GRADIENT_FLOATS = 2**27
"""Half a GiB of float32 at a time: gradients by record, and in closed form what a record takes on its way."""

_BLOCK_ROWS = 64
"""Records that are added up at a time; the proof in `clipped_sums` is of it."""


class ClippedSum:
    """The sum over one batch, of gradients whose L2 norm over all parameters together is at most the clip.

    A record's clipped gradient depends on that record alone, and zero is within the clip, so that scrubbing leaves the
    sensitivity at max_grad_norm (Abadi et al. 2016, algorithm 1, with one more per-record map). With copies it counts
    as often as its class says, and the sensitivity is max_grad_norm times the most of them (see `clipped_sums`).

    Attributes:
        is_automatic: whether every gradient is scaled to nearly the clip (see `clipped_sums.clipped`).
        num_scrubbed: records whose gradient was not finite.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        max_grad_norm: float,
        copies: Tensor | None = None,
        *,
        is_automatic: bool = False,
    ) -> None:
        """Begin a sum of nothing; the parameters are read at every call.

        `copies` (classes,) float64 are how often a record of each class counts; None where each does once.
        """
        self.parameters, self.max_grad_norm, self._copies = parameters, max_grad_norm, copies
        self.is_automatic = is_automatic
        self.num_scrubbed = 0
        self._sums = [SumInParts() for _ in parameters]

    def values(self) -> list[Tensor]:
        """Return the sum by parameter, float64; zeros where nothing was added."""
        return [part.value_like(parameter) for part, parameter in zip(self._sums, self.parameters, strict=True)]

    def add_batch(
        self,
        module: PerRecord,
        features: Tensor,
        labels: Tensor,
        loss: LossPerRecord,
        owners: Tensor | None = None,
        *,
        most_floats: int = MOST_GRADIENT_FLOATS,
    ) -> Tensor:
        """Add a batch of any size, zero included, and return the rows' losses (n,).

        Args:
            module: that computes them.
            features: (n, ...); large batches are worked off in parts.
            labels: (n,).
            loss: a program has its own.
            owners: (n,) int64, ascending: the patient of each row, where patients have several rows. A patient's
                gradient is then the mean of the rows' gradients, clipped as one (as De et al. 2022 do with
                augmentations), so that the patient is the record that is protected. It counts as often as the row of
                it that counts most often.
            most_floats: of gradients at a time (>= 1).

        Raises:
            UpdateError: there are other gradients than of these rows.
        """
        losses = [labels.new_zeros(0, dtype=torch.float32)]
        chunk = _rows_at_a_time(module, self._num_floats, features, most_floats, are_owned=owners is not None)
        for rows in chunks(len(labels), chunk, owners):
            self._forget()
            given = features[rows], labels[rows], loss
            if isinstance(module, GhostTwin):
                losses.append(self._add_by_twin(module, *given))
                continue
            if isinstance(module, ClosedForm):
                of_rows, parts = module.gradients_of(*given)
            else:
                of_rows = _backward(module, *given)
                parts = [self._found(len(of_rows))]
            losses.append(of_rows)
            self._add_parts(parts, None if owners is None else owners[rows], self._counts(labels[rows]))
        self._forget()
        return torch.cat(losses)

    def add_up(self, block: Sequence[ByRecord], factors: Tensor) -> None:
        """Add gradients by every layer, in float64, times their records' factors (1, n)."""
        for part in block:
            for place, total in part.sums(factors):
                self._sums[place].add(total[0])

    @property
    def _num_floats(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]

    def _found(self, num_rows: int) -> ByRecord:
        """Return the gradients that were left in the parameters."""
        found = [parameter.grad_sample for parameter in self.parameters]  # type: ignore[attr-defined]
        rows_found = {0 if rows is None else len(rows) for rows in found}
        if rows_found != {num_rows}:
            raise UpdateError(
                f"{sorted(rows_found)} gradients came out of a batch of {num_rows} rows: the model folds "
                "something into the batch, and clipping would not bound a record; nothing was released"
            )
        return Formed(range(len(found)), [rows.reshape(1, num_rows, -1) for rows in found])

    def _counts(self, labels: Tensor) -> Tensor | None:
        """Return how often rows count, (n,) float64; None where each does once."""
        return None if self._copies is None else self._copies[labels]

    def _add_parts(self, parts: Sequence[ByRecord], owners: Tensor | None, counts: Tensor | None) -> None:
        if owners is not None:
            owners = torch.unique_consecutive(owners, return_inverse=True)[1]
            parts = means_by_owner(parts, owners)
            if counts is not None:
                counts = counts.new_zeros(parts[0].num_records).scatter_reduce_(0, owners, counts, "amax")
        for start in range(0, parts[0].num_records, _BLOCK_ROWS):
            some = [part.between(start, start + _BLOCK_ROWS) for part in parts]
            block, factors, is_lost = clipped(some, with_margin(self.max_grad_norm), is_automatic=self.is_automatic)
            self.num_scrubbed += int(is_lost.sum())
            self.add_up(block, factors if counts is None else factors * counts[start : start + _BLOCK_ROWS])

    def _add_by_twin(self, twin: GhostTwin, features: Tensor, labels: Tensor, loss: LossPerRecord) -> Tensor:
        losses, num_lost = clipped_backward(twin, features, labels, loss, self._counts(labels))
        self.num_scrubbed += num_lost
        for part, parameter in zip(self._sums, twin.parameters_in_double, strict=True):
            if parameter.grad is not None:
                part.add(parameter.grad)
        return losses


def per_record_module(model: nn.Module, mode: str, max_grad_norm: float) -> nn.Module | ClosedForm:
    """Return the model wrapped so that a backward pass leaves per-record gradients (or their norms), or in closed form.

    Args:
        model: with a known forward; its parameters are shared.
        mode: closed-form, or of Opacus: hooks, functorch, ew (expanded weights) or ghost, which alone needs the clip.
        max_grad_norm: per-record L2 clip.

    Raises:
        ConfigError: Opacus can't serve a layer of the model in this mode.
    """
    if mode == "closed-form":
        return ClosedForm(model)
    # It takes seconds to import, and there are processes that never need it.
    from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights

    try:
        if mode == "ew":
            return GradSampleModuleExpandedWeights(model, loss_reduction="mean")  # type: ignore[no-any-return]
        if mode == "ghost":
            return GhostTwin(model, max_grad_norm)
        return GradSampleModule(model, loss_reduction="mean", force_functorch=mode == "functorch")  # type: ignore[no-any-return]
    except (NotImplementedError, ValueError) as error:
        # Opacus' refusal of a layer: it has no rule for gradients by record there.
        raise ConfigError(
            f'grad-sample-mode = "{mode}" can\'t serve this model: {error} ([training] grad-sample-mode)'
        ) from error


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@contextmanager
def quiet_hooks() -> Iterator[None]:
    """Silence torch's remark that the first layer's inputs need no gradient, which is as it should be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield


def chunks(num_rows: int, chunk: int, owners: Tensor | None) -> list[slice]:
    """Return slices of about `chunk` rows (>= 1) that leave each owner's rows together; of no rows there are none."""
    starts = torch.arange(0, num_rows, chunk)
    if owners is not None and num_rows:
        # The first row of the owner that the plain start falls on.
        starts = torch.unique(torch.searchsorted(owners.cpu(), owners.cpu()[starts]))
    edges = [*starts.tolist(), num_rows]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def _rows_at_a_time(module: PerRecord, num_floats: int, features: Tensor, most_floats: int, *, are_owned: bool) -> int:
    """Return how many rows are worked on at a time, of which gradients have so many numbers where they are formed."""
    if not isinstance(module, ClosedForm):
        return max(1, most_floats // num_floats)
    floats = module.floats_by_record(tuple(features.shape[1:])) + num_floats * are_owned
    return max(1, most_floats // floats)


def _backward(module: nn.Module | RecordProgram, features: Tensor, labels: Tensor, loss: LossPerRecord) -> Tensor:
    if isinstance(module, RecordProgram):
        return module.gradients_of(features, labels)
    losses = loss(module(features), labels)
    torch.autograd.backward(losses.mean())
    return losses.detach()
