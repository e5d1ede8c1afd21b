"""The example app, run with `flwr run`: exact averages of sums that the server alone can't take apart.

Every message starts a process at every SuperNode, and a round of secure aggregation is five messages.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackFederation, loopback_federation

from wardround.secagg import write_roster

pytestmark = [pytest.mark.pilot, pytest.mark.slow]

APP = Path(__file__).parents[2] / "examples" / "flower-app"
LEARNING_RATE = 0.2
MAX_UPDATE, MAX_WEIGHT = 2.0, 200  # the app's
HOSPITALS = ("Ålesund", "St Mary's", "ward 7")


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def averages(hospitals: Sequence[str], num_rounds: int) -> tuple[np.ndarray, float]:
    """Federated averaging as plain loops, and the largest error allowed: the data is the app's, the rest is not."""
    data = module(APP / "least_squares" / "data.py")
    weights = np.zeros(data.NUM_FEATURES, np.float32)
    for _ in range(num_rounds):
        trained, sizes = [], []
        for hospital in hospitals:
            features, targets = data.load_data(hospital)
            step = weights - LEARNING_RATE * features.T @ (features @ weights - targets) / len(targets)
            trained.append(step.astype(np.float32))
            sizes.append(len(targets))
        weights = np.average(trained, axis=0, weights=sizes).astype(np.float32)
    # secagg.quantisation's bound, and one float32 below 2 to the next in every round.
    bound = len(hospitals) ** 2 * MAX_UPDATE * MAX_WEIGHT / ((2**31 - len(hospitals)) * sum(sizes))
    return weights, num_rounds * (bound + 2.0**-23)


def check(done: Any, hospitals: Sequence[str], num_rounds: int) -> None:
    assert done.status == "finished:completed", done.log
    wanted, bound = averages(hospitals, num_rounds)
    np.testing.assert_allclose(done.out["weights"], wanted, rtol=0, atol=bound)


def test_the_example_app_in_flowers_simulation(simulation: LoopbackFederation) -> None:
    config = {"num-rounds": 2, "num-nodes": simulation.num_simulated, "learning-rate": LEARNING_RATE}
    done = simulation.run(APP, deadline_seconds=300, **config)
    check(done, [f"hospital-{number}" for number in range(simulation.num_simulated)], 2)


def test_the_example_app_on_supernodes_without_the_one_that_refuses(folder: Path) -> None:
    """Four SuperNodes with TLS and keys; the fourth keeps a roster that asks for more hospitals than the others'."""
    names = [*HOSPITALS, "careful"]
    roster = module(APP / "make_keys.py").make_keys(folder, names)
    write_roster(folder / "careful.json", replace(roster, min_survivors=4))
    rosters = [folder / "roster.json"] * len(HOSPITALS) + [folder / "careful.json"]
    configs = [
        {"hospital": name, "site-key": str(folder / f"{name}.key"), "roster": str(path)}
        for name, path in zip(names, rosters, strict=True)
    ]
    config = {"num-rounds": 1, "num-nodes": len(names), "learning-rate": LEARNING_RATE, "roster": str(rosters[0])}
    with loopback_federation(folder, configs) as federation:
        done = federation.run(APP, deadline_seconds=400, **config)
    check(done, HOSPITALS, 1)
    assert "careful refuses, and sends nothing: min_survivors = 3 was asked for" in done.log
