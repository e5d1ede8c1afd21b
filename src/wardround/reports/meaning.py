"""What an epsilon means, for people without statistics: how often an attacker is right, quoted from a run's summary.

The figures are computed from the distribution of the privacy loss when the run ends, and never here: what follows from
epsilon and delta alone is true, but so loose that it misleads. Where a run did not state them nothing is said.
"""

import math

from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.cells import CellWords

__all__ = ["attack_sentences", "coin_toss", "meaning", "right_of_1000"]


def meaning(epsilon: float, attacker: AttackerFigures | None, words: CellWords) -> tuple[str, ...]:
    """Return what an epsilon means, in sentences that hold for every attacker.

    Args:
        epsilon: spent, >= 0 or inf; nan where it is not known, of which nothing is said.
        attacker: how often one is right at most; None where the run did not say.
        words: what is said of the cell.

    Source: the bands are those of Ponomareva et al. 2023 (arXiv 2303.00654), section 5.2.1.
    """
    if math.isnan(epsilon):
        return ()
    if math.isinf(epsilon):
        return (f"An infinite epsilon is no bound: an attacker may be certain whether {words.used}.",)
    return (*attack_sentences(attacker, words), _band(epsilon))


def attack_sentences(attacker: AttackerFigures | None, words: CellWords) -> tuple[str, ...]:
    """Return how often an attacker who knows everything else is right; nothing where a figure is missing."""
    if attacker is None or any(map(math.isnan, attacker.rates)):
        return ()
    found, found_strictly = map(right_of_1000, attacker.rates[1:])
    computed = (
        "They are computed from Renyi divergences, which are looser than the distribution of the privacy loss: the "
        "true figures are lower."
        if attacker.by == "renyi"
        else "They are computed from the distribution of the privacy loss over the whole run."
    )
    return (
        f"{coin_toss(attacker, words)}.",
        f"If it wrongly accuses 10 of 1000 {words.units} that were not used, it finds at most {found} of 1000 "
        f"{words.units} that were; by blind guessing it finds 10.",
        f"If it wrongly accuses 1 of 1000, it finds at most {found_strictly} of 1000; by blind guessing it finds 1.",
        "These figures are upper bounds for every attacker that this epsilon holds against, whatever else it knows "
        f"and computes. {computed}",
    )


def coin_toss(attacker: AttackerFigures | None, words: CellWords) -> str:
    """Return how often the attacker guesses right, a clause without its full stop; empty where it is not known."""
    if attacker is None or math.isnan(attacker.coin_toss_accuracy):
        return ""
    often = right_of_1000(attacker.coin_toss_accuracy)
    guesses = f"guesses right at most {often} times in 1000 (blind guessing: 500)"
    if often == 1000:
        guesses = "may guess right every time: nothing is promised"
    return f"If a coin toss decides whether {words.used}, an attacker who knows all other data {guesses}"


def right_of_1000(share: float) -> int:
    """Return how many of 1000 a share is, rounded up."""
    return min(1000, math.ceil(round(share * 1000, 9)))


def _band(epsilon: float) -> str:
    if epsilon <= 1:
        return "By common convention this is a strong guarantee (epsilon up to 1)."
    if epsilon <= 10:
        return "By common convention this is a reasonable guarantee (epsilon up to 10), not a strong one (up to 1)."
    return (
        "By common convention an epsilon above 10 is a weak guarantee, which should not be relied on without evidence "
        "from attacks."
    )
