"""What the cells share where the server adds the noise to an exact sum."""

from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.cell import READERS, Cell
from wardround.privacy.cells.words import PlainWords
from wardround.rounds import Assignment

__all__ = ["ServerNoise", "server_words"]


@dataclass(frozen=True)
class ServerNoise(Cell):
    """Noise by the server, once a round."""

    __slots__ = ()
    placement: ClassVar[str] = "central"
    shares_noise: ClassVar[bool] = True
    adds_noise_at_server: ClassVar[bool] = True
    payload: ClassVar[str] = "values"

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return the noise multiplier that is left against a reader: none against the server, which adds it."""
        return 0.0 if reader == READERS[0] else noise_multiplier

    def num_noise_draws(self, assignment: Assignment) -> int:
        """Return 0: hospitals draw none."""
        return 0


def server_words(sent: str) -> PlainWords:
    """Return what is said of such a cell.

    Args:
        sent: what leaves a hospital in a round.
    """
    return PlainWords(
        noise="Gaussian noise, once, by the server",
        kind="central",
        formula="zC / n",
        chart_order=2,
        sent=sent,
        trust="The server is trusted: it sees contributions without noise and adds the noise to their sum. The "
        "guarantee holds against the other hospitals and whoever receives the model, not against the server.",
        server_sees="every hospital's contribution before the noise is added",
        server_sees_sum="the sum of the hospitals' contributions before the noise is added",
        price="That is the price of not trusting the server with what the hospitals send.",
    )
