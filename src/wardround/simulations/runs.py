"""Run a federation from its settings, or resume one: load the data, open an engine, let the server work.

What is left out on purpose: the report page (see `reports`) and anything printed (see `cli`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.clients.app import make_client_app
from wardround.clients.initial_models import built_model
from wardround.collector import passing_by_what_is_there
from wardround.config import NAMED_BY, Config, FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, load_federation
from wardround.disk import sync_whole
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.identity import as_this_process_has_it
from wardround.json_records import json_values
from wardround.models import load_parameters
from wardround.models.standardised import Standardised
from wardround.objects import PYTHON
from wardround.privacy.ledger import open_ledger
from wardround.server.plan.best import stops_early
from wardround.server.record.beginnings import committed_rounds, opening_in, was_between_sites
from wardround.server.record.keeping import best_of
from wardround.server.record.run_folder import (
    RunFolder,
    check_new_folder,
    create_run_folder,
    default_run_path,
    open_run_folder,
    writing,
)
from wardround.server.record.summaries import Summary
from wardround.server.record.tables import read_table
from wardround.server.round.evaluating import Metric
from wardround.server.round.introductions import connect
from wardround.server.round.loop import federate
from wardround.server.round.progress import RoundRow
from wardround.simulations.engines.choosing import named_engine
from wardround.simulations.engines.grid import SimulatedGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.opening import ENGINES
from wardround.simulations.prepared import Prepared, prepare, silent
from wardround.simulations.scoring import scoring_of
from wardround.strategies import HospitalSide, hospital_side_of, strategy_of

if TYPE_CHECKING:
    import pandas
    from flwr.serverapp.strategy import Strategy
    from torch import nn

    from wardround.clients.training import LocalTrainer

__all__ = ["Run", "open_grid", "resume", "run", "trained_module"]


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A finished, stopped or interrupted run: its folder, and what it came to as records."""

    folder: Path
    outcome: Summary

    def __repr__(self) -> str:
        """Return one line: where it is, how it ended and what it spent."""
        ended = f"{self.outcome.status} after round {self.outcome.num_rounds}"
        return f"Run({str(self.folder)!r}, {ended}, epsilon {self.outcome.epsilon.total:.4g})"

    @property
    def summary(self) -> dict[str, Any]:
        """The outcome under the keys of summary.json; infinite and undefined numbers are floats."""
        return json_values(self.outcome)

    @property
    def rounds(self) -> "pandas.DataFrame":
        """rounds.csv: one row a round, from round 0, before training."""
        return read_table(self.folder / "rounds.csv")

    @property
    def hospitals(self) -> "pandas.DataFrame":
        """hospitals.csv: one row a round and hospital."""
        return read_table(self.folder / "hospitals.csv")

    @property
    def ledger(self) -> "pandas.DataFrame":
        """Every entry of the ledger, in order."""
        with open_ledger(self.folder / "ledger.sqlite", read_only=True) as ledger:
            return ledger.to_frame()


def run(
    config: Config,
    *,
    out: Path | str | None = None,
    progress: Callable[[RoundRow], None] | None = None,
    say: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    public: tuple[Any, Any] | None = None,
    load: Callable[[FederationConfig, FeaturesConfig], FederatedData] = load_federation,
    strategy: "Strategy | None" = None,
    is_synced: bool = True,
) -> Run:
    """Run a federation from round 0 and return it; what may be given is told in `door.run`.

    Metrics are functions of predictions and labels by the name of their column (see `scores.Predictions`); public
    records are (features, labels) as the model takes them, in the place of [evaluation] public. `load` reads the
    hospitals, and the strategy stands in the place of the one that the settings name. Not synced, the folder is made
    durable as a whole when the run ends, and not after each charge: for a run of which nobody sees anything before.

    Raises:
        WardroundError: see `errors`; a run that was under way stays resumable.
    """
    say = say or silent
    if out is not None:
        check_new_folder(Path(out), "resume that run")
    config = as_this_process_has_it(config)
    named_strategy = strategy_of(config)  # it is checked whoever serves
    strategy = named_strategy if strategy is None else strategy
    # Ray takes some seconds to start, most of them waiting: meanwhile the data is loaded.
    named = named_engine(config)
    with ENGINES[named.engine].start_early(config.simulation) if named else nullcontext(), passing_by_what_is_there():
        # Everything that can be refused is refused before there is a folder.
        prepared = prepare(config, strategy, say, metrics=metrics, public=public, load=load)
        path = Path(out) if out is not None else default_run_path(config)
        folder = create_run_folder(path, prepared.config, is_synced=is_synced)
        return _federate(prepared, folder, progress, say)


