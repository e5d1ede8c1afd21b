"""How a run came to its model: where it stopped early, and which of its models it kept.

What is left out on purpose: runs that ended as planned, at their budget, or not at all (see `words`).
"""

from wardround.reports.numbers import count_text
from wardround.reports.results import RunResult

__all__ = ["kept_sentence", "stopped_early"]


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
