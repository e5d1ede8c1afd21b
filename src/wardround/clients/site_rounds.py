"""What a real site alone holds a round to: the rounds it is drawn for, what it did before, and what it may spend.

The server's word counts for nothing here but the noise multiplier, which must cost no more than was agreed. What is
left out on purpose: what any hospital holds a round to (see `assignments`), and the protocol's stages (see `secagg`).
"""

from collections.abc import Sequence

from wardround.agreed.cohorts import rounds_joined
from wardround.clients.assignments import Part, check_assignment
from wardround.clients.released import Released
from wardround.config import PrivacyConfig
from wardround.errors import ConfigError, DataError, Refusal
from wardround.privacy.accounting import headline_epsilon, rdp_epsilon
from wardround.rounds import Assignment
from wardround.secagg import Terms
from wardround.step_events import StepEvent

__all__ = ["check_history", "check_round", "check_spending", "event_in"]


def check_round(part: Part, terms: Terms, assignment: Assignment | None) -> None:
    """Refuse a round that a site is not drawn for, and an assignment that is not as its own settings have it.

    The terms were checked by `assignments.check_sum`; there is no assignment before the site is asked to train.

    Raises:
        Refusal: naming the value that is wrong; it depends on no record.
    """
    if part.cell.is_private:
        _own_delta(part)
    if not part.takes_part_in(terms.round_number):
        raise Refusal(
            f"round_number = {terms.round_number} must be one of {part.first_round} to "
            f"{part.first_round + part.config.training.num_rounds - 1} that "
            f"{part.hospital_id} is drawn for"
        )
    if assignment is None:
        return
    for name, own in (("round_number", terms.round_number), ("attempt", 1)):
        if getattr(assignment, name) != own:
            raise Refusal(f"the assignment's {name} = {getattr(assignment, name)} must be {own}: nothing was trained")
    check_assignment(assignment, part)


def check_history(asked: Released, before: Sequence[Released], *, runs: int) -> list[StepEvent]:
    """Return what was spent in the run so far, refusing another run than the site answers, and a round done twice.

    Args:
        asked: of a server; its cost is not looked at.
        before: all that the site released.
        runs: that the site answers with these settings, in all.

    Raises:
        Refusal: the run or the round is refused.
        DataError: the data are not those that the run began with.
    """
    known = list(dict.fromkeys(release.run_id for release in before if release.settings == asked.settings))
    if asked.run_id not in known and len(known) >= runs:
        raise Refusal(
            f"this site has answered {len(known)} runs of these settings, and runs = {runs} is the most ([site] runs): "
            "the epsilons of runs add up, and whoever answers for its data may raise it in site.toml"
        )
    in_run = [release for release in before if (release.settings, release.run_id) == (asked.settings, asked.run_id)]
    if any(release.round_number == asked.round_number for release in in_run):
        raise Refusal(f"round {asked.round_number} of this run was released before: rounds are not redone")
    if any(release.data != asked.data for release in in_run):
        raise DataError(
            f"the training data are not those that run {asked.run_id} began with, which its epsilon is for: put them "
            "back, or begin a new run ([site] data)"
        )
    return [release.event for release in in_run if release.event is not None]


def event_in(part: Part, assignment: Assignment) -> StepEvent | None:
    """Return what a release costs; None without privacy."""
    if not part.cell.is_private:
        return None
    return part.cell.step_event(part.shape, assignment.event.noise_multiplier, assignment.event.num_steps)


def check_spending(
    part: Part, assignment: Assignment, spent: Sequence[StepEvent], *, limits: PrivacyConfig | None = None
) -> None:
    """Refuse a release that the settings can't afford.

    A target is held over all rounds that are left, as if each had the noise of this one: so much less noise in one
    round that the target is missed later is refused at once. A budget is held with this round. Both by the accountant
    of the headline (`accounting.headline_epsilon`). What a patient pays at other hospitals ([privacy] patient-overlap)
    a site can't know, and the server keeps.

    The assignment was checked by `check_assignment`.

    Args:
        part: the site's own.
        assignment: that it is asked to carry out.
        spent: before, in the run.
        limits: of the run where the release is its last one, and no round of the part's settings follows; None takes
            the part's own.

    Raises:
        Refusal: naming the epsilon and what it may be.
    """
    config, privacy = part.config, limits or part.config.privacy
    if not part.cell.is_private:
        return
    noise_multiplier = assignment.event.noise_multiplier
    left = 1
    if limits is None:
        left = rounds_joined(config, part.names, first_round=assignment.round_number)[part.hospital_id]
    for name, most, num_rounds in (
        ("target-epsilon", privacy.target_epsilon, left),
        ("budget-epsilon", privacy.budget_epsilon, 1),
    ):
        if most is None:
            continue
        planned = part.cell.step_event(part.shape, noise_multiplier, assignment.event.num_steps * num_rounds)
        by_rdp = rdp_epsilon([*spent, planned], _own_delta(part))
        # An upper bound of the headline that is small enough is as good.
        epsilon = by_rdp if by_rdp <= most else headline_epsilon([*spent, planned], _own_delta(part))
        if epsilon > most:
            raise Refusal(
                f"noise_multiplier = {noise_multiplier} in round {assignment.round_number} would take this site to "
                f"epsilon {epsilon:.4g}, and {name} = {most:g} ([privacy] {name}): nothing was trained"
            )


def _own_delta(part: Part) -> float:
    """Return the delta that the settings give the site; a refusal where it is too large for its units."""
    delta, num_train = part.config.privacy.target_delta, {part.hospital_id: part.num_train}
    try:
        return part.cell.check_deltas(delta, num_train, len(part.names))[part.hospital_id]
    except ConfigError as error:
        raise Refusal(str(error)) from None
