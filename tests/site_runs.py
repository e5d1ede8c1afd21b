"""Runs of the server's loop between hospitals that answer as real sites do, in one process."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from small_runs import small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.initial_models import build_initial_model
from wardround.config import Config
from wardround.datasets import FederatedData, load_federation
from wardround.json_records import json_values
from wardround.privacy.ledger import open_ledger
from wardround.rounds import Execution
from wardround.secagg import simulated_roster
from wardround.server.record.run_folder import RunFolder, create_run_folder, open_run_folder
from wardround.server.round.introductions import connect, connect_sites
from wardround.server.round.loop import federate
from wardround.server.round.measuring import measuring_of
from wardround.server.round.progress import RoundRow
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.strategies import strategy_of

NAMES = ("hospital-01", "hospital-02", "hospital-03", "hospital-04")


def config_between_sites(**sections: dict[str, Any]) -> Config:
    """Return settings of a small federation of four sites."""
    whole: dict[str, dict[str, Any]] = {
        "federation": {"num-hospitals": 4},
        "training": {"num-rounds": 2},
        "privacy": {"target-delta": 1e-4},
        "aggregation": {"protocol": "secagg+", "min-survivors": 3},
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def answering_as_sites(
    config: Config, federation: FederatedData, asked: list[str], sent: set[str], grown: Collection[str]
) -> Callable[[], ClientApp]:
    """Return what makes an app whose replies hold what a real site's hold.

    Args:
        config: all settings.
        federation: the hospitals.
        asked: gets the type of every message that arrives.
        sent: gets the key of every value that is sent.
        grown: hospitals that say they have one record more.
    """
    simulated = make_client_app(config, federation)

    def answer(message: Message, context: Context) -> Message:
        asked.append(message.metadata.message_type)
        reply = simulated(message, context)
        if message.metadata.message_type == "query.profile":
            profile = wire.read_profile(reply)
            num_train = profile.num_train + int(profile.hospital_id in grown)
            reply = wire.profile_reply(replace(profile, num_train=num_train), message)
        elif wire.METRICS in reply.content:
            execution = wire.read_metrics(Execution, reply, wire.assignment_of(message).hospital_id)
            reply = wire.execution_reply(execution, wire.arrays_in(reply), message)
        for record in reply.content.values():
            sent.update(record)
        return reply

    app = ClientApp()
    app.query("profile")(answer)
    app.train()(answer)
    app.evaluate()(answer)
    for stage in ("advertise", "share", "mask", "confirm", "unmask"):
        app.train(stage)(answer)
    return lambda: app


def run_between_sites(
    path: Path,
    config: Config | None = None,
    *,
    absent: Collection[str] = (),
    grown: Collection[str] = (),
    num_rounds: int | None = None,
    asked: list[str] | None = None,
    sent: set[str] | None = None,
    progress: Callable[[RoundRow], None] | None = None,
    is_telling: bool = False,
    make_grid: Callable[[Callable[[], ClientApp], list[Node]], Grid] | None = None,
    timeout_seconds: float | None = None,
    has_roster: bool = True,
    agreed: Mapping[str, int] | None = None,
    names: Sequence[str] = NAMES,
    public: tuple[Any, Any] | None = None,
) -> dict[str, Any]:
    """Return the summary of a run between four sites, begun or taken up again in its folder.

    Args:
        path: of the run.
        config: see `config_between_sites`; for a run that is taken up again it must be the one it began with.
        absent: sites whose nodes are not there.
        grown: see `answering_as_sites`.
        num_rounds: rounds after which the run is interrupted, as by Ctrl-C; None goes to the end.
        asked: see `answering_as_sites`.
        sent: see `answering_as_sites`.
        progress: called after every committed round.
        is_telling: whether the sites send all that simulated hospitals send, unasked.
        timeout_seconds: that replies are waited for.
        make_grid: makes the grid of the app and the nodes; None takes the inline engine.
        has_roster: whether the server has one; without, it takes the sites for simulated hospitals.
        agreed: numbers of the roster that are not those of the settings.
        names: in the roster.
        public: public records of the server's.
    """
    config = config or config_between_sites()
    federation = load_federation(config.federation)
    nodes = [
        Node(node_id=index + 1, node_config={"partition-id": index})
        for index, name in enumerate(NAMES)
        if name not in absent
    ]
    make_app = answering_as_sites(
        config, federation, [] if asked is None else asked, set() if sent is None else sent, grown
    )
    if is_telling:
        make_app = partial(make_client_app, config, federation)
    grid: Grid = InlineGrid(make_app, nodes) if make_grid is None else make_grid(make_app, nodes)
    numbers = {name: getattr(config.aggregation, name) for name in ("min_survivors", "max_colluding")}
    roster = simulated_roster(config.federation.seed, names, **(numbers | dict(agreed or {})))
    link = connect_sites(grid, config, roster, timeout_seconds) if has_roster else connect(grid)
    model = build_initial_model(config, link.profiles[0])
    folder = open_run_folder(path) if path.exists() else create_run_folder(path, config)

    def watch(row: RoundRow) -> None:
        if progress is not None:
            progress(row)
        if row.round_number == num_rounds:
            raise KeyboardInterrupt

    outcome = federate(
        config,
        link,
        folder,
        model.arrays,
        strategy=strategy_of(config),
        facts=replace(model.facts, engine="flower"),
        progress=watch,
        measuring=measuring_of(config, link.profiles[0], public=public),
    )
    return json_values(outcome)


def fingerprints_in(folder: Path) -> set[str]:
    """Return what the ledger of a run says of its hospitals' data."""
    with open_ledger(RunFolder(folder).ledger, read_only=True) as ledger:
        return set(ledger.to_frame()["fingerprint"])
