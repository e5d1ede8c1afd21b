"""Where the records of a stack lie: in a row, which is fast for small ones; large ones stay at their hospitals.

What is left out on purpose: which rows a step takes (see `batches`).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from wardround.clients.stacked.batches import Block

__all__ = ["Rows"]

_MOST_COPIED = 2**22
"""Numbers of all hospitals' records up to which a processor puts them in a row, once a round."""


class Rows:
    """All hospitals' records, one after the other, and a row of zeros behind them that is nobody's."""

    def __init__(self, hospitals: Sequence[Tensor], most_copied: int = _MOST_COPIED) -> None:
        """Take in the records of each hospital, (n, ...) float32, on one device.

        On a device other than a processor they are always put in a row: there a copy is cheap, and a call for each
        hospital is not.
        """
        first = hospitals[0]
        self._offsets = [0, *itertools.accumulate(map(len, hospitals))]
        self._parts, self._whole = hospitals, None
        if first.device.type != "cpu" or sum(map(Tensor.numel, hospitals)) <= most_copied:
            self._whole = torch.cat([*hospitals, first.new_zeros(1, *first.shape[1:])])

    def of(self, block: Block) -> Tensor:
        """Return a block's records, (hospitals, records, ...), zeros where there is none."""
        if self._whole is not None:
            return self._whole.index_select(0, block.rows.flatten()).view(*block.rows.shape, *self._whole.shape[1:])
        taken = self._parts[0].new_zeros(*block.rows.shape, *self._parts[0].shape[1:])
        places = range(len(taken)) if block.hospitals is None else block.places
        for place, rows, number, into in zip(places, block.rows, block.is_drawn.sum(dim=1), taken, strict=True):
            some = slice(int(number))
            torch.index_select(self._parts[place], 0, rows[some] - self._offsets[place], out=into[some])
        return taken
