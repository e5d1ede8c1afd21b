"""A noisy description of a federation's records, as a run of one round: what one asks before anything is trained.

The mean of the records' vectors is released by the cell, noise and protocol of the settings, as a run of its own with a
folder, a ledger and a bill; see `agreed.statistics` for why that is a round. What is left out on purpose: tables for
people (see `reports.data_tables`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wardround.agreed.statistics import averaging_config
from wardround.config import Config, FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.descriptions import ColumnDescription, description_layout, description_rows, read_mean
from wardround.datasets.moments import averaged_federation
from wardround.errors import ProtocolError
from wardround.objects import hand_over
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.server.record.run_folder import open_run_folder
from wardround.simulations.prepared import plan_of, silent
from wardround.simulations.runs import run

__all__ = ["PrivateDescription", "describe_privately"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateDescription:
    """What was told, and at what price.

    Attributes:
        columns: of every feature, then of every class.
        num_records: training records of all hospitals, which are public.
        stddev: of the noise on an estimated count, in records.
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
        WardroundError: the data have no bounds, or what a run raises.
    """
    from wardround.clients.moment_model import moment_model

    features = replace(config.features, standardise="private")
    say(f"reading {config.federation.dataset}")
    federation = load_federation(config.federation, features)
    layout = description_layout(federation)
    averaged = averaged_federation(federation, lambda one: description_rows(one, layout), layout.num_values)
    settings = averaging_config(config, layout.most_norm, config.privacy)
    settings = settings.with_object("model", hand_over(moment_model(layout.num_values), "model"))

    def load(_: FederationConfig, __: FeaturesConfig) -> FederatedData:
        return averaged

    done = run(settings, out=out, load=load, say=say)
    arrays = open_run_folder(done.folder).read_model()
    if arrays is None:
        raise ProtocolError(f"{done.folder} has no model, which a run that came to its end leaves: run it again")
    planned = plan_of(settings, averaged, layout.num_values)
    stddev = own_stddev_on_average(planned)
    num_records = sum(hospital.num_train for hospital in federation.hospitals)
    return PrivateDescription(
        columns=read_mean(arrays["weight"][0], layout, federation, num_records=num_records, stddev=stddev),
        num_records=num_records,
        stddev=stddev * num_records,
        epsilon=max(done.outcome.epsilon.max, done.outcome.epsilon.total),
        target_delta=min(planned.target_deltas.values()),
        unit=config.privacy.unit,
        record_is=planned.record_is,
        placement=config.privacy.placement,
        noise=config.simulation.noise,
        folder=done.folder,
    )
