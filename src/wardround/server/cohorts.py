"""Who is drawn for a round and who will not answer: by name, from seeded streams, the same whatever happened before.

What is left out on purpose: who is still within the budget (see `loop`).
"""

from collections.abc import Sequence

from wardround.config import Config
from wardround.secagg.records import STAGES
from wardround.streams import SetUp, stream

__all__ = ["cohort_size", "draw_cohort", "draw_drop_stage", "draw_dropouts", "rounds_joined"]


def cohort_size(num_hospitals: int, fraction_train: float) -> int:
    """Return how many hospitals are drawn for a round (>= 1)."""
    return max(1, round(fraction_train * num_hospitals))


def draw_cohort(config: Config, names: Sequence[str], round_number: int) -> tuple[str, ...]:
    """Return the names drawn for a round, sorted; the same for the same seed, whatever happened before."""
    size = cohort_size(len(names), config.training.fraction_train)
    if size == len(names):
        return tuple(sorted(names))
    drawn = stream(config.federation.seed, SetUp.COHORT, round_number, "").choice(len(names), size=size, replace=False)
    return tuple(sorted(sorted(names)[index] for index in drawn))


def rounds_joined(config: Config, names: Sequence[str], *, first_round: int = 1) -> dict[str, int]:
    """Return how many rounds, from the first one given to the last, each hospital is drawn for."""
    rounds = range(first_round, config.training.num_rounds + 1)
    if cohort_size(len(names), config.training.fraction_train) == len(names):
        return dict.fromkeys(names, len(rounds))
    joined = dict.fromkeys(names, 0)
    for round_number in rounds:
        for name in draw_cohort(config, names, round_number):
            joined[name] += 1
    return joined


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
