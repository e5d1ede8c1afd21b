"""One suite for every engine of the table: what a Flower strategy and a server see is the same, to the bit."""

import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from engine_variants import VARIANTS, opened
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedMedian, FedProx, FedYogi, Strategy
from toy_hospital import NODE_IDS, federation, initial_arrays, make_app, messages, older_record

from wardround.config import SimulationConfig
from wardround.errors import CohortError, ConfigError, ProtocolError, WardroundError
from wardround.exact_sums import FixedSum, accumulate, mean
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.opening import ENGINES
from wardround.wire import array_record, arrays_of

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]

OpenGrid = Callable[..., Any]
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "fedavg": lambda: FedAvg(fraction_train=0.6),
    "fedavgm": lambda: FedAvgM(server_learning_rate=0.5, server_momentum=0.9),
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "fedprox": lambda: FedProx(proximal_mu=0.1),
    "fedmedian": FedMedian,
}
WEIGHTS = {node_id: node_id / sum(NODE_IDS) for node_id in NODE_IDS}


# Where hospitals of two workers have to be told apart; else one is enough, which is a process to start.
APART = [name for name in VARIANTS if not name.endswith(("-1", "-3"))]


@pytest.fixture(params=[name for name in VARIANTS if not name.endswith(("-2", "-3"))])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_engine_that_the_settings_know_is_in_the_table_and_in_this_suite() -> None:
    known = set(next(item for item in fields(SimulationConfig) if item.name == "engine").metadata["choices"])
    assert known - {"auto"} == set(ENGINES) == {variant.partition("-")[0] for variant in VARIANTS}


def run_rounds(grid: Any, strategy: Strategy) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    """Three rounds of a Flower strategy; Flower samples from the global stream, so that is seeded."""
    random.seed(5)
    result = strategy.start(grid=grid, initial_arrays=array_record(initial_arrays()), num_rounds=3, timeout=None)
    metrics = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    rows = [{key: value for key, value in row.items() if key not in ("pid", "seen")} for row in metrics]
    return arrays_of(result.arrays), rows  # type: ignore[return-value]


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_give_the_same_bits_in_every_engine(grid: Any, name: str) -> None:
    expected, expected_rows = run_rounds(InlineGrid(make_app, federation()), STRATEGIES[name]())
    arrays, rows = run_rounds(grid, STRATEGIES[name]())
    assert rows == expected_rows
    assert len(rows) == 6
    assert all(np.array_equal(arrays[key], expected[key]) for key in expected)
    assert not np.array_equal(arrays["w"], initial_arrays()["w"])


def test_fedavg_is_the_weighted_mean(grid: Any) -> None:
    """Against four lines of NumPy that know nothing of messages."""
    arrays, _ = run_rounds(grid, FedAvg())
    expected = initial_arrays()["w"].astype(np.float64)
    for round_number in (1, 2, 3):
        updates = [expected * 0.9 + np.sin(np.arange(4) + node_id) * round_number for node_id in NODE_IDS]
        expected = np.average(updates, axis=0, weights=NODE_IDS)
    assert arrays["w"] == pytest.approx(expected, rel=1e-5)


def test_replies_come_in_the_order_of_node_ids(grid: Any) -> None:
    wave = messages(array_record(initial_arrays()))
    replies = grid.send_and_receive(wave)
    assert [reply.metadata.src_node_id for reply in replies] == sorted(NODE_IDS)
    assert grid.get_node_ids() == sorted(NODE_IDS)
    assert [node.node_id for node in grid.get_nodes()] == sorted(NODE_IDS)
    ids = {message.metadata.dst_node_id: message.metadata.message_id for message in wave}
    assert len(set(ids.values())) == len(NODE_IDS)
    for reply in replies:
        assert reply.metadata.reply_to_message_id == ids[reply.metadata.src_node_id]
        assert reply.metadata.message_id not in ("", *ids.values())
        assert reply.metadata.run_id == grid.run.run_id


