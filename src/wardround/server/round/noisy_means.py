"""The noisy mean of the records' vectors that one round of a derived job releases (see `agreed.statistics`).

It is a round like any other: asked for, summed and noised by the cell, in plain or by secure aggregation. What is left
out on purpose: its charge, which comes before, and its commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config
from wardround.rounds import Assignment
from wardround.secagg import Roster
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.statistics import over_those_who_answered
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.released import release
from wardround.server.round.secure_terms import secure_sum_for
from wardround.server.round.strategy_steps import NOTHING, ask, step
from wardround.server.round.sums import Sum, add_up
from wardround.strategies import strategy_of
from wardround.streams import Source

__all__ = ["NoisyMean", "noisy_mean"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisyMean:
    """What came of the round.

    Attributes:
        summed: of the hospitals that were asked.
        mean: float32 (num_values,), over the records of those who answered; None where too few did.
        stddev: of the noise in each of its coordinates; 0.0 where there is no mean.
    """

    summed: Sum
    mean: NDArray[np.float32] | None
    stddev: float


def noisy_mean(
    plan: FederationPlan,
    link: HospitalLink,
    assignments: Sequence[Assignment],
    source: Source,
    *,
    run_id: str,
    roster: Roster | None,
    settings: Config,
    beside: Mapping[str, Mapping[str, Any]] = NOTHING,
) -> NoisyMean:
    """Return the mean that the hospitals of a plan release, once it was charged.

    Args:
        plan: of the release, whose model is the mean.
        link: to the hospitals.
        assignments: of all of them, as they were charged.
        source: of the server's noise.
        run_id: of the run.
        roster: with whom is summed by secure aggregation; None where another protocol is set.
        settings: that hospitals hold a secure sum's to.
        beside: records by name that all of them are told, too.

    Raises:
        WardroundError: a hospital failed; see `sums.add_up`.
    """
    round_number = assignments[0].round_number
    silent = draw_dropouts(plan.config, plan.names, round_number)
    secure = secure_sum_for(plan, assignments, run_id=run_id, roster=roster, silent=silent, settings=settings)
    strategy, zeros = strategy_of(plan.config), {"weight": np.zeros((1, plan.num_parameters), np.float32)}
    absent = {} if secure else silent
    asked = ask(link, strategy, zeros, assignments, absent, plan.config.aggregation.min_survivors, beside=beside)
    summed = add_up(link, asked, secure)
    replies, _ = release(plan, zeros, assignments, summed, source, {})
    if not replies:
        return NoisyMean(summed=summed, mean=None, stddev=0.0)
    answered = {each.hospital_id for each in summed.answered}
    values = step(strategy, round_number, zeros, replies)["weight"][0]
    return NoisyMean(
        summed=summed,
        mean=over_those_who_answered(plan, values, answered),
        stddev=own_stddev_on_average(plan, answered),
    )
