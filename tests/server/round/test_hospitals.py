"""Training and evaluating by name over a grid: fewer answers, wrong answers, nodes that are not who they should be."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flower_grid import stage_of
from flwr.app import Message, MetricRecord
from grid_runs import HeardGrid, LineGrid, line, losing, run_over
from safetensors.numpy import load_file
from small_runs import charges_of, rows_of, small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.datasets import load_federation
from wardround.errors import CohortError, ProtocolError, WardroundError
from wardround.privacy.sampling import PoissonSampler
from wardround.server.plan.dropouts import draw_dropouts
from wardround.server.record.verify import verify_run
from wardround.server.round.introductions import connect
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.runs import open_grid, run


def test_dropouts_are_charged_but_not_completed(tmp_path: Path) -> None:
    config = small_config(simulation={"dropout-rate": 0.4}, training={"num-rounds": 6})
    folder = run(config, out=tmp_path / "run").folder
    names = [f"hospital-0{index}" for index in (1, 2, 3)]
    silent = {(number, name) for number in range(1, 7) for name in draw_dropouts(config, names, number)}
    assert 0 < len(silent) < 18
    assert len(charges_of(folder, "planned")) == 18
    released = set(charges_of(folder, "released"))
    assert silent.isdisjoint(released)
    assert len(silent) + len(released) == 18
    for row in rows_of(folder / "rounds.csv")[1:]:
        number = int(row["round"])
        assert int(row["num_selected"]) == 3
        assert int(row["num_completed"]) == sum(round_number == number for round_number, _ in released)
    for row in rows_of(folder / "hospitals.csv"):
        key = (int(row["round"]), row["hospital"])
        assert row["completed"] == str(int(key in released))
        assert row["selected"] == str(int(row["round"] != "0"))
    # All three paid the same: who fell silent may have released before it did.
    last = [row["epsilon"] for row in rows_of(folder / "hospitals.csv")[-3:]]
    assert len(set(last)) == 1
    assert verify_run(folder)[0] == []


def test_too_few_survivors_leave_the_model_as_it_was(tmp_path: Path) -> None:
    config = small_config(
        simulation={"dropout-rate": 0.1},
        training={"num-rounds": 6},
        aggregation={"min-survivors": 3, "strategy": "fedadam", "eta": 0.1},
    )
    folder = run(config, out=tmp_path / "run").folder
    rounds = rows_of(folder / "rounds.csv")
    counts = [int(row["num_completed"]) for row in rounds[1:]]
    assert set(counts) == {0, 3}
    for before, after in pairwise(rounds):
        assert (before["loss"] == after["loss"]) == (after["num_completed"] == "0")
        assert float(after["epsilon_max"]) > float(before["epsilon_max"])


def test_one_survivor_is_the_model(tmp_path: Path) -> None:
    config = losing(
        small_config(training={"num-rounds": 1}), {1: {"hospital-01": "advertise", "hospital-03": "advertise"}}
    )
    heard: list[tuple[Message, Message]] = []
    run_over(tmp_path / "run", config, partial(HeardGrid, heard))
    ((_, reply),) = heard
    only = wire.arrays_in(reply)
    model = load_file(tmp_path / "run" / "model.safetensors")
    # The weight of the one that is left is divided out again; the sum's grid is 2**-40.
    assert all(abs(model[key] - only[key]).max() < 1e-6 for key in only)


class Shrunk(LineGrid):
    """A node is no longer there when it is to train."""

    def sent(self, message: Message) -> None:
        if stage_of(message) == "train":
            raise CohortError("node 2 does not exist")


@pytest.mark.parametrize("strategy", ["fedavg", "own_strategies:counting"])
def test_a_grid_that_lost_a_node_ends_the_run(strategy: str, tmp_path: Path) -> None:
    config = small_config(training={"num-rounds": 1}, aggregation={"strategy": strategy})
    with pytest.raises(CohortError, match="node 2 does not exist"):
        run_over(tmp_path / "run", config, line(Shrunk))
    assert charges_of(tmp_path / "run", "released") == []


class Lying(LineGrid):
    """Tells something else of what a hospital executed."""

    def came(self, replies: list[Message], total: dict[str, Any]) -> None:
        for reply in replies:
            if reply.metadata.message_type == "train":
                reply.content[wire.METRICS] = MetricRecord({**reply.content[wire.METRICS], **self.given[0]})


@pytest.mark.parametrize("what", ["one step fewer", "another rate", "no noise", "less noise"])
def test_an_execution_that_was_not_paid_for_is_refused(what: str, tmp_path: Path) -> None:
    changes = {
        "one step fewer": {"num-steps": 1},
        "another rate": {"sample-rate": 0.2},
        "no noise": {"num-noise-draws": 0},
        "less noise": {"noise-multiplier": 0.5},
    }
    field = next(iter(changes[what])).replace("-", "_")
    with pytest.raises(ProtocolError, match=rf"hospital-01 executed {field} = .* its update is refused"):
        run_over(tmp_path / "run", small_config(training={"num-rounds": 1}), line(Lying, changes[what]))
    assert charges_of(tmp_path / "run", "released") == []
    assert len(charges_of(tmp_path / "run", "planned")) == 3


def test_a_hospital_that_samples_at_another_rate_refuses_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PoissonSampler.__init__

    def greedy(self: Any, num_records: int, sample_rate: float, generator: Any) -> None:
        real(self, num_records, 2 * sample_rate, generator)

    monkeypatch.setattr(PoissonSampler, "__init__", greedy)
    with pytest.raises(WardroundError, match=r"hospital hospital-01 failed: ProtocolError: .*sample_rate = 0\.2"):
        run(small_config(training={"num-rounds": 1}), out=tmp_path / "run")


def _grid(nodes: list[Node]) -> InlineGrid:
    config = small_config()
    return InlineGrid(lambda: make_client_app(config, load_federation(config.federation)), nodes)


def test_everybody_is_known_by_name() -> None:
    config = small_config()
    with open_grid(config, load_federation(config.federation)) as grid:
        link = connect(grid)
    assert link.node_of == {"hospital-01": 1, "hospital-02": 2, "hospital-03": 3}
    assert [profile.hospital_id for profile in link.profiles] == list(link.node_of)
    assert list(link.measures) == list(link.node_of)
    assert all(math.isfinite(measures.majority_score) for measures in link.measures.values())


def test_two_nodes_of_one_hospital_are_refused() -> None:
    nodes = [Node(node_id=1, node_config={"partition-id": 0}), Node(node_id=2, node_config={"partition-id": 0})]
    with pytest.raises(CohortError, match=r"two nodes are hospital hospital-01: give each its own partition-id"):
        connect(_grid(nodes))


def test_one_node_id_twice_is_refused() -> None:
    with pytest.raises(CohortError, match=r"2 nodes with 1 different ids"):
        _grid([Node(node_id=1, node_config={"partition-id": index}) for index in (0, 1)])


@pytest.mark.parametrize("partition_id", [3, -1, "0", None])
def test_a_node_that_is_no_hospital_says_so(partition_id: Any) -> None:
    config = {} if partition_id is None else {"partition-id": partition_id}
    with pytest.raises(WardroundError, match=r"node 7 can't say who it is: CohortError: partition-id = .* in 0\.\.2"):
        connect(_grid([Node(node_id=7, node_config=config)]))
