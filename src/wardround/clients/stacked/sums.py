"""The sum of one step's gradients for every hospital: as they are, or each record's clipped, in closed form.

A record's clipped gradient is f times g a^T in every linear layer, where a and g are float32 (see `closed_form`) and
f = min(1, c / (N + 1e-6)), c = C (1 - CLIP_MARGIN). The sum over a block of R <= 256 records is one product of
matrices in float64, (f g)^T a, and blocks are added with the errors kept (`clipped_sums.SumInParts`). One record zeroed
out moves the computed sum by at most C. With u = 2^-53, n <= 2^23 records and p <= 2^30 parameters, as there:

1. What is clipped is the exact product of a and g, never rounded to float32. N^2 is a sum of products of sums of
   squares, none negative and each square exact, so that N is computed within (p/2 + 4) u N; f times the exact gradient
   is then at most c (1 + (p/2 + 10) u) <= c (1 + 6.1e-8) long. It is a function of that record's a and g alone, and
   of how many rows a block has (see `clipped_sums`).
2. A term of the sum, (f g_j) a_i, is rounded twice, and R of them are added in any order: within (R + 2) u
   sum_i |f_i g_i| of the exact sum in each coordinate (Higham 2002, section 3.1), where g_i now is a record's whole
   gradient. Blocks add u |sum| and (n/R)^2 u^2 sum_i |f_i g_i|. By the triangle inequality over coordinates the whole
   is within (R + 4) u n c <= 260 u n c of the exact one.
3. Two sums that differ in one record are within c (1 + 6.1e-8 + 2 * 260 u n) <= c (1 + 5.5e-7) < C of each other.

Where a gradient is formed (`by_record.Formed`) it is float32 as in `clipped_sums`, and the same holds with fewer
roundings.

That a and g are functions of their record and the parameters alone is what `closed_form.layers` says: a row of a
float32 product is made of that row; so are losses and their gradients (`losses.loss_of_many`). A program of one record
is one by construction (`clients.programs`). Shapes don't follow from who was drawn, except for the number of blocks
(see `batches`).

A record whose N is not finite, or beyond float32's largest number, contributes zero: a gradient that is formed in
float32 would not be finite there either. What is left out on purpose: noise, and what becomes of a sum (see `steps`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wardround.clients.clipped_sums import SumInParts, clipped, with_margin
from wardround.clients.closed_form.by_record import ByRecord
from wardround.clients.closed_form.layers import Layer, Tap, run
from wardround.clients.losses import LossPerRecord
from wardround.clients.programs import RecordProgram
from wardround.clients.stacked.batches import Block, StepBatch
from wardround.clients.stacked.programs import gradients_of_many
from wardround.clients.stacked.rows import Rows

__all__ = ["Stack", "Tally", "clipped_records", "clipped_sums", "plain_sums"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """What is measured of each hospital over its steps, (hospitals,): sums of losses, rows summed, records left out."""

    losses: Tensor
    num_losses: Tensor
    num_scrubbed: Tensor

    def add(self, block: Block, losses: Tensor, is_lost: Tensor) -> None:
        """Add a block's."""
        counted = block.is_drawn & losses.isfinite()
        who = slice(len(losses)) if block.hospitals is None else block.hospitals
        self.losses[who] += losses.double().where(counted, 0.0).sum(dim=1)
        self.num_losses[who] += counted.sum(dim=1)
        self.num_scrubbed[who] += (block.is_drawn & is_lost).sum(dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Hospitals that train together; only the parameters change, in place.

    Attributes:
        layers: of the model, in order, or the model's program of one record.
        parameters: trained ones, (hospitals, ...) float32.
        records: features of all hospitals' rows.
        labels: of these, and one that is nobody's.
        loss: of each record.
        clips: (hospitals, 1) float64, L2 (> 0); None where records are not clipped.
        copies: (classes,) float64, how often a record of each class counts; None where each does once.
        generators: of each hospital, on the device, for its dropout layers; none where there are no such layers.
        is_automatic: whether every gradient is scaled to nearly the clip.
        tally: what is measured.
    """

    layers: Sequence[Layer] | RecordProgram
    parameters: list[Tensor]
    records: Rows
    labels: Tensor
    loss: LossPerRecord
    clips: Tensor | None
    copies: Tensor | None
    generators: Sequence[torch.Generator]
    is_automatic: bool
    tally: Tally = field(repr=False)

    @property
    def nobody(self) -> int:
        """The row that belongs to no hospital."""
        return len(self.labels) - 1

    def by_record(self, block: Block, num_hospitals: int) -> tuple[Tensor, list[ByRecord]]:
        """Return losses and gradients by record of a block of some of the first hospitals."""
        if isinstance(self.layers, RecordProgram):
            features, labels, who = self._given(block, num_hospitals)
            losses, formed = gradients_of_many(self.layers, [each[who] for each in self.parameters], features, labels)
            return losses, [formed]
        losses, taps, gradients = self.run(self.layers, block, num_hospitals, None)
        return losses, [tap.by_record(gradient) for tap, gradient in zip(taps, gradients, strict=True)]

    def run(
        self, layers: Sequence[Layer], block: Block, num_hospitals: int, kept: Tensor | None
    ) -> tuple[Tensor, list[Tap], list[Tensor]]:
        """Return losses, taps and gradients of a block of some of the first hospitals (see `layers.run`)."""
        features, labels, who = self._given(block, num_hospitals)

        def losses_of(outputs: Tensor) -> Tensor:
            return self.loss(outputs.flatten(0, 1), labels.flatten()).view(labels.shape)

        def dropped(layer: nn.Dropout, given: Tensor) -> Tensor:
            chosen = self.generators if block.hospitals is None else [self.generators[place] for place in block.places]
            return dropped_apart(layer.p, given, chosen)

        return run(layers, [each[who] for each in self.parameters], features, losses_of, kept, dropped)

    def _given(self, block: Block, num_hospitals: int) -> tuple[Tensor, Tensor, slice | Tensor]:
        """Return the block's features and labels, (hospitals, records, ...), and who these hospitals are."""
        features, labels = gathered = block.gathered or [self.records.of(block), self.labels[block.rows]]
        if block.gathered == []:
            block.gathered.extend(gathered)
        return features, labels, slice(num_hospitals) if block.hospitals is None else block.hospitals


def clipped_sums(stack: Stack, batch: StepBatch) -> list[Tensor]:
    """Return the sums of clipped gradients of one batch of each hospital that takes the step, float64, by parameter."""
    totals = [SumInParts() for _ in stack.parameters]
    for block in batch.blocks:
        losses, parts, factors, is_lost = _clipped(stack, batch, block)
        factors = factors.where(block.is_drawn, 0.0)
        _add(totals, (found for part in parts for found in part.sums(factors)), batch, block)
        stack.tally.add(block, losses, is_lost)
    return _values(totals, stack, batch)


def clipped_records(stack: Stack, batch: StepBatch) -> Iterator[tuple[Sequence[int], list[ByRecord], Tensor, Tensor]]:
    """Yield by block which hospitals have records in it, gradients, their factors, and which are of a record."""
    for block in batch.blocks:
        losses, parts, factors, is_lost = _clipped(stack, batch, block)
        places = range(batch.num_hospitals) if block.hospitals is None else block.hospitals.tolist()
        yield places, parts, factors, block.is_drawn
        stack.tally.add(block, losses, is_lost)


def plain_sums(stack: Stack, batch: StepBatch) -> list[Tensor]:
    """Return the sums of gradients of one batch of each hospital that takes the step, float32, by parameter.

    A record whose loss is not finite contributes zero.
    """
    if isinstance(stack.layers, RecordProgram):
        raise ValueError("whole batches have no program of one record")
    totals = [SumInParts() for _ in stack.parameters]
    for block in batch.blocks:
        losses, taps, gradients = stack.run(stack.layers, block, batch.num_hospitals, block.is_drawn)
        is_lost = ~losses.isfinite()
        if bool(is_lost.any()):
            kept = block.is_drawn & ~is_lost
            emptied = [tap.emptied(gradient, kept) for tap, gradient in zip(taps, gradients, strict=True)]
            taps, gradients = [tap for tap, _ in emptied], [gradient for _, gradient in emptied]
        pairs = zip(taps, gradients, strict=True)
        _add(totals, (found for tap, gradient in pairs for found in tap.sums(gradient)), batch, block)
        stack.tally.add(block, losses, is_lost)
    return [value.float() for value in _values(totals, stack, batch)]


def dropped_apart(probability: float, given: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return values (hospitals, ...) of which each is zero with a probability, drawn by its own hospital's generator.

    What is left is divided by the probability of being left, as torch's dropout does it (Srivastava et al. 2014).
    """
    left = torch.empty_like(given, memory_format=torch.contiguous_format)
    for of_one, generator in zip(left, generators, strict=False):
        of_one.bernoulli_(1 - probability, generator=generator)
    return given * (left if probability == 1 else left.div_(1 - probability))


def _clipped(stack: Stack, batch: StepBatch, block: Block) -> tuple[Tensor, list[ByRecord], Tensor, Tensor]:
    """Return losses, gradients, the factors by which they are clipped and counted, and which are lost."""
    losses, parts = stack.by_record(block, batch.num_hospitals)
    parts, factors, is_lost = clipped(parts, _clips_of(stack, batch, block), is_automatic=stack.is_automatic)
    if stack.copies is not None:
        factors = factors * stack.copies[stack.labels[block.rows]]
    return losses, parts, factors, is_lost


def _clips_of(stack: Stack, batch: StepBatch, block: Block) -> Tensor:
    if stack.clips is None:
        raise ValueError("these hospitals have no clip")
    clips = stack.clips[: batch.num_hospitals] if block.hospitals is None else stack.clips[block.hospitals]
    return clips * with_margin(1.0)


def _add(totals: list[SumInParts], found: Iterable[tuple[int, Tensor]], batch: StepBatch, block: Block) -> None:
    for place, part in found:
        whole = part
        if block.hospitals is not None:
            whole = part.new_zeros(batch.num_hospitals, *part.shape[1:]).index_copy_(0, block.hospitals, part)
        totals[place].add(whole)


def _values(totals: list[SumInParts], stack: Stack, batch: StepBatch) -> list[Tensor]:
    return [
        total.value_like(parameter[: batch.num_hospitals])
        for total, parameter in zip(totals, stack.parameters, strict=True)
    ]
