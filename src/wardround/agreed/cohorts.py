"""Who is drawn for a round: by name, from a seeded stream, the same whatever happened before.

Server and hospital both draw, so that a hospital can refuse a round that it was not drawn for. Real sites are drawn
from the names of their roster, whoever of them is there. Cohorts are drawn at random in every round, or the hospitals
are drawn once into groups that take turns (round-robin), so that none takes part again before all others have. What is
left out on purpose: who will not answer in a simulation (see `server.plan.dropouts`), and who is still within the
budget (see `server.plan.budget`).
"""

from collections.abc import Sequence
from functools import lru_cache

from wardround.config import Config
from wardround.streams import SetUp, stream

__all__ = ["cohort_sizes", "draw_cohort", "rounds_apart", "rounds_joined"]


def cohort_sizes(config: Config, num_hospitals: int) -> tuple[int, int]:
    """Return how many of so many hospitals (>= 1) are drawn for a round at least, and at most (>= 1)."""
    groups = _num_groups(config, num_hospitals)
    if not groups:
        size = _cohort_size(config, num_hospitals)
        return size, size
    return num_hospitals // groups, -(-num_hospitals // groups)


def rounds_apart(config: Config, num_hospitals: int) -> int:
    """Return how many rounds lie from one that a hospital is drawn for to its next, 1 if it may be the next."""
    return _num_groups(config, num_hospitals) or 1


def draw_cohort(config: Config, names: Sequence[str], round_number: int) -> tuple[str, ...]:
    """Return the names drawn for a round, sorted; the same for the same seed, whatever happened before."""
    seed, groups = config.federation.seed, _num_groups(config, len(names))
    if groups:
        return _groups(seed, tuple(sorted(names)), groups)[(round_number - 1) % groups]
    size = _cohort_size(config, len(names))
    return _drawn(seed, _Names(tuple(names)), size, round_number if size < len(names) else 0)


def rounds_joined(config: Config, names: Sequence[str], *, first_round: int = 1) -> dict[str, int]:
    """Return how many rounds, from the first one given to the last, each hospital is drawn for."""
    rounds = range(first_round, config.training.num_rounds + 1)
    if cohort_sizes(config, len(names))[0] == len(names):
        return dict.fromkeys(names, len(rounds))
    joined = dict.fromkeys(names, 0)
    for round_number in rounds:
        for name in draw_cohort(config, names, round_number):
            joined[name] += 1
    return joined


def _cohort_size(config: Config, num_hospitals: int) -> int:
    return max(1, round(config.training.fraction_train * num_hospitals))


def _num_groups(config: Config, num_hospitals: int) -> int:
    """Return how many groups take turns; 0 where cohorts are drawn at random."""
    if config.training.cohorts == "random":
        return 0
    return max(1, num_hospitals // _cohort_size(config, num_hospitals))


class _Names:
    """Names that are hashed by a few of them: to hash ten thousand takes as long as all else that asking costs."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Names) or not (self.names is other.names or self.names == other.names):
            return False
        self.names = other.names  # the next who asks with this very tuple is known without a look at every name
        return True

    def __hash__(self) -> int:
        return hash((len(self.names), self.names[:1], self.names[-1:]))


@lru_cache(maxsize=64)  # each hospital of a round asks whether it was drawn
def _drawn(seed: int, known: _Names, size: int, round_number: int) -> tuple[str, ...]:
    names = known.names
    if size == len(names):
        return tuple(sorted(names))
    drawn = stream(seed, SetUp.COHORT, round_number, "").choice(len(names), size=size, replace=False)
    in_order = sorted(names)
    return tuple(sorted(in_order[index] for index in drawn))


@lru_cache(maxsize=8)
def _groups(seed: int, names: tuple[str, ...], num_groups: int) -> tuple[tuple[str, ...], ...]:
    """Return the groups in their turn, each sorted; the larger ones first, by one hospital. Names are sorted."""
    order = [names[index] for index in stream(seed, SetUp.COHORT, 0, "").permutation(len(names))]
    return tuple(tuple(sorted(order[turn::num_groups])) for turn in range(num_groups))
