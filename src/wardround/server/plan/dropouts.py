"""Who will not answer in a round of a simulation, and from which stage on: by name, from seeded streams.

What is left out on purpose: who is drawn for a round (see `cohorts`).
"""

from collections.abc import Sequence

from wardround.config import Config
from wardround.secagg.records import STAGES
from wardround.streams import SetUp, stream

__all__ = ["draw_drop_stage", "draw_dropouts"]


def draw_dropouts(config: Config, cohort: Sequence[str], round_number: int) -> frozenset[str]:
    """Return the hospitals of the cohort that will not answer in this round (simulation)."""
    rate = config.simulation.dropout_rate
    seed = config.federation.seed
    return frozenset(
        name for name in cohort if rate and stream(seed, SetUp.DROPOUT, round_number, name).random() < rate
    )


def draw_drop_stage(config: Config, name: str, round_number: int) -> str:
    """Return the stage of secure aggregation at which a hospital that drops out of a round does so (simulation)."""
    generator = stream(config.federation.seed, SetUp.DROPOUT, round_number, name)
    generator.random()  # whether it drops out at all: see `draw_dropouts`
    return STAGES[int(generator.integers(len(STAGES)))]
