"""What a run began with: its settings and what its hospitals said of themselves, kept with round 0 in the ledger.

The plan of a run between real sites is made of that for as long as it lasts: cohorts are drawn over the names that
the roster had then, and what a site is charged rests on the size that it stated. What is left out on purpose: whether
settings and data are still the same (see `sameness`).
"""

from collections.abc import Mapping

from wardround.agreed.statistics import STATISTICS_ROUND, scores_round
from wardround.config import Config, config_from_dict, config_to_toml
from wardround.errors import ProtocolError
from wardround.identity import settings_digest
from wardround.parsing import from_toml, sound
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.records import Opening, RoundRecord, read_record_text
from wardround.server.record.run_folder import RunFolder

__all__ = [
    "begun_with",
    "committed_rounds",
    "opening_in",
    "opening_of",
    "plan_in",
    "release_labels",
    "was_between_sites",
]


def opening_of(
    plan: FederationPlan,
    folder: RunFolder,
    absent: Mapping[str, str],
    columns: tuple[str, ...] | None,
    public: str | None,
) -> Opening:
    """Return what the plan is made of, so that the ledger alone says what the run's files must say (see `books`)."""
    return Opening(
        config=config_to_toml(plan.config),
        profiles=tuple(hospital.profile for hospital in plan.hospitals),
        measures={h.name: h.measures for h in plan.hospitals if h.measures is not None},
        num_parameters=plan.num_parameters,
        drawn_from=plan.drawn_from,
        packages=tuple(folder.versions()),
        settings=settings_digest(plan.config),
        fingerprints=plan.fingerprints,
        absent=absent,
        columns=columns,
        public=public,
        moments=plan.moments,
    )


def plan_in(config: Config, opening: Opening) -> FederationPlan:
    """Return the plan that an opening was made of."""
    return plan_federation(
        config,
        opening.profiles,
        opening.num_parameters,
        measures=opening.measures,
        drawn_from=opening.drawn_from,
        moments=opening.moments,
    )


@sound(ProtocolError, "the rounds in the ledger are not as they were committed", "restore it from a backup")
def committed_rounds(ledger: Ledger) -> list[RoundRecord]:
    """Return the records of the committed rounds, round 0 first.

    Raises:
        ProtocolError: a text in the ledger is none.
    """
    return [read_record_text(RoundRecord, text) for _, text in ledger.rounds()]


def begun_with(first: RoundRecord) -> Opening:
    """Return the opening of round 0; another round's record is a ValueError."""
    if first.opening is None:
        raise ValueError("round 0 does not say what the run began with")
    return first.opening


@sound(ProtocolError, "the first round in the ledger is not as it was committed", "restore it from a backup")
def opening_in(ledger: Ledger) -> Opening | None:
    """Return what a run began with; None before its first commit.

    Raises:
        ProtocolError: the ledger's first round does not say.
    """
    rounds = ledger.rounds()
    return begun_with(read_record_text(RoundRecord, rounds[0][1])) if rounds else None


def release_labels(ledger: Ledger) -> dict[int, str]:
    """Return what is charged beside the rounds, by the number that it is charged as."""
    opening = opening_in(ledger)
    labels = {STATISTICS_ROUND: "statistics"}
    if opening is not None:
        config = config_from_dict(from_toml(opening.config))
        labels |= {scores_round(config): "test scores"} if config.evaluation.release == "private" else {}
    return labels


def was_between_sites(folder: RunFolder) -> bool:
    """Return whether the hospitals of a run that was begun are real sites, of which nothing is measured."""
    if not folder.ledger.is_file() or not folder.ledger.stat().st_size:  # empty where a run was killed as it began
        return False
    with open_ledger(folder.ledger, read_only=True) as ledger:
        opening = opening_in(ledger)
    return opening is not None and not opening.measures
