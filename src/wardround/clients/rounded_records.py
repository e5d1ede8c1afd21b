"""Records whose clipped gradients are rounded to integers one by one, each to a vector of a bounded norm.

A gradient by linear layers alone, whose records have one position, is made of outer products g a^T (see
`closed_form.by_record`), and large ones are rounded by their factors: m + n numbers are drawn in the place of m n, and
the sum over records is one product of matrices. So that the integers keep the same norm the record is made shorter
first, by a percent or two, which is the price.

What is left out on purpose: the noise, which is added to their sum (see `residues`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.clients.closed_form.by_record import ByRecord, OuterProducts, clipped_rows
from wardround.clients.steps import LocalRound
from wardround.privacy.integers import round_factors_within, round_within
from wardround.privacy.skellam import norm_bound_squared
from wardround.streams import Draw

__all__ = ["RoundedRecords"]


_MOST_RECORDS, _MOST_FLOATS = 64, 2**16
"""Records, and numbers of theirs, that are rounded at a time: what stays in the processor's caches."""
_LEAST_SAVING, _MOST_ROOM = 8, 1 / 16
"""Factors are rounded where they have so many times fewer numbers, and ask for no more room in the squared norm."""

_Rows = NDArray[np.float64]


class RoundedRecords:
    """The sum of a hospital's records, rounded by draws of its own.

    Each record is rounded by itself, so that zeroing one out takes one vector within the bound from the sum: a gradient
    of zero is rounded to zero.
    """

    def __init__(self, local: LocalRound, num_parameters: int) -> None:
        """Begin a sum of nothing."""
        event = local.assignment.event
        self._steps, self._scale = event.scaled_norm, event.scaled_norm / local.assignment.distance
        self._norm_bound_squared = norm_bound_squared(event.scaled_norm, event.dimension)
        self._generator = local.key.generator(Draw.ROUNDING)
        self._integers = np.zeros(num_parameters, np.int64)
        self._rounding: _Rounding | None = None
        self._waiting = np.zeros((0, 0))

    def add(self, block: Sequence[ByRecord], factors: Tensor, drawn: Tensor | None = None) -> None:
        """Add records' gradients times factors; what is drawn for them hangs on their order alone.

        Args:
            block: gradients by every layer, (1, n, ...) float64.
            factors: (1, n) float64, with which they are clipped, times how often they count.
            drawn: (n,) which of them there are; None where all are.
        """
        if self._rounding is None:
            self._rounding = self._rounding_of(block)
        for start in range(0, factors.shape[1], size := self._rounding.size):
            kept = slice(None) if drawn is None else drawn[start : start + size].cpu().numpy()
            some = [part.between(start, start + size) for part in block]
            rows = self._rounding.rows_of(some, factors[:, start : start + size] * self._scale)[kept]
            self._waiting = np.concatenate([self._waiting, rows]) if len(self._waiting) else rows
            if len(self._waiting) >= size:
                self._round(self._rounding, size)

    def total(self) -> NDArray[np.int64]:
        """Return the sum of all, (num_parameters,); nothing is added after it."""
        if self._rounding is not None and len(self._waiting):
            self._round(self._rounding, len(self._waiting))
        return self._integers

    def _rounding_of(self, block: Sequence[ByRecord]) -> "_Rounding":
        products = [part for part in block if isinstance(part, OuterProducts)]
        if len(products) == len(block):
            by_factors = _ByFactors(products, self._steps)
            if by_factors.room <= _MOST_ROOM and _LEAST_SAVING * by_factors.width <= len(self._integers):
                return by_factors
        return _Whole(len(self._integers), self._norm_bound_squared)

    def _round(self, rounding: "_Rounding", num_records: int) -> None:
        self._integers += rounding.rounded_sum(self._waiting[:num_records], self._generator)
        self._waiting = self._waiting[num_records:]


