"""The release before round 1: one noisy mean of the hospitals' moments, by which all standardise and weigh classes.

It is a round like any other, of the job that `agreed.statistics` derives, charged first (see `noisy_means`). What is
left out on purpose: how much noise it gets (see `server.plan.statistics`), and its commit, which is that of round 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.agreed.statistics import STATISTICS_ROUND
from wardround.datasets.constants import NO_CONSTANTS, Constants, constants_from
from wardround.privacy.entries import entry_for
from wardround.rounds import Assignment
from wardround.server.plan.budget import check_beginning
from wardround.server.plan.planning import assign_round
from wardround.server.record.records import Outcome
from wardround.server.round.noisy_means import noisy_mean
from wardround.server.round.run_under_way import RunUnderWay

__all__ = ["Statistics", "release_statistics"]

_UNTRAINED = Outcome(abandoned="", dropped={}, num_scrubbed={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What came of the release; as it is made, of a run that has none.

    Attributes:
        assignments: of all hospitals, as they were charged.
        answered: of those whose moments are in the mean.
        outcome: what is kept of it.
        constants: that all are told; none where the run has no release.
    """

    assignments: Sequence[Assignment] = ()
    answered: Sequence[Assignment] = ()
    outcome: Outcome = _UNTRAINED
    constants: Constants = NO_CONSTANTS


def release_statistics(run: RunUnderWay, run_id: str, attempt: int) -> Statistics:
    """Charge and release the statistics of a run that has them.

    Where too few hospitals answer, the charge stands, and features and classes stay as they are.

    Raises:
        BudgetError: earlier beginnings left too little to spend; see `budget.check_beginning`.
        WardroundError: a hospital failed; see `sums.add_up`.
    """
    plan, layout = run.plan.statistics, run.plan.moments
    if plan is None or layout is None:
        return Statistics()
    assignments = assign_round(plan, plan.names, STATISTICS_ROUND, plan.noise_multipliers, attempt=attempt)
    fingerprints = run.plan.fingerprints
    entries = [entry_for(each, run_id, fingerprints[each.hospital_id]) for each in assignments]
    check_beginning(run.plan, run.account, entries)
    run.ledger.charge(entries)
    made = noisy_mean(
        plan, run.link, assignments, run.source, run_id=run_id, roster=run.roster, settings=run.plan.config
    )
    constants = constants_from(run.plan.config.imbalance, layout, made.mean, stddev=made.stddev)
    summed = made.summed
    return Statistics(assignments=assignments, answered=summed.answered, outcome=summed.outcome, constants=constants)
