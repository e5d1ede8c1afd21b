"""Every cell over a grid that doesn't sum, as Flower's own: the server sums the replies itself, to the same bits."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message
from flwr.clientapp import ClientApp
from grid_runs import run_over
from made_up import PRIVATE
from small_runs import results_of, small_config

from wardround import wire
from wardround.server.round.cohort_grid import CohortGrid
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.runs import run


class PlainGrid(CohortGrid):
    """Passes on, and hides that the grid behind it could sum."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        wave = list(messages)
        for message in wave:
            config = message.content.get(wire.CONFIG)
            if isinstance(config, ConfigRecord):
                kept = {key: value for key, value in config.items() if not key.startswith("sum-")}
                message.content[wire.CONFIG] = ConfigRecord(kept)
        return list(self._grid.send_and_receive(wave, timeout=timeout))


def over_plain_grid(make_app: Callable[[], ClientApp], nodes: list[Node]) -> PlainGrid:
    return PlainGrid(InlineGrid(make_app, nodes), {node.node_id: f"node-{node.node_id}" for node in nodes})


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_the_server_sums_to_the_same_bits(unit: str, placement: str, adaptive: bool, tmp_path: Path) -> None:
    if adaptive and (unit != "hospital" or placement == "local"):
        return
    gradient = unit == "record" and placement != "local"
    privacy: dict[str, Any] = {"unit": unit, "placement": placement}
    config = small_config(
        training={"num-rounds": 2, "local-steps": None if gradient else 2},
        privacy=privacy | ({"adaptive-clipping": True} if adaptive else {}),
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
    )
    summed = results_of(run(config, out=tmp_path / "summed").folder)
    run_over(tmp_path / "plain", config, over_plain_grid)
    assert results_of(tmp_path / "plain") == summed
