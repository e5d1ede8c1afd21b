"""The release before round 1: one noisy mean of the hospitals' moments, by which all standardise and weigh classes.

It is a round like any other, of the job that `agreed.statistics` derives: charged first, asked for, summed and noised
by the cell, in plain or by secure aggregation. What is left out on purpose: how much noise it gets (see
`server.plan.statistics`), and its commit, which is that of round 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.agreed.statistics import STATISTICS_ROUND
from wardround.datasets.constants import NO_CONSTANTS, Constants, constants_from
from wardround.privacy.entries import entry_for
from wardround.rounds import Assignment
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.server.plan.budget import check_beginning
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.plan.planning import assign_round
from wardround.server.plan.statistics import over_those_who_answered
from wardround.server.record.records import Outcome
from wardround.server.round.released import release
from wardround.server.round.run_under_way import RunUnderWay
from wardround.server.round.secure_terms import secure_sum_for
from wardround.server.round.strategy_steps import ask, step
from wardround.server.round.sums import add_up
from wardround.strategies import strategy_of

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
    silent = draw_dropouts(plan.config, plan.names, STATISTICS_ROUND)
    secure = secure_sum_for(
        plan, assignments, run_id=run_id, roster=run.roster, silent=silent, settings=run.plan.config
    )
    strategy, zeros = strategy_of(plan.config), {"weight": np.zeros((1, layout.num_values), np.float32)}
    absent = {} if secure else silent
    asked = ask(run.link, strategy, zeros, assignments, absent, plan.config.aggregation.min_survivors)
    summed = add_up(run.link, asked, secure)
    replies, _ = release(plan, zeros, assignments, summed, run.source, {})
    mean, stddev = None, 0.0
    if replies:
        answered = {each.hospital_id for each in summed.answered}
        mean = over_those_who_answered(plan, step(strategy, STATISTICS_ROUND, zeros, replies)["weight"][0], answered)
        stddev = own_stddev_on_average(plan, answered)
    constants = constants_from(run.plan.config.imbalance, layout, mean, stddev=stddev)
    return Statistics(assignments=assignments, answered=summed.answered, outcome=summed.outcome, constants=constants)
