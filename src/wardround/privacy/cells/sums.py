"""How a sum of contributions becomes the round's one reply."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from wardround.exact_sums import Arrays
from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.released_sums import ReleasedSum, Sums
from wardround.rounds import Assignment

__all__ = ["SummedCell"]


@dataclass(frozen=True)
class SummedCell(Cell):
    """A cell whose contributions are of use as a sum."""

    __slots__ = ()

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
