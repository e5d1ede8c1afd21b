"""Poisson batches of several hospitals as one table of rows, each drawn by its hospital's own sampler.

Rows of a step are padded to blocks of as many records for every hospital. How many is a function of the assignments
alone, so that no hospital's records, and not even how many of them were drawn, has a say in the shapes that another's
are computed with. Left out on purpose: patients who own several rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.clients.steps import LocalRound

__all__ = ["MOST_BLOCK_ROWS", "Block", "StepBatch", "block_rows", "step_batches", "windows"]

MOST_BLOCK_ROWS = 256
"""Records of a hospital that are added up at a time; the proof in `sums` is of it."""

_MOST_FLOATS = 2**24
"""Numbers of one hospital's block."""

_MOST_KEPT = 2**22
"""Numbers of records that are gathered once for all steps: memory only."""
_MOST_DRAWN = 2**21
"""Numbers drawn, and places in a table, at a time: memory only."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some records of some hospitals in one step.

    Attributes:
        hospitals: (k,) int64, ascending: who has records in it; None is all that take the step.
        rows: (k, block_rows) int64: where they stand among all hospitals' rows, `nobody` where there is none.
        is_drawn: (k, block_rows): which places hold a record.
        places: the hospitals as numbers; none where these are None.
        gathered: features and labels of the rows once they were gathered, for the next step that has the same block;
            None where none has.
    """

    hospitals: Tensor | None
    rows: Tensor
    is_drawn: Tensor
    places: Sequence[int] = ()
    gathered: list[Tensor] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatch:
    """The batches of one step.

    Attributes:
        num_hospitals: that take the step: the first ones.
        index: of the step within its window, from 0.
        blocks: the records; none where nobody has any.
    """

    num_hospitals: int
    index: int
    blocks: list[Block]


def block_rows(expected_batch_size: float, floats: int) -> int:
    """Return how many records a block has for batches of an expected size: three standard deviations beyond it.

    A multiple of 8, at most MOST_BLOCK_ROWS and what fits memory.

    >>> block_rows(32.0, floats=1_000)
    56

    Args:
        expected_batch_size: of a hospital's batch (> 0).
        floats: numbers that a record takes (`layers.floats_by_record`).
    """
    most = max(1, min(MOST_BLOCK_ROWS, _MOST_FLOATS // floats))
    return min(most, 8 * math.ceil((expected_batch_size + 3 * math.sqrt(expected_batch_size)) / 8))


def windows(locals_: Sequence[LocalRound], num_rows: int, noise_size: int) -> Iterator[tuple[int, int]]:
    """Yield the steps, from and to, that are drawn at a time: as many as fit memory, at least one."""
    most = max(local.assignment.schedule.num_steps for local in locals_)
    drawn = sum(local.tensors.num_train for local in locals_) + len(locals_) * (num_rows + noise_size)
    size = max(1, _MOST_DRAWN // drawn)
    for start in range(0, most, size):
        yield start, min(start + size, most)


def step_batches(
    locals_: Sequence[LocalRound], start: int, end: int, num_rows: int, nobody: int, device: torch.device
) -> Iterator[StepBatch]:
    """Yield the batches of steps start to end - 1 of hospitals of which those with more steps come first.

    Where a block has no record stands `nobody`, the row after all others. They are drawn and laid out on the processor,
    so that no step waits for a device, and are put on the device block by block.
    """
    num_steps = [min(local.assignment.schedule.num_steps, end) - start for local in locals_]
    locals_ = [local for local, steps in zip(locals_, num_steps, strict=True) if steps > 0]
    num_steps = num_steps[: len(locals_)]
    drawn = [
        _with_a_part(local, local.sampler.draw_together(steps)) for local, steps in zip(locals_, num_steps, strict=True)
    ]
    table, counts = _table(drawn, [local.tensors.num_train for local in locals_], end - start, nobody)
    active = np.asarray(num_steps)
    rows, sizes = torch.from_numpy(table), torch.from_numpy(counts)
    are_kept = _are_alike(locals_)
    blocks: list[Block] = []
    num_before = 0
    for step in range(end - start):
        num_active = int((active > step).sum())
        if not are_kept or num_active != num_before:
            some = slice(num_active)
            blocks = list(_blocks(rows[step, some], sizes[step, some], num_rows, nobody, device, are_kept=are_kept))
        num_before = num_active
        yield StepBatch(num_active, step, blocks)


def _with_a_part(local: LocalRound, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what was drawn without records that are left out."""
    if (left_out := local.tensors.left_out) is None:
        return drawn
    has_a_part: NDArray[np.bool_] = ~left_out.cpu().numpy()[drawn % local.tensors.num_train]
    return drawn[has_a_part]


def _are_alike(locals_: Sequence[LocalRound]) -> bool:
    """Return whether all steps have the same batches, since everyone takes all records, and these are few."""
    num_floats = sum(local.tensors.train_features.numel() for local in locals_)
    return num_floats <= _MOST_KEPT and all(local.sampler.sample_rate == 1 for local in locals_)


def _blocks(
    rows: Tensor, sizes: Tensor, num_rows: int, nobody: int, device: torch.device, *, are_kept: bool
) -> Iterator[Block]:
    places = torch.arange(num_rows)
    for start in range(0, int(sizes.max()), num_rows):
        has_some = sizes > start
        hospitals = None if not start or bool(has_some.all()) else has_some.nonzero().squeeze(1)
        block, left = rows[:, start : start + num_rows], sizes - start
        if hospitals is not None:
            block, left = block[hospitals], left[hospitals]
        if block.shape[1] < num_rows:
            block = torch.nn.functional.pad(block, (0, num_rows - block.shape[1]), value=nobody)
        who = None if hospitals is None else hospitals.to(device)
        names = [] if hospitals is None else hospitals.tolist()
        is_drawn = (places < left[:, None]).to(device)
        yield Block(who, block.to(device), is_drawn, names, [] if are_kept else None)


def _table(
    drawn: Sequence[NDArray[np.int64]], num_records: Sequence[int], num_steps: int, nobody: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows (steps, hospitals, most), and how many there are (steps, hospitals)."""
    num_hospitals, sizes = len(drawn), np.asarray(num_records)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    hospitals = np.repeat(np.arange(num_hospitals), [len(flat) for flat in drawn])
    steps, rows = np.divmod(np.concatenate(drawn), sizes[hospitals])
    segments = hospitals * num_steps + steps
    counts = np.bincount(segments, minlength=num_hospitals * num_steps)
    places = np.arange(len(rows)) - (np.cumsum(counts) - counts)[segments]
    table = np.full((num_steps, num_hospitals, max(1, int(counts.max()))), nobody)
    table[steps, hospitals, places] = rows + offsets[hospitals]
    return table, np.ascontiguousarray(counts.reshape(num_hospitals, num_steps).T)
