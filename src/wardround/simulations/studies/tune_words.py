"""What is said of how settings were chosen, and of what that cost: in chosen.toml and in the terminal.

What is left out on purpose: tables and layout.
"""

import math
from collections.abc import Iterator

from wardround.simulations.studies.tune import EACH_ONCE
from wardround.simulations.studies.tune_records import TuneSummary

__all__ = ["head_of_chosen", "what_it_cost"]


def head_of_chosen(summary: TuneSummary) -> tuple[str, ...]:
    """Return the lines at the head of chosen.toml; of private data nothing that tells how many repetitions there were.

    Whoever receives the model may receive this file with it, and the bound for them holds while that is hidden.
    """
    values = ", ".join(f"{name} = {value}" for name, value in summary.chosen.items())
    lines = [f"Chosen among {summary.num_candidates} candidates by wardround tune: {values}."]
    if summary.on == "stand-in":
        return (*lines, f"By {summary.score_name} on {summary.stand_in}, which stood in.", _nothing_read(summary))
    return (
        *lines,
        f"By the {summary.score_name}, in a tune on {summary.dataset} with target-epsilon = "
        f"{summary.target_epsilon:g}, of which summary.json has the bill.",
        "The model that was paid for is model.safetensors beside this file. A run of this file trains another one: its "
        "epsilon comes on top of the tune's, which is not in that run's ledger.",
    )


def what_it_cost(summary: TuneSummary) -> Iterator[str]:
    """Yield what the tune cost, against whom, and what the choice rests on."""
    if summary.on == "stand-in":
        yield _nothing_read(summary)
        yield (
            f"What is best on {summary.stand_in} need not be on {summary.dataset}: that is what it costs not to look."
        )
        return
    spent, readers = summary.epsilon, summary.epsilon.readers
    yield (
        f"Spent of {summary.dataset}: epsilon {_shown(spent.total)} at delta {spent.target_delta:g} for one "
        f"{summary.unit}, of {summary.target_epsilon:g} that may be spent. All repetitions are in it, since the server "
        f"and the other hospitals saw them: against the server {_shown(readers['server'])}, against another hospital "
        f"{_shown(readers['hospital'])}."
    )
    if summary.repetitions == EACH_ONCE:
        yield "Every candidate was trained once, and whoever receives the model is counted as if all had been seen."
    else:
        yield (
            f"Against whoever gets model.safetensors and chosen.toml and nothing else of this folder it is "
            f"{_shown(readers['recipient'])} (best of a random number of repetitions; Papernot and Steinke 2022). It "
            "does not hold for whoever learns how many there were, or sees a table, a run or the seed."
        )
    share = "" if summary.score_share is None else f", {summary.score_share:g} of it for the release of its score"
    yield (
        f"Each repetition was sized for epsilon {summary.epsilon_each:.4g}{share}, so that "
        f"{summary.most_repetitions} of them keep {summary.target_epsilon:g}. Each has its own ledger in runs/"
        f"{'' if summary.score_share is None else ', and its score one in scores/'}."
    )
    by = "public records" if summary.score_share is None else "scores that were released with noise and are billed"
    yield (
        f"Chosen by {by}. Scores on the hospitals' own test records stand in the runs' folders; they are in no "
        "epsilon, and chose nothing."
    )
    if summary.status != "done":
        yield (
            "Rounds that were interrupted were charged again, and took the whole beyond the target: what is stated is "
            "what was spent."
        )


def _nothing_read(summary: TuneSummary) -> str:
    return f"Nothing was read of the job's own data ({summary.dataset}), and none of their epsilon was spent."


def _shown(epsilon: float) -> str:
    return "infinite" if math.isinf(epsilon) else f"{math.ceil(epsilon * 1000) / 1000:g}"
