"""What an alarm says: what was seen, of which the bill does not allow so much, and never that it allows more."""

from wardround.audits.records import FoundRates, ReaderAudit
from wardround.audits.suspicions import of_readers


def found(*, epsilon_lower=4.0, right=0.7, rates=None):
    return ReaderAudit(
        epsilon=3.0,
        epsilon_lower=epsilon_lower,
        num_canaries=4000,
        num_correct=2800,
        coin_toss_accuracy=right,
        coin_toss_most=0.6,
        found=rates or FoundRates(),
        tpr_at_fpr_1_percent_most=0.034,
        is_refuted=True,
    )


def test_too_many_right_guesses_are_named_with_the_epsilon_that_they_show():
    first, look = of_readers("server", {"north": found(), "south": found()})
    assert first == (
        "north and 1 more, against the server: 70.0% of 4000 guesses are right, and the bill of epsilon 3.00 allows "
        "60.0%: epsilon is 4.00 at least"
    )
    assert "look at the clip" in look


def test_an_epsilon_that_is_shown_to_be_less_than_the_bill_is_no_alarm():
    first, _ = of_readers("server", {"north": found(epsilon_lower=2.9)})
    assert first.endswith("allows 60.0%")


def test_canaries_that_are_found_by_a_threshold_are_named_where_guesses_at_all_are_as_allowed():
    rates = FoundRates(tpr_at_fpr_1_percent=0.097, measured_fpr_1_percent=0.011)
    first, _ = of_readers("server", {"north": found(epsilon_lower=0.0, right=0.511, rates=rates)})
    assert first == (
        "north, against the server: 9.7% of the used canaries are found where 1.1% of the others are accused, more "
        "than chance explains: the bill of epsilon 3.00 allows 3.4% where 1 % are"
    )