def test_sum_is_the_same_in_every_engine_and_near_the_mean_of_replies(grid: Any) -> None:
    model = array_record(initial_arrays())
    replies = grid.send_and_receive(messages(model))
    summed, total = grid.send_and_sum(messages(model, WEIGHTS))
    _, expected = InlineGrid(make_app, federation()).send_and_sum(messages(model, WEIGHTS))
    assert all(np.array_equal(total[name], expected[name]) for name in expected)
    average = mean(total, sum(WEIGHTS.values()), {name: np.zeros(a.shape) for name, a in initial_arrays().items()})
    for name, array in average.items():
        terms = [
            arrays_of(reply.content["arrays"])[name] * np.float64(WEIGHTS[reply.metadata.src_node_id])
            for reply in replies
        ]
        assert np.abs(array - sum(terms)).max() <= 5 * 2.0**-41 + 4 * 2.0**-51 + 1e-15
    assert [list(reply.content) for reply in summed] == [["metrics"]] * len(NODE_IDS)
    assert [reply.content["metrics"]["num-examples"] for reply in summed] == sorted(NODE_IDS)


def test_arrays_of_flowers_older_clients_are_summed(open_grid: OpenGrid, engine: str) -> None:
    """They state neither type nor shape, and are read as Flower reads them."""
    grid = open_grid(engine, federation(**{f"node_{node_id}": "older" for node_id in NODE_IDS}))
    _, total = grid.send_and_sum(messages(older_record(initial_arrays()), WEIGHTS))
    _, expected = InlineGrid(make_app, federation()).send_and_sum(messages(array_record(initial_arrays()), WEIGHTS))
    for number, name in enumerate(initial_arrays()):
        assert np.array_equal(total[str(number)], expected[name])


def test_the_sum_is_exact_whatever_the_order_of_messages_and_replies(grid: Any) -> None:
    """Integers: added in any order, by anybody, they are the same to the bit."""
    model = array_record(initial_arrays())
    by_hand: FixedSum = {}
    for reply in reversed(grid.send_and_receive(messages(model))):
        accumulate(by_hand, arrays_of(reply.content["arrays"]), WEIGHTS[reply.metadata.src_node_id])
    generator = random.Random(3)
    for _ in range(4):
        wave = messages(model, WEIGHTS)
        generator.shuffle(wave)
        replies, total = grid.send_and_sum(wave)
        assert total.keys() == by_hand.keys()
        assert all(np.array_equal(total[name], by_hand[name]) for name in by_hand)
        assert [reply.metadata.src_node_id for reply in replies] == sorted(NODE_IDS)


@pytest.mark.parametrize("engine", APART)
def test_failed_hospitals_leave_the_others_alone(open_grid: OpenGrid, engine: str) -> None:
    nodes = federation(node_3="raise", node_7="exit", node_11="nan", node_20="shape")
    replies, total = open_grid(engine, nodes).send_and_sum(messages(array_record(initial_arrays()), WEIGHTS))
    reasons = {reply.metadata.src_node_id: reply.error.reason for reply in replies if reply.has_error()}
    assert reasons == {
        3: "ValueError: no such patient",
        7: "SystemExit: 4",
        11: "UpdateError: node 11: parameter w holds nan, which must be finite and below 4194304 in magnitude: "
        "lower the learning rate or normalise the inputs",
        20: "UpdateError: node 20: parameter w has shape (2,), which must be (4,)",
    }
    alone = InlineGrid(make_app, [node for node in nodes if node.node_id == 5])
    wave = [m for m in messages(array_record(initial_arrays()), WEIGHTS) if m.metadata.dst_node_id == 5]
    assert all(np.array_equal(total[name], array) for name, array in alone.send_and_sum(wave)[1].items())


def test_strategy_sees_errors_as_flowers_own_engine_shows_them(open_grid: OpenGrid, engine: str) -> None:
    replies = open_grid(engine, federation(node_3="raise")).send_and_receive(messages(array_record(initial_arrays())))
    arrays, metrics = FedAvg().aggregate_train(1, replies)
    assert metrics is not None and metrics["seen"] == 1
    assert arrays is not None and arrays["w"].shape == (4,)
    assert [reply.has_error() for reply in replies] == [True, False, False, False, False]


@pytest.mark.parametrize("engine", VARIANTS)
def test_nodes_keep_their_state_and_their_process(open_grid: OpenGrid, engine: str) -> None:
    grid = open_grid(engine, federation())
    model = array_record(initial_arrays())
    pids = []
    for wave in (1, 2, 3):
        metrics = [reply.content["metrics"] for reply in grid.send_and_receive(messages(model))]
        assert [row["seen"] for row in metrics] == [wave] * len(NODE_IDS)
        pids.append([row["pid"] for row in metrics])
    assert pids[0] == pids[1] == pids[2]
    assert len(set(pids[0])) == int(engine.partition("-")[2] or 1)


