"""A user's Flower app, run with `flwr run`: exact averages on every engine of Flower's, and what a client may rely on.

Every message starts a process at every SuperNode: an exchange takes some ten seconds on two processors.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackFederation

pytestmark = [pytest.mark.pilot, pytest.mark.slow]

APP = Path(__file__).parents[2] / "examples" / "flower-app"
PROBE = Path(__file__).parent / "probe_app"
LEARNING_RATE = 0.2
APP_RAISED = 2


def averages(num_hospitals: int, num_rounds: int) -> np.ndarray:
    """Federated averaging as plain loops: the data is the app's, the rest is not."""
    spec = importlib.util.spec_from_file_location("data", APP / "least_squares" / "data.py")
    assert spec is not None
    assert spec.loader is not None
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    weights = np.zeros(data.NUM_FEATURES)
    for _ in range(num_rounds):
        trained, sizes = [], []
        for hospital in range(num_hospitals):
            features, targets = data.load_data(hospital)
            trained.append(weights - LEARNING_RATE * features.T @ (features @ weights - targets) / len(targets))
            sizes.append(len(targets))
        weights = np.average(trained, axis=0, weights=sizes)
    return weights


@pytest.mark.parametrize(
    ("where", "num_rounds"), [("simulation", 3), ("secure_federation", 1), ("federation", 2)], ids=str
)
def test_the_example_app_averages_exactly(
    where: str, num_rounds: int, hospitals: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    running: LoopbackFederation = request.getfixturevalue(where)
    config: dict[str, Any] = {"num-rounds": num_rounds, "num-nodes": len(hospitals), "learning-rate": LEARNING_RATE}
    done = running.run(APP, deadline_seconds=120 + 90 * num_rounds, **config)
    assert done.status == "finished:completed", done.log
    assert isinstance(done.out, dict)
    # Weights travel as float32, and are of order one.
    assert done.out["weights"] == pytest.approx(averages(len(hospitals), num_rounds), abs=1e-6)


def test_what_a_client_may_rely_on(federation: LoopbackFederation, hospitals: tuple[str, ...]) -> None:
    """`context.state` lasts from message to message though processes don't, and also when an app raises."""
    done = federation.run(PROBE, deadline_seconds=400, orders="reply raise:1 reply")
    assert done.status == "finished:completed", done.log
    assert isinstance(done.out, dict)
    first, second, third = (
        {reply["source"]: reply for reply in exchange["replies"]} for exchange in done.out["rounds"]
    )
    assert set(first) == set(second) == set(third) == set(done.out["nodes"])
    assert len(first) == len(hospitals)
    assert sorted(reply["config-hospital"] for reply in first.values()) == sorted(hospitals)
    failed = [node for node in first if first[node]["config-partition-id"] == 1]
    assert [node for node in second if "error" in second[node]] == failed
    assert second[failed[0]]["error"] == APP_RAISED
    assert "told to raise" in second[failed[0]]["reason"]
    for node, reply in third.items():
        assert reply["context-node-id"] == reply["destination-node-id"] == node
        assert reply["process"] != first[node]["process"]
        assert (first[node]["count-before"], reply["count-before"]) == (0, 2)
        if node not in failed:
            assert second[node]["secret-before"] == first[node]["secret-after"]
            assert reply["secret-before"] == second[node]["secret-after"]
