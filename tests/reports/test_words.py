"""What an epsilon means is quoted from the run's summary, and said so that no statistics are needed."""

import math
from dataclasses import replace
from typing import Any

import pytest

from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.cells import CellWords, cell_in_words
from wardround.reports.meaning import meaning

ATTACKER = AttackerFigures(
    coin_toss_accuracy=0.6913,
    tpr_at_fpr_1_percent=0.0957,
    tpr_at_fpr_01_percent=0.0151,
    gdp_mu=None,
    gdp_mu_error=math.nan,
    by="pld",
)
RECORD, HOSPITAL = cell_in_words("record", "local").words(), cell_in_words("hospital", "local").words()
PATIENT = cell_in_words("record", "local").words(record_is="patient")


def test_the_figures_are_the_attackers_and_not_those_of_epsilon_and_delta() -> None:
    said = " ".join(meaning(4.61, ATTACKER, PATIENT))
    assert "guesses right at most 692 times in 1000" in said
    assert "finds at most 96 of 1000 patients" in said
    assert "accuses 1 of 1000, it finds at most 16 of 1000" in said
    assert "distribution of the privacy loss" in said
    assert "99" not in said  # what epsilon 4.61 alone allows: right in 99.1 % of cases


def test_looser_figures_say_that_they_are_loose() -> None:
    assert "the true figures are lower" in " ".join(meaning(4.61, replace(ATTACKER, by="renyi"), RECORD))


@pytest.mark.parametrize("missing", ["coin_toss_accuracy", "tpr_at_fpr_1_percent", "tpr_at_fpr_01_percent"])
def test_a_figure_that_is_not_recorded_is_not_derived(missing: str) -> None:
    figures: dict[str, Any] = {missing: math.nan}
    attacker = replace(ATTACKER, **figures)
    assert len(meaning(4.61, attacker, RECORD)) == 1
    assert not any(letter.isdigit() for letter in meaning(0.5, attacker, RECORD)[0].replace("up to 1", ""))


@pytest.mark.parametrize("words", [RECORD, PATIENT, HOSPITAL], ids=lambda words: words.unit)
def test_the_unit_is_named(words: CellWords) -> None:
    assert all(words.unit in sentence for sentence in meaning(1.0, ATTACKER, words)[:2])


@pytest.mark.parametrize(
    ("epsilon", "words"), [(0.5, "strong guarantee"), (5.0, "reasonable guarantee"), (11.0, "weak guarantee")]
)
def test_the_conventional_bands(epsilon: float, words: str) -> None:
    assert words in meaning(epsilon, None, RECORD)[-1]


def test_infinite_and_unknown() -> None:
    assert meaning(math.nan, ATTACKER, RECORD) == ()
    assert meaning(math.inf, None, RECORD) == (
        "An infinite epsilon is no bound: an attacker may be certain whether a record was used.",
    )
