"""Who will not answer in a round of a simulation, and from which stage on: by name, from seeded streams.

What is left out on purpose: who is drawn for a round (see `cohorts`).
"""

from collections.abc import Sequence

from wardround.config import Config
from wardround.secagg.records import STAGES
from wardround.streams import SetUp, stream

__all__ = ["draw_dropouts"]


def draw_dropouts(config: Config, cohort: Sequence[str], round_number: int) -> dict[str, str]:
    """Return who of the cohort will not answer in this round, and from which stage of a secure sum on (simulation)."""
    rate = config.simulation.dropout_rate
    silent = {}
    for name in cohort if rate else ():
        generator = stream(config.federation.seed, SetUp.DROPOUT, round_number, name)
        if generator.random() < rate:
            silent[name] = STAGES[int(generator.integers(len(STAGES)))]
    return silent
