"""From the exact sum of a round to the one reply that the strategy sees: asked of the cell.

What is left out on purpose: how the sum came about (see `hospitals`), and what it costs (charged before, see `loop`).
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from wardround import exact_sums
from wardround.privacy.cells import ReleasedSum, cell_named
from wardround.rounds import Assignment
from wardround.streams import Source

__all__ = ["ReleasedSum", "release_sum"]


def release_sum(
    arrays: dict[str, NDArray[Any]],
    total: exact_sums.FixedSum,
    answered: Sequence[Assignment],
    *,
    assignments: Sequence[Assignment],
    learning_rate: float,
    source: Source,
    rounding: float = 0.0,
) -> ReleasedSum:
    """Return what the strategy may see of a round (see `privacy.cells.cell.Cell.release`)."""
    cell = cell_named(answered[0].event.cell)
    return cell.release(
        arrays, total, answered, assignments, learning_rate=learning_rate, source=source, rounding=rounding
    )