def resume(
    path: Path | str,
    *,
    config: Config | None = None,
    progress: Callable[[RoundRow], None] | None = None,
    say: Callable[[str], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    public: tuple[Any, Any] | None = None,
    load: Callable[[FederationConfig, FeaturesConfig], FederatedData] = load_federation,
    is_synced: bool = True,
) -> Run:
    """Go on with an interrupted run after its last committed round; a finished one is returned as it is.

    Args:
        path: the run's folder.
        config: its settings with the objects that they name, where there are any; None reads them from the folder.
        progress: called after every committed round.
        say: called with a few words whenever something that takes a while begins.
        metrics: of a run that began with some, the same again, by the same names.
        public: of a run that began with public records from Python, the same again.
        load: reads the hospitals.
        is_synced: as in `run`.

    Raises:
        ConfigError: there is no run in the folder, or it is one between real sites.
        ProtocolError: the ledger or the checkpoint was changed.
    """
    folder = replace(open_run_folder(Path(path)), is_synced=is_synced)
    if was_between_sites(folder):
        raise ConfigError(
            f"{folder.path} is a run between real sites, and here is none of them: start the server app again with the "
            "same config, roster and out (flwr run)"
        )
    config = config or folder.config()
    _check_complete(config, folder)
    config = as_this_process_has_it(config)
    say = say or silent
    prepared = prepare(config, strategy_of(config), say, is_begun=True, metrics=metrics, public=public, load=load)
    with open_ledger(folder.ledger, is_synced=is_synced) as ledger:
        records = committed_rounds(ledger)
    if len(records) > config.training.num_rounds or stops_early(config, best_of(config, records)):
        # Only its files are written anew: no reason to start Ray.
        begins, engine = "writing the files of the finished run anew", "inline"
    else:
        begins, engine = "going on after the last committed round", None
    return _federate(prepared, folder, progress, say, begins=begins, engine=engine)


def trained_module(
    folder: RunFolder, config: Config, own: Callable[[Sequence[str]], Arrays] | None = None
) -> "nn.Module":
    """Return the model that a run ended with, in evaluation mode, on the CPU.

    It takes features as the data set's notes say that they are normalised; where their statistics were released before
    round 1, in their own unit, with nan for what is missing.

    Args:
        folder: of the run.
        config: its settings, with the objects that they name.
        own: returns parameters of one hospital in the place of the shared ones, given the names of all.

    Raises:
        ConfigError: there is no model yet.
        ProtocolError: model.safetensors is missing or can't be read.
    """
    with open_ledger(folder.ledger, read_only=True) as ledger:
        opening = opening_in(ledger)
    arrays, _ = folder.read_model()
    if opening is None or arrays is None:
        raise ConfigError(f"{folder.path} has no model yet: wardround.resume goes on with the run")
    profile = opening.profiles[0]
    module, _ = built_model(config, profile.input_shape, profile.num_outputs)
    names = [each.hospital_id for each in opening.profiles]
    load_parameters(module, arrays | (own(names) if own is not None else {}))
    if (units := opening.own_units) is not None:
        module = Standardised(module, units.centre, units.scale, numbers=units.numbers, low=units.low, high=units.high)
    return module.eval()


def open_grid(
    config: Config,
    federation: FederatedData,
    engine: str | None = None,
    side: HospitalSide | None = None,
    trainer: "LocalTrainer | None" = None,
    *,
    first_round: int = 1,
) -> SimulatedGrid:
    """Return an engine, None for that of [simulation], with one node per hospital; use it as a context manager.

    `side` is what the strategy does at hospitals; the trainer serves those that are in this process, where there is one
    that was built of these settings. Rounds are numbered from `first_round`.
    """
    nodes = [
        Node(
            node_id=index + 1,
            node_config={"partition-id": index, "num-partitions": len(federation.hospitals)},
            load=float(len(hospital.train_labels)),
        )
        for index, hospital in enumerate(federation.hospitals)
    ]
    # The rows themselves are in the federation: settings that hold them too would send them twice.
    settings = replace(config, federation=replace(config.federation, handed=None))
    opened = ENGINES[engine or config.simulation.engine]
    make_app = partial(make_client_app, settings, federation, side, trainer if opened.is_here else None, first_round)
    return opened.open(make_app, nodes, config.simulation)


def _check_complete(config: Config, folder: RunFolder) -> None:
    for section, key in NAMED_BY.items():
        own, argument = getattr(config, section), "strategy" if section == "aggregation" else section
        name = str(getattr(own, key))
        is_lost = name.partition(":")[0] == PYTHON or (name == "csv" and own.path is None)
        if own.handed is None and is_lost:
            raise ConfigError(
                f"the {argument} of {folder.path} came from Python ([{section}] {key} = {name!r}): give it again, as "
                f"in wardround.resume({str(folder.path)!r}, {argument}=...)"
            )


def _federate(
    prepared: Prepared,
    folder: RunFolder,
    progress: Callable[[RoundRow], None] | None,
    say: Callable[[str], None],
    *,
    begins: str = "testing the model before round 1",
    engine: str | None = None,
) -> Run:
    config, federation = prepared.config, prepared.federation
    engine = engine or config.simulation.engine
    say(f"starting {len(federation.hospitals)} hospitals on the engine {engine}")
    side = hospital_side_of(prepared.strategy)
    with open_grid(config, federation, engine, side, prepared.trainer) as grid, passing_by_what_is_there():
        say(begins)
        outcome = federate(
            config,
            connect(grid),
            folder,
            prepared.initial,
            strategy=prepared.strategy,
            facts=prepared.facts,
            planned=prepared.plan,
            progress=progress,
            measuring=prepared.measuring,
            scoring=scoring_of(config, federation, prepared.trainer, open_grid),
        )
    if not folder.is_synced:
        with writing(folder.path, f"go on with: wardround resume {folder.path}"):
            sync_whole(folder.path)
    return Run(folder.path, outcome)
