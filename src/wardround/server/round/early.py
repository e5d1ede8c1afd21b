"""What a run that stops early is charged: all rounds that it might have made.

When to stop follows from the models that were released. Each prefix of the run is private at its own epsilon, but
which of them is the run's is chosen by looking at its result: an epsilon of the rounds done alone would be chosen after
the fact, and nothing here proves it (Rogers, Roth, Ullman and Vadhan 2016 tell such odometers from filters). The run as
a whole is post-processing of the same run with all its rounds, whatever it stops by; so its epsilon is theirs. What is
left out on purpose: whether to stop (see `plan.best`).
"""

from dataclasses import replace

from wardround.server.plan.budget import entries_of, within_budget
from wardround.server.plan.state import RoundState
from wardround.server.record.commits import KeptRun

__all__ = ["charge_rest"]


def charge_rest(run: KeptRun, state: RoundState) -> None:
    """Charge the rounds that are left as they are planned, all at once; once, however often a run is taken up."""
    if not run.plan.cell.is_private:
        return
    rounds_left = range(state.round_number + 1, run.plan.config.training.num_rounds + 1)
    if any(entry.run_id == state.run_id and entry.round_number in rounds_left for entry in run.ledger.entries()):
        return
    rest = []
    state = replace(state, attempt=1)
    for round_number in rounds_left:
        state, assignments = within_budget(run.plan, state, round_number)
        if state.stopped:  # at the budget, where the run would have ended
            break
        entries = entries_of(run.plan, state, assignments)
        state = replace(state, round_number=round_number, account=state.account.charged(entries))
        rest += entries
    if rest:
        run.ledger.charge(rest)
