"""What only the Ray engine can do: lose a worker, be interrupted, and move a model once."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from toy_hospital import NODE_IDS, federation, initial_arrays, make_app, messages

from wardround.config import SimulationConfig
from wardround.errors import ConfigError, WardroundError
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.opening import ENGINES
from wardround.wire import array_record

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]

OpenGrid = Callable[..., Any]
WEIGHTS = dict.fromkeys(NODE_IDS, 0.125)


def waves(grid: Any, num: int = 3) -> list[Any]:
    """Everything a server sees of some summed waves."""
    seen = []
    for number in range(1, num + 1):
        wave = messages(array_record(initial_arrays()), WEIGHTS, server_round=number)
        replies, total = grid.send_and_sum(wave)
        seen.append(({name: array.tolist() for name, array in total.items()}, [_facts(reply) for reply in replies]))
    return seen


def _facts(reply: Message) -> tuple[int, Any, Any]:
    metrics = reply.content["metrics"]
    return reply.metadata.src_node_id, metrics["num-examples"], metrics["seen"]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_dead_worker_is_replaced_and_changes_nothing(open_grid: OpenGrid, tmp_path: Path, num_workers: int) -> None:
    """Node 7 ends its process in the second wave: sums, replies and what nodes kept are those of a calm run."""
    calm = waves(InlineGrid(make_app, federation()))
    nodes = federation(node_7=f"die-once:{tmp_path / 'died'}")
    assert waves(open_grid(f"ray-{num_workers}", nodes)) == calm
    assert (tmp_path / "died").exists()


def test_worker_killed_between_waves_is_replaced(open_grid: OpenGrid, ray_session: Any) -> None:
    grid = open_grid("ray-1", federation())
    calm = waves(InlineGrid(make_app, federation()), 1)
    assert waves(grid, 1) == calm
    pids = {
        reply.content["metrics"]["pid"] for reply in grid.send_and_receive(messages(array_record(initial_arrays())))
    }
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    replies = grid.send_and_receive(messages(array_record(initial_arrays())))
    assert [reply.content["metrics"]["seen"] for reply in replies] == [3] * len(NODE_IDS)
    assert pids.isdisjoint({reply.content["metrics"]["pid"] for reply in replies})


def test_worker_that_dies_each_time_stops_the_wave(open_grid: OpenGrid) -> None:
    grid = open_grid("ray-1", federation(node_7="die"))
    with pytest.raises(WardroundError, match=r"worker of nodes .*7.* died 3 times in a row: .*num-workers"):
        waves(grid, 1)


def test_interrupt_comes_through_and_the_grid_goes_on(open_grid: OpenGrid, tmp_path: Path) -> None:
    grid = open_grid("ray-2", federation(node_7=f"block-once:{tmp_path / 'blocked'}"))
    waves(grid, 1)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            grid.send_and_sum(messages(array_record(initial_arrays()), WEIGHTS, server_round=2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 10
    assert grid.send_and_sum(messages(array_record(initial_arrays()), WEIGHTS, server_round=2))[1]


def test_timeout_names_who_is_missing(open_grid: OpenGrid, tmp_path: Path) -> None:
    grid = open_grid("ray-2", federation(node_7=f"block-once:{tmp_path / 'blocked'}"))
    waves(grid, 1)
    wave = messages(array_record(initial_arrays()), server_round=2)
    with pytest.raises(WardroundError, match=r"nodes .*7.* did not answer within the timeout"):
        grid.send_and_receive(wave, timeout=0.5)


def test_model_goes_into_the_store_once(open_grid: OpenGrid, ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = open_grid("ray-2", federation())
    put: list[Any] = []
    original = ray_session.put
    monkeypatch.setattr(ray_session, "put", lambda value: put.append(value) or original(value))
    grid.send_and_sum(messages(array_record(initial_arrays()), WEIGHTS))
    assert [list(record) for record in put] == [["w", "b"]]


def test_arrays_in_the_app_are_shared_and_not_copied(open_grid: OpenGrid) -> None:
    """A closure over a large array: the workers read it where it is, so they cannot write to it."""
    data = np.arange(200_000, dtype=np.float64)

    def app_over_data() -> ClientApp:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Any) -> Message:
            facts = np.asarray([data.sum(), data.flags.owndata, data.flags.writeable])
            return Message(RecordDict({"facts": array_record({"facts": facts})}), reply_to=message)

        return app

    replies = open_grid("ray-1", federation(), app_over_data).send_and_receive(messages(array_record(initial_arrays())))
    for reply in replies:
        assert reply.content["facts"]["facts"].numpy().tolist() == [data.sum(), 0.0, 0.0]


def test_more_workers_than_processors_or_nodes_do_not_hang(open_grid: OpenGrid, ray_session: Any) -> None:
    grid = open_grid("ray-64", federation()[:2])
    wave = [m for m in messages(array_record(initial_arrays())) if m.metadata.dst_node_id in grid.get_node_ids()]
    assert len(grid.send_and_receive(wave)) == 2


def test_module_beside_the_driver_is_found_in_workers(
    open_grid: OpenGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_own_app.py").write_text("from toy_hospital import make_app as make\n")
    monkeypatch.syspath_prepend(tmp_path)
    import users_own_app  # type: ignore[import-not-found]

    assert waves(open_grid("ray-1", federation(), users_own_app.make), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num-workers = 0 must be >= 1"),
        ({"num_workers": 1, "gpus_per_worker": -0.5}, "gpus-per-worker = -0.5 must be >= 0"),
        ({"num_workers": 1, "gpus_per_worker": 1.5}, "gpus-per-worker = 1.5 must be 0, a fraction"),
        ({"num_workers": 4, "gpus_per_worker": 64}, "gpus-per-worker = 64.* with 4 workers does not fit the"),
    ],
)
def test_impossible_resources_are_refused(ray_session: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ENGINES["ray"].open(make_app, federation(), SimulationConfig(**settings))
    assert ray_session.is_initialized()
