"""What a sum of contributions is to a cell: in which units it is rounded, and how it becomes the round's one reply."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.released_sums import Arrays, ReleasedSum, Sums
from wardround.rounds import Assignment

__all__ = ["SumScale", "SummedCell"]


class SumScale(NamedTuple):
    """Units of a sum.

    Attributes:
        grids: steps of the exact sum's grid that one step of the released sum is.
        largest: share that the largest hospital may have in it.
        sides: roundings by which neighbours can differ, of two.
        longest: sensitivities that it may be long.
    """

    grids: float
    largest: float
    sides: float
    longest: float


@dataclass(frozen=True)
class SummedCell(Cell):
    """A cell whose contributions are of use as a sum."""

    __slots__ = ()

    @abstractmethod
    def sum_scale(self, num_records: Sequence[int], most_records: int) -> SumScale:
        """Return the units of a sum over a cohort.

        Args:
            num_records: training records of each hospital.
            most_records: that any of them has at most.
        """

    @abstractmethod
    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return what the mean over those who answered is multiplied with to be the sum of shares times contributions.

        The shares are those of `share`.
        """

    @abstractmethod
    def reply(
        self,
        arrays: Arrays,
        summed: Sums,
        answered: Sequence[Assignment],
        assignments: Sequence[Assignment],
        learning_rate: float,
    ) -> ReleasedSum:
        """Return the one reply that a strategy sees of a released sum; no data are left in anything but the sum.

        Args:
            arrays: the current model.
            summed: the sum with its noise, by name.
            answered: of those in it.
            assignments: of the whole cohort.
            learning_rate: of the server's step on a gradient sum.
        """