@pytest.mark.parametrize("behaviour", ["scribble", "reuse"])
def test_hospitals_cannot_reach_each_other(open_grid: OpenGrid, engine: str, behaviour: str) -> None:
    """One that writes over what it received, and ones that send the same memory again and again."""
    model, values = array_record(initial_arrays()), initial_arrays()
    honest = InlineGrid(make_app, federation()).send_and_receive(messages(model))
    nodes = federation(**{f"node_{node_id}": behaviour for node_id in NODE_IDS})
    wave = messages(model)
    replies = open_grid(engine, nodes).send_and_receive(wave)
    for reply, expected in zip(replies, honest, strict=True):
        assert np.array_equal(reply.content["arrays"]["w"].numpy(), expected.content["arrays"]["w"].numpy())
    assert np.array_equal(model["w"].numpy(), values["w"])
    assert all(message.content["config"]["server-round"] == 1 for message in wave)


def test_arrays_of_a_reply_are_the_servers_own(grid: Any) -> None:
    reply = grid.send_and_receive(messages(array_record(initial_arrays())))[0]
    before = reply.content["arrays"]["w"].numpy()
    reply.content["arrays"]["w"].numpy()[...] = 0
    assert np.array_equal(reply.content["arrays"]["w"].numpy(), before)


def test_push_and_pull(grid: Any) -> None:
    ids = list(grid.push_messages(messages(array_record(initial_arrays()))))
    first = grid.pull_messages(ids[:1])
    assert [reply.metadata.reply_to_message_id for reply in first] == ids[:1]
    assert len(grid.pull_messages(ids[1:])) == 4
    with pytest.raises(ProtocolError, match=f"there is no reply to {ids[0]}"):
        grid.pull_messages(ids)


def test_create_message_and_run(grid: Any) -> None:
    content = RecordDict({"arrays": array_record(initial_arrays()), "config": ConfigRecord({"server-round": 1})})
    message = grid.create_message(content, "train", 5, "round-1", ttl=60.0)
    (reply,) = grid.send_and_receive([message])
    assert (reply.metadata.group_id, reply.metadata.src_node_id) == ("round-1", 5)
    run = grid.run
    grid.set_run(run)
    assert grid.run is run
    assert list(grid.send_and_receive([])) == []


def test_two_messages_to_one_node_run_in_order(open_grid: OpenGrid, engine: str) -> None:
    model = array_record(initial_arrays())
    replies = open_grid(engine, federation()).send_and_receive(messages(model) + messages(model))
    assert [reply.content["metrics"]["seen"] for reply in replies] == [1, 2] * len(NODE_IDS)


def test_unknown_node_is_refused_before_anything_runs(open_grid: OpenGrid, engine: str) -> None:
    grid = open_grid(engine, federation())
    model = array_record(initial_arrays())
    stray = Message(RecordDict({"arrays": model}), 4, "train")
    with pytest.raises(CohortError, match="node 4 does not exist: this federation has nodes 3, 5, 7, 11, 20"):
        grid.send_and_receive([*messages(model), stray])
    assert {reply.content["metrics"]["seen"] for reply in grid.send_and_receive(messages(model))} == {1}


def test_sum_cannot_be_lost(grid: Any) -> None:
    with pytest.raises(ProtocolError, match="send them with send_and_sum"):
        grid.send_and_receive(messages(array_record(initial_arrays()), WEIGHTS))


def test_passed_timeout_is_an_error_and_not_a_smaller_cohort(open_grid: OpenGrid, engine: str) -> None:
    grid = open_grid(engine, federation())
    with pytest.raises(WardroundError, match=r"did not answer within the timeout"):
        grid.send_and_receive(messages(array_record(initial_arrays())), timeout=-1.0)


def test_what_making_the_app_raises_reaches_the_caller(open_grid: OpenGrid, engine: str) -> None:
    def broken() -> Any:
        raise ConfigError("the model does not exist")

    with pytest.raises(ConfigError, match="the model does not exist"):
        open_grid(engine, federation(), broken).send_and_receive(messages(array_record(initial_arrays())))


