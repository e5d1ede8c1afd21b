"""What a page and the terminal say of test scores that no exact figure is told of: why, and what was released of them.

What is left out on purpose: how the scores follow from what was released (see `record.released_scores`).
"""

from wardround.reports.drawing import MUTED, Chart, Curve
from wardround.reports.numbers import between_text, count_text, ends_text, epsilon_text, number_text
from wardround.reports.results import RunResult
from wardround.server.record.released_scores import ReleasedScores
from wardround.server.record.summaries import Summary

__all__ = [
    "NOT_COMPUTED",
    "NOT_MEASURED",
    "is_of_sites",
    "released_charts",
    "released_figures",
    "released_sums",
    "scores_uncovered",
    "unmeasured_sentence",
]

NOT_MEASURED = (
    "Loss, accuracy, AUC and all else of the hospitals' test records are not measured: no real site sends it, since "
    "epsilon does not cover it."
)
NOT_COMPUTED = (
    "No score of the hospitals' test records is computed or kept, as epsilon would not cover it ([evaluation] release "
    '= "none").'
)
_NAMES = {
    "accuracy": "Accuracy",
    "auc": "AUC over all test records",
    "loss": "Loss, of a record at most 4",
    "brier": "Brier score",
    "calibration_error": "Calibration error",
}
_COMPARED = {
    "auc": "guessing: 0.500",
    "brier": "always answering one half: 0.250",
    "calibration_error": "perfect: 0.000",
}
_NOISY = "released with noise"


_UNTOLD = "none"
"""As [evaluation] release names that nothing is told of test records."""


def _release(run: RunResult) -> str:
    return str(run.setting("evaluation", "release", "simulation"))


def is_of_sites(run: RunResult) -> bool:
    """Return whether nothing was measured since the hospitals are real sites."""
    return not run.summary.measured and _release(run) == "simulation"


def unmeasured_sentence(run: RunResult) -> str:
    """Return why no exact test score is told, and what was released in its place."""
    if is_of_sites(run):
        return NOT_MEASURED
    if _release(run) == _UNTOLD:
        return NOT_COMPUTED
    return _released_sentence(run.summary)


def _released_sentence(summary: Summary) -> str:
    released = summary.released_scores
    if released is None:
        return "Test scores are released with noise once the run has ended, and exact ones are not told."
    if not released.scores:
        spent = f" Epsilon {epsilon_text(released.epsilon)} was charged for it." if released.num_attempts else ""
        return f"No test scores were released: {released.reason}.{spent}"
    told = [f"{_in_text(name)} {value:.3f}{_ends(released, name)}" for name, value in released.scores.items()]
    again = f", after {released.num_attempts} attempts, all of them charged" if released.num_attempts > 1 else ""
    return (
        f"Released with noise{again}, of the model after round {released.round} on {released.num_records:,} test "
        f"records of {count_text(released.num_hospitals, 'hospital')}: {', '.join(told)}. Intervals have both the "
        f"noise and the chance in which records were tested.{_without_area(released)} The release costs epsilon "
        f"{epsilon_text(released.epsilon)} by itself, which is all that a patient pays who is in test sets alone; it "
        "is in the run's epsilon, and exact test scores are nowhere in the run's folder."
    )


def _in_text(name: str) -> str:
    return {"auc": "AUC", "brier": "Brier score"}.get(name, name.replace("_", " "))


def _ends(released: ReleasedScores, name: str) -> str:
    return between_text(released.intervals.get(name))


def _without_area(released: ReleasedScores) -> str:
    if "auc" in released.scores or "brier" not in released.scores:  # of more than two classes none is released
        return ""
    return " An AUC is not told, as one of the classes has too few test records beside the noise."


def released_figures(run: RunResult) -> list[tuple[str, str, str]]:
    """Return (figure, value, what to compare it with) of what was released; none where nothing was."""
    released = run.summary.released_scores
    if released is None or not released.scores:
        return []
    rows = [
        (_NAMES.get(name, name), number_text(value) + ends_text(released.intervals.get(name)), _compared(name))
        for name, value in released.scores.items()
    ]
    of = f"of {released.num_records:,} test records; noise of {released.stddev:.3g} records in every sum"
    return [*rows, ("Epsilon of these scores", epsilon_text(released.epsilon), f"in the total; {of}")]


def _compared(name: str) -> str:
    return f"{_NOISY}; {_COMPARED[name]}" if name in _COMPARED else _NOISY


def released_charts(run: RunResult) -> list[Chart]:
    """Return the reliability diagram of what was released, where two bins or more can be told from the noise."""
    released = run.summary.released_scores
    bins = [
        (each.predicted, each.seen)
        for each in (released.reliability if released else ())
        if each.predicted is not None and each.seen is not None
    ]
    if len(bins) < 2:
        return []
    line = Curve(x=(0.0, 1.0), y=(0.0, 1.0), series=MUTED, label="as predicted", dash="dashed", width=1.4, mark_size=0)
    return [
        Chart(
            name="released-reliability",
            title="Calibration, released with noise",
            caption="Across: the probability that the model gives, by tenths. Upwards: the share of those test records "
            "for which it came true, with noise. Tenths of which the noise hides how many records they have are left "
            "out.",
            x_label="predicted probability",
            x_scale="linear",
            curves=[line, Curve(x=[x for x, _ in bins], y=[y for _, y in bins], series=1, label="as it came out")],
            is_share=True,
        )
    ]


def released_sums(run: RunResult) -> str:
    """Return what hospitals send of their test records beside the rest, as the end of a sentence; "" of nothing."""
    if _release(run) != "private":
        return ""
    return (
        " and, once after the last round, sums over its test records: right answers, losses, and records by what the "
        "model gives them and what is right"
    )


def scores_uncovered(run: RunResult) -> str:
    """Return what of test scores on the page epsilon does not cover."""
    if is_of_sites(run):
        return "No score, loss or count of test records is on this page: no real site sends them."
    if _release(run) == _UNTOLD:
        return "No score or loss of test records is on this page."
    return "The test scores on this page carry noise, and are in the epsilon. How many records are tested is public."
