"""Several federations on the workers of one grid: a worker imports torch anew, which is most of a small run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wardround.clients.app import make_client_app
from wardround.config import Config, SimulationConfig
from wardround.simulations.engines.grid import SimulatedGrid
from wardround.simulations.engines.nodes import Node, Outcome
from wardround.simulations.engines.opening import ENGINES
from wardround.simulations.engines.shares import share_out
from wardround.simulations.prepared import prepare
from wardround.strategies import hospital_side_of, strategy_of


@dataclass(frozen=True)
class Apps:
    """Makes what answers for every federation with an app of its own, made when its hospitals are first asked."""

    by_name: Mapping[str, Callable[[], ClientApp]]

    def __call__(self) -> Any:
        made: dict[str, ClientApp] = {}

        def answer(message: Message, context: Context) -> Message:
            name = str(context.node_config["federation"])
            if name not in made:
                made[name] = self.by_name[name]()
            return made[name](message, context)

        return answer


class Part(SimulatedGrid):
    """The nodes of one federation, on workers that serve others too."""

    def __init__(self, whole: SimulatedGrid, nodes: Sequence[Node]) -> None:
        super().__init__(nodes)
        self._whole = whole

    def run_wave(self, messages: Sequence[Message], deadline: float | None) -> Outcome:
        return self._whole.run_wave(messages, deadline)


@dataclass(frozen=True)
class ManyFederations:
    """An open grid, and the nodes of each federation in it."""

    grid: SimulatedGrid
    nodes: Mapping[str, list[Node]]

    def part(self, name: str) -> Part:
        """Return the grid of one federation."""
        return Part(self.grid, self.nodes[name])


def open_together(engine: str, num_workers: int, configs: Mapping[str, Config]) -> ManyFederations:
    """Open one grid for all federations, the hospitals of each on all workers; the caller closes it."""
    makers: dict[str, Callable[[], ClientApp]] = {}
    nodes: dict[str, list[Node]] = {}
    for name, config in configs.items():
        prepared = prepare(config, strategy_of(config))
        side = hospital_side_of(prepared.strategy)
        makers[name] = partial(make_client_app, prepared.config, prepared.federation, side)
        first = 1 + sum(map(len, nodes.values()))
        nodes[name] = [
            Node(node_id=first + index, node_config={"partition-id": index, "federation": name})
            for index in range(len(prepared.federation.hospitals))
        ]
    everyone = [node for each in nodes.values() for node in each]
    for share in share_out(everyone, num_workers):
        assert {node.node_config["federation"] for node in share} == set(configs)
    settings = SimulationConfig(engine=engine, num_workers=num_workers)
    return ManyFederations(grid=ENGINES[engine].open(Apps(makers), everyone, settings), nodes=nodes)
