"""What an epsilon means, for people without statistics: how often an attacker is right, quoted from a run's summary.

The figures are computed from the distribution of the privacy loss when the run ends, and never here: what follows from
epsilon and delta alone is true, but so loose that it misleads. Where a run did not state them nothing is said.
"""

import math
from collections.abc import Mapping
from typing import Any

from wardround.privacy.cells import CellWords
from wardround.reports.files import read_number

__all__ = ["ATTACK_FIGURES", "attack_sentences", "coin_toss", "meaning", "right_of_1000"]

ATTACK_FIGURES = ("coin_toss_accuracy", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
"""The figures of an attacker in summary.json that sentences are made of."""


def meaning(epsilon: float, attacker: Mapping[str, Any], words: CellWords) -> tuple[str, ...]:
    """Return what an epsilon means, in sentences that hold for every attacker.

    Args:
        epsilon: spent, >= 0 or inf; nan where it is not known, of which nothing is said.
        attacker: ATTACK_FIGURES as shares in [0, 1], and "by", the accountant; empty where the run did not say.
        words: what is said of the cell.

    Source: the bands are those of Ponomareva et al. 2023 (arXiv 2303.00654), section 5.2.1.
    """
    if math.isnan(epsilon):
        return ()
    if math.isinf(epsilon):
        return (f"An infinite epsilon is no bound: an attacker may be certain whether {words.used}.",)
    return (*attack_sentences(attacker, words), _band(epsilon))


def attack_sentences(attacker: Mapping[str, Any], words: CellWords) -> tuple[str, ...]:
    """Return how often an attacker who knows everything else is right; nothing where a figure is missing."""
    shares = [read_number(attacker.get(key)) for key in ATTACK_FIGURES]
    if any(math.isnan(share) for share in shares):
        return ()
    found, found_strictly = (right_of_1000(share) for share in shares[1:])
    computed = (
        "They are computed from Renyi divergences, which are looser than the distribution of the privacy loss: the "
        "true figures are lower."
        if attacker.get("by") == "renyi"
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


def coin_toss(attacker: Mapping[str, Any], words: CellWords) -> str:
    """Return how often the attacker guesses right, a clause without its full stop; empty where it is not known."""
    right = read_number(attacker.get("coin_toss_accuracy"))
    if math.isnan(right):
        return ""
    often = right_of_1000(right)
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
