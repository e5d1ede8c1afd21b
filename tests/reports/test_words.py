"""What an epsilon means, in numbers that an attacker's best test confirms."""

import math
import re

import pytest
from scipy.optimize import linprog

from wardround.reports.words import epsilon_meaning


def best_attack(epsilon: float, delta: float, false_positive_rate: float) -> float:
    """Return the largest true positive rate that (epsilon, delta) allows: a linear program over two regions."""
    odds = math.exp(epsilon)
    # x = true positive rate, subject to both directions of the definition, on the event and on its complement.
    bounds = [
        ([1.0], odds * false_positive_rate + delta),
        ([-1.0], -(false_positive_rate - delta) / odds),
        ([-1.0], -1 + odds * (1 - false_positive_rate) + delta),
        ([1.0], 1 - (1 - false_positive_rate - delta) / odds),
    ]
    solved = linprog([-1.0], A_ub=[row for row, _ in bounds], b_ub=[limit for _, limit in bounds], bounds=[(0, 1)])
    return float(-solved.fun)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-5), (1.0, 1e-3), (4.56, 1e-5), (12.0, 1e-6)])
def test_the_share_that_can_be_found_is_the_best_attacks(epsilon: float, delta: float) -> None:
    found = float(re.search(r"at most ([0-9.]+) % of the records really", " ".join(epsilon_meaning(epsilon, delta)))[1])
    assert found / 100 == pytest.approx(best_attack(epsilon, delta, 0.01), abs=2e-3)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.56])
def test_the_coin_toss_is_the_best_even_odds_attack(epsilon: float) -> None:
    delta = 1e-5
    told = float(re.search(r"tell rightly at most ([0-9.]+) %", " ".join(epsilon_meaning(epsilon, delta)))[1])
    best = max((best_attack(epsilon, delta, rate / 1000) + 1 - rate / 1000) / 2 for rate in range(1001))
    assert best - 1e-3 <= told / 100 <= best + 1e-3


@pytest.mark.parametrize(
    ("epsilon", "words"), [(0.5, "strong guarantee"), (5.0, "reasonable guarantee"), (11.0, "weak guarantee")]
)
def test_the_conventional_bands(epsilon: float, words: str) -> None:
    assert words in epsilon_meaning(epsilon, 1e-5)[-1]


def test_infinite_and_unknown() -> None:
    assert epsilon_meaning(math.nan, 1e-5) == ()
    assert "no bound" in epsilon_meaning(math.inf, 1e-5)[0]
    assert len(epsilon_meaning(1.0, math.nan)) == 2