def test_strategy_may_evaluate(grid: Any) -> None:
    replies = grid.send_and_receive(messages(array_record(initial_arrays()), kind="evaluate"))
    metrics = FedAvg().aggregate_evaluate(1, replies)
    size = sum(float(np.abs(array).sum()) for array in initial_arrays().values())
    expected = size + sum(node_id**2 for node_id in NODE_IDS) / sum(NODE_IDS)
    assert isinstance(metrics, MetricRecord)
    assert metrics["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("nodes", [[], [Node(node_id=1), Node(node_id=1)]])
def test_federation_needs_nodes_with_different_ids(open_grid: OpenGrid, engine: str, nodes: list[Node]) -> None:
    with pytest.raises(CohortError, match="a grid needs at least one, and an id each"):
        open_grid(engine, nodes)


def answering(make_reply: Callable[[Message], Any]) -> Callable[[], ClientApp]:
    def make() -> ClientApp:
        app = ClientApp()
        app.train()(lambda message, context: make_reply(message))
        return app

    return make


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda message: None, "TypeError: the ClientApp returned NoneType"),
        (lambda message: message, "ValueError: the ClientApp's reply must be built with Message"),
    ],
)
def test_what_is_not_a_reply_is_an_error(open_grid: OpenGrid, engine: str, answer: Any, reason: str) -> None:
    wave = messages(array_record(initial_arrays()))
    replies = open_grid(engine, federation(), answering(answer)).send_and_receive(wave)
    assert [reply.metadata.src_node_id for reply in replies] == sorted(NODE_IDS)
    assert all(reason in reply.error.reason for reply in replies)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (RecordDict(), "0 ArrayRecords in a message"),
        (RecordDict({"a": ArrayRecord([np.ones(1)]), "b": ArrayRecord([np.ones(1)])}), "2 ArrayRecords in a message"),
        (RecordDict({"a": ArrayRecord([np.ones(1)])}), "parameter w is missing"),
    ],
)
def test_what_cannot_be_summed_is_an_error_that_names_the_node(
    open_grid: OpenGrid, engine: str, content: RecordDict, reason: str
) -> None:
    app = answering(lambda message: Message(content, reply_to=message))
    replies, total = open_grid(engine, federation(), app).send_and_sum(
        messages(array_record(initial_arrays()), WEIGHTS)
    )
    assert total == {} and len(replies) == len(NODE_IDS)
    for reply in replies:
        assert reply.error.reason.startswith(f"UpdateError: node {reply.metadata.src_node_id}: ")
        assert reason in reply.error.reason


def test_message_without_arrays_may_be_answered_with_any(open_grid: OpenGrid, engine: str) -> None:
    def make() -> ClientApp:
        app = ClientApp()

        @app.query()
        def query(message: Message, context: Context) -> Message:
            sums = array_record({"count": np.asarray(context.node_id)})
            return Message(RecordDict({"sums": sums}), reply_to=message)

        return app

    wave = [
        Message(RecordDict({"config": ConfigRecord({"sum-weight": 0.2})}), node_id, "query") for node_id in NODE_IDS
    ]
    replies, total = open_grid(engine, federation(), make).send_and_sum(wave)
    assert all(len(reply.content) == 0 for reply in replies)
    assert mean(total, 1.0, {"count": np.asarray(0.0)})["count"] == pytest.approx(np.mean(NODE_IDS))


@pytest.mark.parametrize("engine", APART)
def test_a_closed_grid_says_so_and_leaves_what_others_use(ray_session: Any, engine: str) -> None:
    with opened(engine, federation()) as grid:
        assert len(list(grid.send_and_receive(messages(array_record(initial_arrays()))))) == len(NODE_IDS)
    grid.close()
    with pytest.raises(WardroundError, match="the grid is closed: open a new one"):
        grid.send_and_receive(messages(array_record(initial_arrays())))
    with pytest.raises(WardroundError, match="the grid is closed: open a new one"):
        grid.push_messages(messages(array_record(initial_arrays())))
    assert ray_session.is_initialized()


def test_a_grid_is_closed_by_what_goes_wrong_in_it(open_grid: OpenGrid, engine: str) -> None:
    with pytest.raises(KeyError), opened(engine, federation()) as grid:
        raise KeyError("anything")
    with pytest.raises(WardroundError, match="the grid is closed"):
        grid.send_and_receive(messages(array_record(initial_arrays())))
