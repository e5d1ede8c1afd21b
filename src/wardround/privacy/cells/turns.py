"""What hangs on hospitals taking turns: noise that goes on from earlier rounds, which most cells don't have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wardround.privacy.cells.released_sums import NOTHING, Memory
from wardround.privacy.cells.traits import Traits

__all__ = ["Turns"]


@dataclass(frozen=True)
class Turns(Traits):
    """The answers of cells whose rounds are independent."""

    __slots__ = ()

    def refusals_of_turns(self, rounds_apart: int) -> Iterator[str]:
        """Yield why the cell has no use for how far the hospitals' rounds are apart.

        Args:
            rounds_apart: from one that a hospital is drawn for to its next, at least (>= 1).
        """
        yield from ()

    def noise_memory(
        self, memory: Memory, *, round_number: int, attempt: int, rounds_left: int, scales: Sequence[float]
    ) -> Memory:
        """Return what the server's noise in a round goes on from; nothing where rounds are independent.

        Args:
            memory: what the release of the round before handed over; nothing before the first.
            round_number: from 1.
            attempt: at the round, from 1.
            rounds_left: this one and all after it (>= 1).
            scales: stddevs that independent noise would have on the average, relative to each other, of this round and
                those after it until its hospitals take part again (> 0).
        """
        return NOTHING

    def relative_noise(self, *, num_rounds: int, scales: Sequence[float]) -> float:
        """Return the error of the model's sums of rounds, relative to that of independent noise, in (0, 1].

        Args:
            num_rounds: of the run (>= 1).
            scales: see `noise_memory`, from round 1 on.
        """
        return 1.0
