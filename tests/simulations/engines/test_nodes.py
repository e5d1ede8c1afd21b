"""One process of hospitals: order, errors, state, sums, threads, and how hospitals are shared out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_hospital import NODE_IDS, federation, initial_arrays, make_app, messages

import wardround
from wardround.simulations.engines.flower_internals import give_id, take_identity
from wardround.simulations.engines.nodes import Node, NodeRunner, Outcome
from wardround.simulations.engines.shares import share_out
from wardround.wire import array_record


def sent(**options: object) -> list[Message]:
    take_identity()
    wave = messages(array_record(initial_arrays()), **options)  # type: ignore[arg-type]
    return [give_id(message, f"message-{index}") for index, message in enumerate(wave)]


def test_longest_hospital_runs_first() -> None:
    outcome = Outcome()
    NodeRunner(make_app, federation()).run(sent(), outcome)
    loads = {node.node_id: node.load for node in federation()}
    order = [loads[reply.metadata.src_node_id] for reply in outcome.replies]
    assert order == sorted(order, reverse=True)
    assert outcome.total == {}


def test_app_is_made_once_and_reads_the_config_of_the_node() -> None:
    made, seen = [], []
    app = ClientApp()

    @app.query("who")
    def who(message: Message, context: Context) -> Message:
        seen.append((context.node_id, context.node_config["behaviour"]))
        return Message(RecordDict(), reply_to=message)

    runner = NodeRunner(lambda: made.append(1) or app, federation())
    for _ in range(2):
        runner.run(sent(kind="query.who"), Outcome())
    assert len(made) == 1
    assert sorted(set(seen)) == [(node_id, "train") for node_id in sorted(NODE_IDS)]


def test_traceback_is_that_of_its_wave() -> None:
    runner, outcome, next_one = NodeRunner(make_app, federation(node_7="raise")), Outcome(), Outcome()
    runner.run(sent(), outcome)
    failed = [reply for reply in outcome.replies if reply.has_error()]
    assert [(reply.metadata.src_node_id, reply.error.code) for reply in failed] == [(7, 2)]
    assert failed[0].error.reason == "ValueError: no such patient"
    assert "in _raise" in outcome.tracebacks[7]
    runner.run(sent(kind="evaluate"), next_one)
    assert next_one.tracebacks == {}


def test_an_app_has_one_thread_and_the_caller_keeps_its_own() -> None:
    torch = pytest.importorskip("torch")
    seen: list[int] = []
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen.append(torch.get_num_threads())
        return Message(RecordDict(), reply_to=message)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        NodeRunner(lambda: app, federation()).run(sent(), Outcome())
        assert (set(seen), torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


def test_torch_that_making_the_app_imports_has_one_thread_too() -> None:
    program = """
import sys
from toy_hospital import federation
from test_nodes import sent
from wardround.simulations.engines.nodes import NodeRunner, Outcome
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
def make():
    import torch
    app = ClientApp()
    @app.train()
    def train(message, context):
        print(torch.get_num_threads())
        return Message(RecordDict(), reply_to=message)
    return app
before = "torch" in sys.modules
NodeRunner(make, federation()[:1]).run([m for m in sent() if m.metadata.dst_node_id == 11], Outcome())
print(before, sys.modules["torch"].get_num_threads())
"""
    here = Path(__file__)
    places = (here.parent, here.parents[1], Path(wardround.__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(map(str, places))}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.splitlines() == ["1", "False 2"]


@given(loads=st.lists(st.floats(0, 100), min_size=1, max_size=40), num_workers=st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_shares_are_complete_even_and_stable(loads: list[float], num_workers: int) -> None:
    nodes = [Node(node_id=index, load=load) for index, load in enumerate(loads)]
    shares = share_out(nodes, num_workers)
    assert sorted(node.node_id for share in shares for node in share) == list(range(len(nodes)))
    assert len(shares) == min(num_workers, len(nodes))
    assert all(shares)
    assert shares == share_out(nodes[::-1], num_workers)
    lower_bound = max(sum(loads) / len(shares), max(loads))
    assert max(sum(node.load for node in share) for share in shares) <= 2 * lower_bound + 1e-9


def test_longest_processing_time_first() -> None:
    nodes = [Node(node_id=index, load=load) for index, load in enumerate([5, 5, 4, 4, 3, 3])]
    assert [sum(node.load for node in share) for share in share_out(nodes, 2)] == [12, 12]