class _Rounding(ABC):
    """How records are rounded.

    Attributes:
        size: how many at a time.
    """

    def __init__(self, width: int) -> None:
        """Records are told by so many numbers."""
        self.size = max(1, min(_MOST_RECORDS, _MOST_FLOATS // width))

    @abstractmethod
    def rows_of(self, block: Sequence[ByRecord], factors: Tensor) -> _Rows:
        """Return the numbers (n, width) that tell a block's gradients (1, n, ...) times factors (1, n), in steps."""

    @abstractmethod
    def rounded_sum(self, rows: _Rows, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the sum of what such numbers are rounded to, (num_parameters,)."""


class _Whole(_Rounding):
    """Every coordinate by itself."""

    def __init__(self, num_parameters: int, bound: int) -> None:
        super().__init__(num_parameters)
        self._bound = bound

    def rows_of(self, block: Sequence[ByRecord], factors: Tensor) -> _Rows:
        rows: _Rows = clipped_rows(block, factors)[0].cpu().numpy()
        return rows

    def rounded_sum(self, rows: _Rows, generator: np.random.Generator) -> NDArray[np.int64]:
        summed: NDArray[np.int64] = round_within(rows, self._bound, generator).sum(axis=0)
        return summed


class _ByFactors(_Rounding):
    """The factors of outer products: a, and a one for the bias, of a fixed length; and g of what is left of the norm.

    The integers are at most as long as a gradient before rounding may be, in steps, so that they are within every
    bound that coordinates and norms have where these are rounded by themselves.

    Attributes:
        width: how many numbers the factors of a record have.
        room: what rounding may add to the squared norm, in parts of it.
    """

    def __init__(self, layers: Sequence[OuterProducts], steps: float) -> None:
        self._places = [(layer.weight, layer.bias) for layer in layers]
        self._sizes = [(layer.gradient.shape[2], _num_inputs(layer)) for layer in layers]
        lengths_and_room = [_length_of_inputs(*sizes, steps) for sizes in self._sizes]
        self._lengths = [length for length, _ in lengths_and_room]
        self.room = sum(room for _, room in lengths_and_room)
        self.width = sum(map(sum, self._sizes))
        self._shorter, self._bound = 1 / math.sqrt(1 + self.room), math.floor(steps**2)
        super().__init__(self.width)

    def rows_of(self, block: Sequence[ByRecord], factors: Tensor) -> _Rows:
        columns = []
        for layer, length in zip(block, self._lengths, strict=True):
            if not isinstance(layer, OuterProducts):
                raise TypeError("a layer that was a product is none any more")
            inputs = _inputs(layer)
            norms = torch.linalg.vector_norm(inputs, dim=1, keepdim=True)
            columns += [layer.gradient[0] * (factors[0, :, None] * norms * (self._shorter / length))]
            columns += [inputs * (length / norms).where(norms > 0, 0.0)]  # 0 * inf is nan
        rows: _Rows = torch.cat(columns, dim=1).cpu().numpy()
        return rows

    def rounded_sum(self, rows: _Rows, generator: np.random.Generator) -> NDArray[np.int64]:
        parts = np.split(rows, np.cumsum([size for sizes in self._sizes for size in sizes])[:-1], axis=1)
        rounded = round_factors_within(list(zip(parts[::2], parts[1::2], strict=True)), self._bound, generator)
        by_place: dict[int, _Rows] = {}
        for (weight, bias), (gradients, inputs) in zip(self._places, rounded, strict=True):
            summed = gradients.T @ inputs  # whole numbers below 2^53, exact in whatever order
            if weight is not None:
                by_place[weight] = summed[:, : inputs.shape[1] - (bias is not None)]
            if bias is not None:
                by_place[bias] = summed[:, -1]
        return np.concatenate([by_place[place].ravel() for place in sorted(by_place)]).astype(np.int64)


def _num_inputs(layer: OuterProducts) -> int:
    return layer.given.shape[2] * (layer.weight is not None) + (layer.bias is not None)


def _inputs(layer: OuterProducts) -> Tensor:
    """Return a, and a one for the bias, of whichever is trained, (n, inputs)."""
    found = [layer.given[0]] if layer.weight is not None else []
    return torch.cat([*found, layer.given.new_ones(layer.given.shape[1], int(layer.bias is not None))], dim=1)


def _length_of_inputs(num_outputs: int, num_inputs: int, steps: float) -> tuple[float, float]:
    """Return the length, in steps, that inputs are rounded at, and what rounding may then add to the squared norm.

    Rounding n numbers of a vector of length s adds n / 4 to its squared length on average at most, with a standard
    deviation of s at most. Of all powers of two the length is the one that leaves a product the least of both.
    """
    lengths = [2.0**power for power in range(max(1, math.ceil(math.log2(steps))))]
    added = [
        sum(size / (4 * length**2) + 1 / length for size, length in ((num_inputs, own), (num_outputs, steps / own)))
        for own in lengths
    ]
    least = min(range(len(lengths)), key=added.__getitem__)
    return lengths[least], added[least]
