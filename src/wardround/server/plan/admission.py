"""Whether a federation can be planned for at all: who is there, how many, and what they may hold.

What is left out on purpose: clips and deltas, which depend on what a cell releases (see `margins`, `planning`).
"""

from collections.abc import Sequence

from wardround.agreed.cohorts import cohort_sizes, rounds_apart
from wardround.config import Config
from wardround.errors import CohortError, ConfigError
from wardround.privacy.cells import cell_of
from wardround.rounds import HospitalProfile

__all__ = ["check_hospitals"]


def check_hospitals(config: Config, profiles: Sequence[HospitalProfile], drawn_from: Sequence[str]) -> None:
    """Refuse hospitals for which there can be no plan.

    Raises:
        CohortError: there is none, or two share a name.
        ConfigError: they hold more than the settings say, are not in the roster, or are too few for a round.
    """
    if not profiles:
        raise CohortError("no hospital takes part: check [federation] and min-patients")
    names, num_hospitals, cell = {profile.hospital_id for profile in profiles}, len(drawn_from), cell_of(config.privacy)
    if len(names) < len(profiles):
        raise CohortError("two hospitals share a name: start every node with a partition-id of its own")
    held = max(profile.hospitals_per_patient for profile in profiles)
    cell.check_shared_patients(held, config.privacy.patient_overlap)
    largest, most = max(profiles, key=lambda profile: profile.num_train), config.federation.max_records
    if most is not None and largest.num_train > most:
        raise ConfigError(
            f"hospital {largest.hospital_id} has {largest.num_train} training records, and max-records = {most} is "
            "the most that any may have ([federation] max-records): raise it everywhere, or give that one fewer"
        )
    if (size := config.privacy.microbatch_size) > largest.num_train:
        raise ConfigError(
            f"microbatch-size = {size} must be <= {largest.num_train}, the training records of the largest hospital "
            "([privacy] microbatch-size): no group could be full of records"
        )
    if strangers := sorted(names - set(drawn_from)):
        raise ConfigError(f"hospital {strangers[0]} is not in the roster: agree on a new one, or stop its node")
    for refusal in cell.refusals_of_turns(rounds_apart(config, num_hospitals)):
        raise ConfigError(refusal)
    least, _ = cohort_sizes(config, num_hospitals)
    if config.aggregation.min_survivors > least:
        raise ConfigError(
            f"min-survivors = {config.aggregation.min_survivors} must be <= {least}, the hospitals in a round "
            "([aggregation] min-survivors): lower it, or raise fraction-train"
        )
