"""Run a federation from its settings, or resume one: load the data, open an engine, let the server work.

What is left out on purpose: the report page (see `reports`) and anything printed (see `cli`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.serverapp import Grid

from wardround.clients.app import make_client_app
from wardround.config import Config
from wardround.datasets import Federation, load_federation
from wardround.errors import ConfigError
from wardround.json_records import json_values
from wardround.privacy.ledger import open_ledger
from wardround.server.record.beginnings import was_between_sites
from wardround.server.record.records import RunFacts
from wardround.server.record.run_folder import RunFolder, create_run_folder, default_run_path, open_run_folder
from wardround.server.record.summaries import Summary
from wardround.server.round.loop import RoundRow, federate, strategy_of
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.ray_grid import RayGrid
from wardround.simulations.engines.start import EarlyStart
from wardround.simulations.first_model import first_model, num_workers_of
from wardround.simulations.forecast import plan_of

if TYPE_CHECKING:
    import pandas

__all__ = ["Run", "open_grid", "resume", "run"]


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A finished, stopped or interrupted run, as its folder has it.

    Attributes:
        folder: of the run.
        outcome: what the run came to, as records.
    """

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
        import pandas

        return pandas.read_csv(self.folder / "rounds.csv")

    @property
    def hospitals(self) -> "pandas.DataFrame":
        """hospitals.csv: one row a round and hospital."""
        import pandas

        return pandas.read_csv(self.folder / "hospitals.csv", dtype={"hospital": str})

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
) -> Run:
    """Run a federation from round 0 and return it.

    Args:
        config: all settings.
        out: a new or empty folder; None makes runs/<name>-<time>.
        progress: called after every committed round.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        WardroundError: see `errors`; a run that was under way stays resumable.
    """
    # Everything that can be refused is refused before there is a folder.
    strategy_of(config)
    say = say or _silent
    with _early_start(config) as early:
        say(f"reading {config.federation.dataset}")
        federation = load_federation(config.federation)
        config = replace(config, federation=replace(config.federation, partition=federation.partition))
        say(f"building and checking the model {config.model.name}")
        arrays, facts = first_model(config, federation)
        plan_of(config, federation, sum(array.size for array in arrays.values()))
        folder = create_run_folder(Path(out) if out is not None else default_run_path(config), config)
        return _federate(config, federation, folder, arrays, facts, progress, say, early=early)


def resume(
    path: Path | str,
    *,
    progress: Callable[[RoundRow], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Go on with an interrupted run after its last committed round; a finished one is returned as it is.

    Raises:
        ConfigError: there is no run in the folder, or it is one between real sites.
        ProtocolError: the ledger or the checkpoint was changed.
    """
    folder = open_run_folder(Path(path))
    if was_between_sites(folder):
        raise ConfigError(
            f"{folder.path} is a run between real sites, and here is none of them: start the server app again with the "
            "same config, roster and out (flwr run)"
        )
    config = folder.config()
    say = say or _silent
    say(f"reading {config.federation.dataset}")
    federation = load_federation(config.federation)
    arrays, facts = first_model(config, federation)
    # A finished run only has its files written anew: no reason to start Ray.
    is_finished = _is_finished(folder, config)
    engine = "inline" if is_finished else config.simulation.engine
    begins = "writing the files of the finished run anew" if is_finished else "going on after the last committed round"
    return _federate(config, federation, folder, arrays, facts, progress, say, begins=begins, engine=engine)


@contextmanager
def open_grid(config: Config, federation: Federation, early: EarlyStart | None = None) -> Iterator[Grid]:
    """Open the engine of [simulation] with one node per hospital, and close it afterwards.

    Args:
        config: all settings.
        federation: the hospitals.
        early: a Ray that is starting already, if there is one.
    """
    nodes = [
        Node(
            node_id=index + 1,
            node_config={"partition-id": index, "num-partitions": len(federation.hospitals)},
            load=float(len(hospital.train_labels)),
        )
        for index, hospital in enumerate(federation.hospitals)
    ]
    make_app = partial(make_client_app, config, federation)
    if config.simulation.engine == "inline":
        yield InlineGrid(make_app, nodes, {})
    else:
        with RayGrid(
            make_app,
            nodes,
            {},
            num_workers=num_workers_of(config, len(nodes)),
            gpus_per_worker=config.simulation.gpus_per_worker,
            early=early,
        ) as grid:
            yield grid


def _early_start(config: Config) -> AbstractContextManager[EarlyStart | None]:
    """Start Ray in the background while the data is loaded; it takes some seconds, most of them waiting."""
    if config.simulation.engine != "ray":
        return nullcontext()
    return EarlyStart(config.simulation.num_workers or os.cpu_count() or 1)


def _federate(
    config: Config,
    federation: Federation,
    folder: RunFolder,
    arrays: dict[str, Any],
    facts: RunFacts,
    progress: Callable[[RoundRow], None] | None,
    say: Callable[[str], None],
    *,
    begins: str = "testing the model before round 1",
    engine: str | None = None,
    early: EarlyStart | None = None,
) -> Run:
    simulation = replace(config.simulation, engine=engine or config.simulation.engine)
    say(f"starting {len(federation.hospitals)} hospitals on the engine {simulation.engine}")
    with open_grid(replace(config, simulation=simulation), federation, early) as grid:
        say(begins)
        outcome = federate(config, grid, folder, arrays, facts=facts, progress=progress)
    return Run(folder.path, outcome)


def _silent(_: str) -> None:
    """Say nothing."""


def _is_finished(folder: RunFolder, config: Config) -> bool:
    with open_ledger(folder.ledger) as ledger:
        return any(number >= config.training.num_rounds for number, _ in ledger.rounds())
