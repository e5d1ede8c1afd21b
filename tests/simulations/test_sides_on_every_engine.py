"""The bits are the same wherever hospitals run one by one: every kind of sum, models of their own, sides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAvg
from grid_runs import run_over
from many_federations import ManyFederations, open_together
from small_runs import results_of, rows_of, small_config
from test_every_cell import settings

from wardround.config import Config
from wardround.identity import as_this_process_has_it
from wardround.objects import hand_over
from wardround.simulations.engines.opening import ENGINES
from wardround.simulations.runs import run

_EXAMPLES = Path(__file__).parents[2] / "examples"
NUM_WORKERS = 2
SIDES = ("scaffold", "object")


def half() -> FedAvg:
    """Return a strategy whose class is of this function alone, and travels by value."""

    class Half(FedAvg):
        @staticmethod
        def hospital_side(gradient: Any, received: Any) -> Any:
            return {name: part * 0.5 for name, part in gradient.items()}

    return Half(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)


def federations() -> dict[str, Config]:
    """Return the settings of every federation: all kinds of sums, models of hospitals' own, and sides."""
    plain = small_config(training={"num-rounds": 2})
    masked = {"aggregation": {"protocol": "secagg+"}}
    return {
        "record-central": settings("record", "central"),
        "record-local-masked": settings("record", "local", **masked),
        "record-distributed-masked": settings("record", "distributed", **masked),
        "hospital-distributed-adaptive": settings("hospital", "distributed", True),
        "dropouts": small_config(
            training={"num-rounds": 3, "fraction-train": 0.7},
            aggregation={"strategy": "fedadam", "eta": 0.05, "protocol": "secure-sum"},
            simulation={"dropout-rate": 0.2},
        ),
        "scaffold": small_config(training={"num-rounds": 2}, aggregation={"strategy": "scaffold:scaffold"}),
        "own-models": small_config(
            training={"num-rounds": 3, "fraction-train": 0.7}, personal={"method": "mr-mtl", "strength": 0.3}
        ),
        "own-heads": small_config(
            training={"num-rounds": 3}, model={"name": "mlp", "hidden-sizes": [5]}, personal={"method": "local-head"}
        ),
        "object": plain.with_object("aggregation", hand_over(half(), "strategy")),
    }


NAMES = (
    *("record-central", "record-local-masked", "record-distributed-masked", "hospital-distributed-adaptive"),
    *("dropouts", "own-models", "own-heads", *SIDES),
)


@pytest.fixture(scope="module")
def configs() -> Iterator[dict[str, Config]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(_EXAMPLES))
        # As `run` has it: the code that settings name is in what the noise is drawn from.
        yield {name: as_this_process_has_it(config) for name, config in federations().items()}


# An engine that asks hospitals together has sums, and so noise, of its own: test_stacked_runs.py.
OTHERS = [name for name, engine in ENGINES.items() if name != "inline" and not engine.asks_together]


@pytest.fixture(scope="module", params=OTHERS)
def together(request: pytest.FixtureRequest, ray_session: Any, configs: dict[str, Config]) -> Iterator[ManyFederations]:
    """All federations on the workers of one grid."""
    together = open_together(request.param, NUM_WORKERS, configs)
    with together.grid:
        yield together


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_the_engine_changes_nothing(
    name: str, together: ManyFederations, configs: dict[str, Config], tmp_path: Path
) -> None:
    here = run(configs[name], out=tmp_path / "inline").folder
    run_over(tmp_path / "there", configs[name], lambda make_app, nodes: together.part(name))
    assert results_of(tmp_path / "there") == results_of(here)
    if name == "dropouts":
        assert {("1", "0"), ("1", "1")} <= {
            (row["selected"], row["completed"]) for row in rows_of(here / "hospitals.csv")
        }
    if name in SIDES:
        plain = run(small_config(training={"num-rounds": 2}), out=tmp_path / "plain").folder
        assert results_of(plain)[0] != results_of(here)[0]
