"""The mean of the records' vectors of a federation, released with noise as a run of one round.

The run has a folder, a ledger and a bill of its own, in the cell and protocol of the job; see `agreed.statistics` for
why a mean is a round. What is left out on purpose: what the vectors are, and what it may spend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.agreed.statistics import averaging_config
from wardround.config import Config, PrivacyConfig
from wardround.datasets import FederatedData
from wardround.errors import CohortError
from wardround.objects import hand_over
from wardround.privacy.ledger import open_ledger
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.statistics import over_those_who_answered
from wardround.server.record.beginnings import committed_rounds
from wardround.server.record.run_folder import open_run_folder
from wardround.simulations.prepared import plan_of, silent
from wardround.simulations.runs import Run, resume, run

__all__ = ["ReleasedMean", "mean_config", "release_mean"]


@dataclass(frozen=True, slots=True, eq=False)
class ReleasedMean:
    """A mean that was released.

    Attributes:
        run: that released it.
        plan: of the release.
        values: with their noise, float32 (num_values,).
        answered: hospitals whose records it is of.
    """

    run: Run
    plan: FederationPlan
    values: NDArray[np.float32]
    answered: frozenset[str]


def mean_config(config: Config, privacy: PrivacyConfig, *, most_norm: float, num_values: int) -> Config:
    """Return the settings of the release of a mean of vectors (num_values,), none of which is longer than most_norm."""
    from wardround.clients.moment_model import moment_model

    settings = averaging_config(config, most_norm, privacy)
    return settings.with_object("model", hand_over(moment_model(num_values), "model"))


def release_mean(
    settings: Config,
    averaged: FederatedData,
    out: Path | None,
    *,
    is_begun: bool = False,
    say: Callable[[str], None] = silent,
) -> ReleasedMean:
    """Release the mean, or read it again, and return it.

    Args:
        settings: of the release (see `mean_config`).
        averaged: the hospitals with the vectors (see `datasets.moments.averaged_federation`).
        out: a new or empty folder; None is one in runs/.
        is_begun: whether there is such a run in the folder, to go on with or to be read again.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        CohortError: it was charged and not released: too few hospitals answered, or it was interrupted.
        WardroundError: what a run raises.
    """
    if is_begun and out is not None:
        done = resume(out, config=settings, load=lambda *_: averaged, say=say)
    else:
        done = run(settings, out=out, load=lambda *_: averaged, say=say)
    folder = open_run_folder(done.folder)
    with open_ledger(folder.ledger, read_only=True) as ledger:
        last = committed_rounds(ledger)[-1]
    arrays, _ = folder.read_model()
    # Without a round the model is what it began as, and its zeros are no mean.
    if arrays is None or not last.round_row.round or last.outcome.abandoned:
        why = last.outcome.abandoned or done.outcome.facts.stopped_because or "there is no model"
        raise CohortError(
            f"the mean in {done.folder} was charged and not released: {why}; epsilon {done.outcome.epsilon.max:.3g} is "
            "spent on it, and another release, in a new folder, is another charge"
        )
    answered = frozenset(row.hospital for row in last.hospital_rows if row.completed)
    values = arrays["weight"][0]
    plan = plan_of(settings, averaged, len(values))
    return ReleasedMean(done, plan, over_those_who_answered(plan, values, answered), answered)
