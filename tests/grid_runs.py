"""Simulated runs over a grid of the test's own, and settings with which hospitals vanish where a test wants them to."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from flower_grid import FlowerGrid, stage_of
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from wardround.clients.app import make_client_app
from wardround.config import Config
from wardround.exact_sums import FixedSum
from wardround.privacy.ledger import open_ledger
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.record.run_folder import create_run_folder, open_run_folder
from wardround.server.round.introductions import connect
from wardround.server.round.loop import federate
from wardround.simulations.engines.flower_internals import APP_RAISED, give_id
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.prepared import prepare
from wardround.strategies import hospital_side_of, strategy_of


class LineGrid(InlineGrid):
    """The inline engine with a line that a test may listen to, change or cut."""

    def is_cut(self, message: Message) -> bool:
        """Whether the message is lost, and comes back as an error."""
        return False

    def sent(self, message: Message) -> None:
        """Look at a message, or change it in place."""

    def came(self, replies: list[Message], total: FixedSum) -> None:
        """Look at the replies of a wave and their sum, or change them in place."""

    def send_and_sum(self, messages: Any, *, timeout: float | None = None) -> tuple[list[Message], FixedSum]:
        wave = list(messages)
        cut = [message for message in wave if self.is_cut(message)]
        present = [message for message in wave if message not in cut]
        for message in present:
            self.sent(message)
        replies, total = super().send_and_sum(present, timeout=timeout)
        for message in cut:
            give_id(message, f"lost-{id(message)}")
            replies.append(Message(Error(code=APP_RAISED, reason="ConnectionError: gone"), reply_to=message))
        self.came(replies, total)
        return replies, total


class HeardGrid(FlowerGrid):
    """Sums nothing, and keeps what each hospital is sent to train and what it answers."""

    def __init__(self, heard: list[tuple[Message, Message]], make_app: Any, nodes: list[Node]) -> None:
        contexts = {node.node_id: Context(1, node.node_id, dict(node.node_config), RecordDict(), {}) for node in nodes}
        super().__init__(make_app(), contexts)
        self._heard = heard

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = []
        for message in messages:
            self.number(message)
            replies.append(self.reply_to(message))
            if stage_of(message) == "train":
                self._heard.append((message, replies[-1]))
        return replies


def run_over(
    path: Path, config: Config, make_grid: Callable[[Callable[[], ClientApp], list[Node]], Grid]
) -> dict[str, Any]:
    """Return the summary of a simulated run over a grid, begun or taken up again in its folder.

    Args:
        path: of the run.
        config: of a run that begins; of one that is taken up again it must be the one it began with.
        make_grid: makes the grid of the app and the nodes.
    """
    prepared = prepare(config, strategy_of(config))
    config = prepared.config
    nodes = [Node(node_id=n + 1, node_config={"partition-id": n}) for n in range(len(prepared.federation.hospitals))]
    side = hospital_side_of(prepared.strategy)
    folder = open_run_folder(path) if path.exists() else create_run_folder(path, config)
    return federate(
        config,
        connect(make_grid(partial(make_client_app, config, prepared.federation, side), nodes)),
        folder,
        prepared.initial,
        strategy=prepared.strategy,
        facts=prepared.facts,
        planned=prepared.plan,
    )


def line(kind: type[LineGrid], *given: Any) -> Callable[[Callable[[], ClientApp], list[Node]], Grid]:
    """Return what makes such a grid; `given` becomes its attribute of that name."""

    def make(make_app: Callable[[], ClientApp], nodes: list[Node]) -> LineGrid:
        grid = kind(make_app, nodes)
        grid.given = given
        return grid

    return make


def losing(config: Config, gone: Mapping[int, Mapping[str, str]]) -> Config:
    """Return the settings with a seed and a dropout rate by which these hospitals vanish, and no others.

    Args:
        config: with natural names of hospitals, all of which are in every round.
        gone: the stage at which each vanishes, by name, by round.
    """
    names = [f"hospital-{index + 1:02d}" for index in range(int(config.federation.num_hospitals or 0))]
    rounds = range(1, config.training.num_rounds + 1)
    num_gone = sum(map(len, gone.values()))
    if not num_gone:
        return replace(config, simulation=replace(config.simulation, dropout_rate=0.0))
    rate = num_gone / (len(names) * len(rounds))
    simulation = replace(config.simulation, dropout_rate=rate)
    for seed in count():
        tried = replace(config, simulation=simulation, federation=replace(config.federation, seed=seed))
        if all(draw_dropouts(tried, list(of), number) == of for number, of in gone.items()) and all(
            draw_dropouts(tried, names, number) == gone.get(number, {}) for number in rounds
        ):
            return tried
    raise AssertionError("unreachable")


def charged_by_now(path: Path) -> list[tuple[int, str]]:
    """Return round and state of every entry of a ledger that may be in use."""
    with open_ledger(path / "ledger.sqlite", read_only=True) as ledger:
        frame = ledger.to_frame()
    return list(zip(frame["round_number"].tolist(), frame["state"].tolist(), strict=True))
