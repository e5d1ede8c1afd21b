"""Who is drawn for a round: by name, from a seeded stream, the same whatever happened before.

Server and hospital both draw, so that a hospital can refuse a round that it was not drawn for. Real sites are drawn
from the names of their roster, whoever of them is there. What is left out on purpose: who will not answer in a
simulation (see `server.plan.dropouts`), and who is still within the budget (see `server.plan.budget`).
"""

from collections.abc import Sequence
from functools import lru_cache

from wardround.config import Config
from wardround.streams import SetUp, stream

__all__ = ["cohort_size", "draw_cohort", "rounds_joined"]


def cohort_size(num_hospitals: int, fraction_train: float) -> int:
    """Return how many hospitals are drawn for a round (>= 1)."""
    return max(1, round(fraction_train * num_hospitals))


def draw_cohort(config: Config, names: Sequence[str], round_number: int) -> tuple[str, ...]:
    """Return the names drawn for a round, sorted; the same for the same seed, whatever happened before."""
    size = cohort_size(len(names), config.training.fraction_train)
    return _drawn(config.federation.seed, tuple(names), size, round_number if size < len(names) else 0)


@lru_cache(maxsize=64)  # each hospital of a round asks whether it was drawn
def _drawn(seed: int, names: tuple[str, ...], size: int, round_number: int) -> tuple[str, ...]:
    if size == len(names):
        return tuple(sorted(names))
    drawn = stream(seed, SetUp.COHORT, round_number, "").choice(len(names), size=size, replace=False)
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
