"""How a run came to its model and its epsilon: where it stopped early, which of its models it kept, what tables end at.

What is left out on purpose: runs that ended as planned, at their budget, or not at all (see `words`).
"""

import math

from wardround.reports.numbers import count_text, epsilon_text
from wardround.reports.results import RunResult

__all__ = ["kept_sentence", "live_sentence", "stopped_early"]


def stopped_early(run: RunResult, rounds: str) -> str:
    """Return why a run stopped early, and what its epsilon is of; `rounds` it did of so many, in words."""
    patience = count_text(int(run.setting("evaluation", "patience", 1)), "evaluated round")
    text = f"Stopped early after {rounds}: the loss had not improved in {patience}."
    if run.is_private:
        text += (
            " Epsilon is that of all planned rounds: when to stop was decided by the models themselves, and only the "
            "whole plan is proved. The rounds left out are charged in the ledger."
        )
    return text


def kept_sentence(run: RunResult) -> str:
    """Return whose model the run's is, where it is chosen; empty where it is the last."""
    kept = run.summary.kept_round
    if kept is None:
        return ""
    after = "before training" if kept == 0 else f"after round {kept}"
    by = "on public records" if run.summary.public_loss is not None else "on the hospitals' test records"
    return f"The model is the one {after}: the best by its loss {by}. Scores are that model's."


def live_sentence(run: RunResult) -> str:
    """Return why the progress line and the tables by round end at another epsilon; empty where they do not."""
    live, total = run.rounds[-1].get("epsilon_total", math.nan) if run.rounds else math.nan, run.epsilon.total
    if not (live < math.inf and total < math.inf) or epsilon_text(live) == epsilon_text(total):
        return ""
    ends = f"The progress line, rounds.csv and hospitals.csv end at {epsilon_text(live)}"
    if run.summary.released_scores is not None:
        return (
            f"{ends}, an upper bound that is quicker to compute (Renyi), before test scores were released; "
            f"{epsilon_text(total)} is of the whole run, and holds."
        )
    if not total < live:
        return ""
    return (
        f"{ends}. That is an upper bound of the same epsilon too, quicker to compute (Renyi); {epsilon_text(total)} is "
        "the closer one, and holds."
    )
