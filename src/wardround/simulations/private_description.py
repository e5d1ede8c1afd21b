"""A noisy description of a federation's records, as a run of one round: what one asks before anything is trained.

It is the mean of the records' vectors, released by the cell, noise and protocol of the settings (see `released_means`).
What is left out on purpose: tables for people (see `reports.data_tables`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wardround.config import Config
from wardround.datasets import load_federation
from wardround.datasets.descriptions import ColumnDescription, description_layout, description_rows, read_mean
from wardround.datasets.moments import averaged_federation
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.simulations.prepared import silent
from wardround.simulations.released_means import mean_config, release_mean

__all__ = ["PrivateDescription", "describe_privately"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateDescription:
    """What was told, and at what price.

    Attributes:
        columns: of every feature, then of every class.
        num_records: training records of all hospitals, which are public.
        stddev: of the noise on an estimated count, in records, with the hospitals that answered.
        epsilon: that the release cost a patient in as many hospitals as [privacy] patient-overlap says, or the hospital
            that pays most; inf without privacy.
        target_delta: at which.
        unit: what is protected, "record" or "hospital".
        record_is: what a record is, "patient" where that is known at every hospital, else "row".
        placement: where the noise was added.
        noise: "seeded" or "system": where it came from.
        folder: of the run, with its ledger.
    """

    columns: tuple[ColumnDescription, ...]
    num_records: int
    stddev: float
    epsilon: float
    target_delta: float
    unit: str
    record_is: str
    placement: str
    noise: str
    folder: Path


def describe_privately(
    config: Config, *, out: Path | None = None, say: Callable[[str], None] = silent
) -> PrivateDescription:
    """Release and return a description of a federation's training records.

    Args:
        config: which data, with bounds of every number, and [privacy], [aggregation] and [simulation]; of the other
            sections nothing is used.
        out: a new or empty folder; None is one in runs/.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        WardroundError: the data have no bounds, or what `release_mean` raises.
    """
    features = replace(config.features, standardise="private")
    say(f"reading {config.federation.dataset}")
    federation = load_federation(config.federation, features)
    layout = description_layout(federation)
    averaged = averaged_federation(federation, lambda one: description_rows(one, layout), layout.num_values)
    settings = mean_config(config, config.privacy, most_norm=layout.most_norm, num_values=layout.num_values)
    released = release_mean(settings, averaged, out, say=say)
    planned, outcome = released.plan, released.run.outcome
    stddev = own_stddev_on_average(planned, released.answered)
    num_records = sum(hospital.num_train for hospital in federation.hospitals)
    return PrivateDescription(
        columns=read_mean(released.values, layout, federation, num_records=num_records, stddev=stddev),
        num_records=num_records,
        stddev=stddev * num_records,
        epsilon=max(outcome.epsilon.max, outcome.epsilon.total),
        target_delta=min(planned.target_deltas.values()),
        unit=config.privacy.unit,
        record_is=planned.record_is,
        placement=config.privacy.placement,
        noise=config.simulation.noise,
        folder=released.run.folder,
    )
