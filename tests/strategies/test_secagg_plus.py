"""SecAggPlus around Flower's strategies, over grids: the mean of the survivors, and nothing else at the server."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian
from own_strategies import Counting, CountingSums

from wardround import wire
from wardround.clients.secagg import SecAggMod, agreed_terms
from wardround.errors import ConfigError, ProtocolError
from wardround.leaves import LEAVES_HOSPITAL
from wardround.secagg import Roster, Site, new_site_key, simulated_roster, simulated_site, write_roster
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.strategies import SecAggPlus

STAGES = ("advertise", "share", "mask", "confirm", "unmask")
NAMES = tuple(f"site-{index}" for index in range(6))
SURVIVORS = {"min_survivors": 4, "max_colluding": 0}
BOUNDS = {"max_update": 8.0, "max_weight": 16.0}
AGREED = agreed_terms(**BOUNDS)
ROSTER = simulated_roster(1, NAMES, **SURVIVORS)
NODES = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1, "fraction_evaluate": 0.0}
MODEL = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array(-1.5), "count": np.array([7])}


def site_of(context: Context) -> Site:
    return simulated_site(1, NAMES[int(context.node_config["partition-id"])], NAMES, **SURVIVORS)


def update_of(index: int, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What hospital `index` makes of the model; weighted by 10 + index."""
    return {name: (array + np.asarray(index - 2.25)).astype(array.dtype) for name, array in arrays.items()}


class Failing:
    """A mod that raises at one stage of the protocol, in front of the real one."""

    def __init__(self, drops: Mapping[int, str]) -> None:
        self._drops = drops

    def __call__(self, message: Message, context: Context, call_next: Callable[..., Message]) -> Message:
        stage = message.content[wire.SECAGG]["stage"]  # type: ignore[index]
        if self._drops.get(int(context.node_config["partition-id"])) == stage:
            raise ConnectionError("gone")
        return call_next(message, context)


def make_app(drops: Mapping[int, str] | None = None, **agreed: Any) -> ClientApp:
    check_terms = agreed_terms(**{**BOUNDS, **agreed})
    app = ClientApp(mods=[Failing(drops or {}), SecAggMod(site_of, check_terms=check_terms)])

    @app.train("zero")
    @app.train()
    def train(message: Message, context: Context) -> Message:
        index = int(context.node_config["partition-id"])
        arrays = update_of(index, wire.arrays_in(message))
        metrics = MetricRecord({"num-examples": 10 + index, "secret-loss": 0.125})
        return Message(RecordDict({"arrays": wire.array_record(arrays), "metrics": metrics}), reply_to=message)

    return app


class Watched(InlineGrid):
    """Keeps what every reply carried."""

    contents: list[dict[str, Any]]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = super().send_and_receive(messages, timeout=timeout)
        self.__dict__.setdefault("contents", []).extend(
            dict(reply.content.items()) for reply in replies if not reply.has_error()
        )
        return replies


def grid_of(make: Callable[[], ClientApp], num_nodes: int = len(NAMES)) -> Watched:
    return Watched(make, [Node(node_id=i + 1, node_config={"partition-id": i}) for i in range(num_nodes)])


def secagg(strategy: Any = None, **options: Any) -> SecAggPlus:
    options = BOUNDS | options
    return SecAggPlus(strategy or FedAvg(**NODES), ROSTER, **options)


def one_round(strategy: SecAggPlus, grid: Any, number: int = 1, model: Any = None) -> tuple[Any, Any]:
    arrays = wire.array_record(model or MODEL)
    messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
    return strategy.aggregate_train(number, grid.send_and_receive(messages) if messages else [])


def mean_of(indices: list[int]) -> dict[str, Any]:
    weights = np.array([10.0 + index for index in indices])
    updates = [update_of(index, MODEL) for index in indices]
    return {name: sum(w * u[name] for w, u in zip(weights, updates, strict=True)) / weights.sum() for name in MODEL}


def check_mean(arrays: ArrayRecord, indices: list[int]) -> None:
    got, wanted = wire.arrays_of(arrays), mean_of(indices)
    for name in ("weight", "bias"):
        assert got[name].dtype == MODEL[name].dtype
        # The stated bound, n^2 R W / ((2^31 - n) sum w), and one rounding to the parameter's type.
        bound = len(NAMES) ** 2 * 8.0 * 16.0 / ((2**31 - 6) * sum(10 + i for i in indices)) + 1e-6
        np.testing.assert_allclose(got[name], wanted[name], rtol=0, atol=bound)
    # Flower's averaging makes float64 of whole numbers; they are whole as they were.
    np.testing.assert_array_equal(got["count"], np.rint(wanted["count"]))


def test_the_wrapped_strategy_sees_one_reply_with_the_mean_and_the_weight() -> None:
    inner = CountingSums()
    arrays, metrics = one_round(secagg(inner), grid_of(make_app))
    check_mean(arrays, [0, 1, 2, 3, 4, 5])
    assert inner.seen == [1]
    assert metrics == {}  # of the hospitals' metrics, none


def test_an_app_may_train_in_the_memory_that_it_was_given() -> None:
    app = ClientApp(mods=[SecAggMod(site_of, check_terms=AGREED)])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}  # type: ignore[union-attr]
        arrays["weight"] += 1.0
        metrics = MetricRecord({"num-examples": 10})
        return Message(RecordDict({"arrays": wire.array_record(arrays), "metrics": metrics}), reply_to=message)

    arrays, _ = one_round(secagg(), grid_of(lambda: app))
    np.testing.assert_allclose(wire.arrays_of(arrays)["weight"], MODEL["weight"] + 1.0, atol=1e-6)


def test_a_server_optimizer_takes_its_step_on_the_mean() -> None:
    model = {name: MODEL[name] for name in ("weight", "bias")}
    plain = FedAdam(**NODES, eta=0.1)
    plain.current_arrays = {name: array.copy() for name, array in model.items()}
    wanted, _ = plain.aggregate_train(1, _plain_replies(plain, model))
    wrapped = FedAdam(**NODES, eta=0.1)
    got, _ = one_round(secagg(wrapped), grid_of(make_app), model=model)
    for name in model:
        np.testing.assert_allclose(wire.arrays_of(got)[name], wire.arrays_of(wanted)[name], atol=1e-5)


def _plain_replies(strategy: FedAvg, model: Mapping[str, Any]) -> list[Message]:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        index = int(context.node_config["partition-id"])
        arrays = update_of(index, wire.arrays_in(message))
        metrics = MetricRecord({"num-examples": 10 + index})
        return Message(RecordDict({"arrays": wire.array_record(arrays), "metrics": metrics}), reply_to=message)

    grid = grid_of(lambda: app)
    return grid.send_and_receive(strategy.configure_train(1, wire.array_record(model), ConfigRecord(), grid))


@pytest.mark.parametrize("stage", STAGES)
def test_who_drops_out_at_a_stage_is_in_the_sum_only_if_its_vector_arrived(stage: str) -> None:
    drops = {1: stage, 4: stage}
    arrays, _ = one_round(secagg(), grid_of(lambda: make_app(drops)))
    check_mean(arrays, [0, 1, 2, 3, 4, 5] if stage in ("confirm", "unmask") else [0, 2, 3, 5])


@pytest.mark.parametrize("stage", STAGES)
def test_below_the_threshold_the_round_is_abandoned_and_the_next_goes_on(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    drops = dict.fromkeys((1, 3, 4), stage)
    strategy, inner = None, CountingSums()
    strategy, grid = secagg(inner), grid_of(lambda: make_app(drops))
    with caplog.at_level(logging.WARNING):
        assert one_round(strategy, grid) == (None, None)
    assert "round 1 is abandoned" in caplog.text and inner.seen == []
    drops.clear()
    arrays, _ = one_round(strategy, grid, 2)
    check_mean(arrays, [0, 1, 2, 3, 4, 5])


def test_flowers_own_loop_runs_it() -> None:
    strategy = secagg()
    result = strategy.start(grid_of(make_app), wire.array_record(MODEL), num_rounds=3)
    moved = 3 * (mean_of([0, 1, 2, 3, 4, 5])["bias"] - MODEL["bias"])
    np.testing.assert_allclose(result.arrays["bias"].numpy(), MODEL["bias"] + moved, atol=1e-6)


def test_the_server_gets_uniform_words_and_no_metric() -> None:
    grid = grid_of(make_app)
    big = {"weight": np.zeros(40_000, np.float32)}
    one_round(secagg(), grid, model=big)
    masked = [content for content in grid.contents if wire.ARRAYS in content]
    assert len(masked) == len(NAMES)
    for content in masked:
        arrays = wire.arrays_of(content[wire.ARRAYS])
        assert set(arrays) == {"weight", wire.SUM_OF_WEIGHTS}
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint32)}
        assert dict(content[wire.METRICS]) == {}
        # Unmasked, all words would be the same one.
        high = np.bincount(arrays["weight"] >> 28, minlength=16)
        assert abs(high - 2500).max() < 6 * 2500**0.5
    for content in grid.contents:
        for record in content.values():
            assert isinstance(record, ArrayRecord) or set(record) <= set(LEAVES_HOSPITAL)


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    with caplog.at_level(logging.WARNING):
        yield lambda: caplog.text


def test_an_update_that_does_not_fit_is_refused_without_saying_how_large_it_is(refusals: Any) -> None:
    strategy = secagg(max_update=0.5)
    assert one_round(strategy, grid_of(lambda: make_app(max_update=0.5))) == (None, None)
    assert "larger than 0.5 in magnitude (max-update)" in refusals()
    assert "2.75" not in refusals()


def test_a_weight_that_does_not_fit_is_refused(refusals: Any) -> None:
    assert one_round(secagg(max_weight=5.0), grid_of(lambda: make_app(max_weight=5.0))) == (None, None)
    assert "must be >= 0 and <= 5" in refusals()


def test_another_model_for_one_hospital_is_refused(refusals: Any) -> None:
    strategy, grid = secagg(), grid_of(make_app)
    messages = list(strategy.configure_train(1, wire.array_record(MODEL), ConfigRecord(), grid))
    other = {name: array + 1 for name, array in MODEL.items()}
    third = next(message for message in messages if message.metadata.dst_node_id == 3)
    third.content = RecordDict({**third.content, wire.ARRAYS: wire.array_record(other)})
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert "are not those that the terms name" in refusals()
    check_mean(arrays, [0, 1, 3, 4, 5])


def test_another_setting_or_action_for_one_hospital_is_refused(refusals: Any) -> None:
    """Also where the strategy calls its settings something else, and where the others train by another function."""
    strategy, grid = secagg(FedAvg(**NODES, configrecord_key="hyper")), grid_of(make_app)
    config = ConfigRecord({"learning-rate": 0.1})
    messages = list(strategy.configure_train(1, wire.array_record(MODEL), config, grid))
    messages.sort(key=lambda message: message.metadata.dst_node_id)
    other = ConfigRecord({**messages[0].content["hyper"], "learning-rate": 0.0})  # type: ignore[dict-item]
    messages[0].content = RecordDict({**messages[0].content, "hyper": other})
    messages[3].metadata.message_type = "train.zero"
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    check_mean(arrays, [1, 2, 4, 5])
    assert refusals().count("are not those that the terms name") == 2


class Sites:
    """Six real sites: keys and roster in files."""

    def __init__(self, folder: Path) -> None:
        keys = {name: new_site_key(folder / f"{name}.key") for name in NAMES}
        self.roster = Roster(federation="six", verify_keys=keys, **SURVIVORS)
        write_roster(folder / "roster.json", self.roster)
        self.nodes = [
            Node(
                node_id=index + 1,
                node_config={
                    "partition-id": index,
                    "hospital": name,
                    "site-key": str(folder / f"{name}.key"),
                    "roster": str(folder / "roster.json"),
                },
            )
            for index, name in enumerate(NAMES)
        ]

    def grid(self, fails: str = "") -> Watched:
        """Return a grid whose nodes have forgotten what they answered before; one may fail in training."""
        app = ClientApp(mods=[SecAggMod(check_terms=AGREED)])

        @app.train()
        def train(message: Message, context: Context) -> Message:
            if context.node_config["hospital"] == fails:
                raise ValueError("patient 4711 has glucose 23.5")
            arrays = wire.array_record(update_of(int(context.node_config["partition-id"]), wire.arrays_in(message)))
            metrics = MetricRecord({"num-examples": 10 + int(context.node_config["partition-id"])})
            return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

        return Watched(lambda: app, self.nodes)


def test_sites_with_keys_in_files(tmp_path: Path, refusals: Any) -> None:
    sites = Sites(tmp_path)
    strategy = SecAggPlus(FedAvg(**NODES), sites.roster, max_update=8.0, max_weight=16.0)
    arrays, _ = one_round(strategy, sites.grid(fails="site-3"))
    check_mean(arrays, [0, 1, 2, 4, 5])
    # What a site's app says of its failure stays there; the log here is of both sides.
    assert "drops out at training: UpdateError: training failed at site-3: its log says why" in refusals()
    # Nodes that forgot everything still answer no round twice.
    assert one_round(strategy, sites.grid()) == (None, None)
    assert 'stage "advertise" of this round was answered before' in refusals()


@pytest.mark.parametrize("stage", ["share", "mask", "confirm", "unmask"])
def test_a_site_answers_a_stage_once_even_if_its_memory_is_put_back(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = Sites(tmp_path)
    grid, real = sites.grid(), SecAggMod.__call__
    second: list[str] = []

    def twice(self: SecAggMod, message: Message, context: Context, call_next: Any) -> Message:
        before = RecordDict({name: context.state[name] for name in context.state})
        content = RecordDict(dict(message.content.items()))
        reply = real(self, message, context, call_next)
        if content[wire.SECAGG]["stage"] == stage:  # type: ignore[index]
            after, context.state, message.content = context.state, before, content
            with pytest.raises(ProtocolError, match="was answered before") as refused:
                real(self, message, context, call_next)
            second.append(str(refused.value))
            context.state = after
        return reply

    monkeypatch.setattr(SecAggMod, "__call__", twice)
    strategy = SecAggPlus(FedAvg(**NODES), sites.roster, max_update=8.0, max_weight=16.0)
    arrays, _ = one_round(strategy, grid)
    check_mean(arrays, [0, 1, 2, 3, 4, 5])
    assert len(second) == len(NAMES)


def test_an_app_without_the_mod_is_left_out(refusals: Any) -> None:
    def mixed() -> ClientApp:
        real, bare = make_app(), ClientApp()
        bare.train()(lambda message, context: Message(RecordDict(dict(message.content.items())), reply_to=message))
        app = ClientApp()
        app.train()(lambda m, c: (bare if c.node_config["partition-id"] == 5 else real)(m, c))
        return app

    arrays, _ = one_round(secagg(), grid_of(mixed))
    check_mean(arrays, [0, 1, 2, 3, 4])
    assert "node 6" in refusals()


def test_an_impostor_is_left_out(refusals: Any) -> None:
    def impostor_site(context: Context) -> Site:
        if context.node_config["partition-id"] != 5:
            return site_of(context)
        # Another key under the name of site 0, in a roster of its own.
        return simulated_site(2, NAMES[0], NAMES, **SURVIVORS)

    def make() -> ClientApp:
        real, fake, app = make_app(), ClientApp(mods=[SecAggMod(impostor_site, check_terms=AGREED)]), ClientApp()
        fake.train()(lambda message, context: pytest.fail("it trained"))
        app.train()(lambda m, c: (fake if c.node_config["partition-id"] == 5 else real)(m, c))
        return app

    arrays, _ = one_round(secagg(), grid_of(make))
    check_mean(arrays, [0, 1, 2, 3, 4])
    assert "not who it says, hospital site-0" in refusals()


@pytest.mark.parametrize("strategy", [FedMedian(**NODES), Counting()])
def test_strategies_that_may_want_single_updates_are_refused(strategy: Any) -> None:
    with pytest.raises(ConfigError, match=r"may want every hospital's update by itself.*needs_only_sum = True"):
        SecAggPlus(strategy, ROSTER, max_update=1.0, max_weight=1.0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_update": 4.0}, "max_update = 4.0 was proposed, and 8.0 was agreed on"),
        ({"max_weight": 15.0}, "max_weight = 15.0 was proposed, and 16.0 was agreed on"),
        ({"settings": b"version 2"}, "the server's settings have another digest"),
    ],
)
def test_a_hospital_takes_bounds_and_settings_from_its_own_side(
    options: dict[str, Any], reason: str, refusals: Any
) -> None:
    """A server that chose them would learn the largest coordinate and the weight by bisection."""
    assert one_round(secagg(**options), grid_of(make_app)) == (None, None)
    assert refusals().count(reason) == len(NAMES)
    arrays, _ = one_round(secagg(**options), grid_of(lambda: make_app(**options)))
    check_mean(arrays, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("options", [{"max_update": 0.0}, {"max_weight": float("inf")}, {"max_update": float("nan")}])
def test_bounds_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be >= 1e-30 and <= 1e30"):
        secagg(**options)


def test_without_weights_that_count_the_round_is_abandoned(refusals: Any) -> None:
    def weightless() -> ClientApp:
        app = ClientApp(mods=[SecAggMod(site_of, check_terms=AGREED, weight_of=lambda message, reply: 0.0)])
        app.train()(lambda m, c: Message(RecordDict({"arrays": wire.array_record(wire.arrays_in(m))}), reply_to=m))
        return app

    assert one_round(secagg(), grid_of(weightless)) == (None, None)
    assert "weights of all hospitals sum to 0" in refusals()


def test_parameters_in_another_order_for_the_others_are_refused(refusals: Any) -> None:
    """Two biases of one shape: exchanged, they silence the first layer of whoever takes parameters as they come."""
    width = 3
    model = {
        "first": np.ones((width, width)),
        "first-bias": np.zeros(width),
        "second": np.ones((width, width)),
        "second-bias": np.full(width, -1e9),
    }
    app = ClientApp(mods=[SecAggMod(site_of, check_terms=AGREED)])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        first, first_bias, second, second_bias = wire.arrays_in(message).values()
        record = np.arange(1.0, width + 1) / 4
        alive = record @ first + first_bias > 0
        moved = first + np.outer(record, second.sum(axis=1) * alive)
        trained = dict(zip(model, (moved, first_bias, second, second_bias), strict=True))
        metrics = MetricRecord({"num-examples": 10})
        return Message(RecordDict({"arrays": wire.array_record(trained), "metrics": metrics}), reply_to=message)

    strategy, grid = secagg(), grid_of(lambda: app)
    messages = list(strategy.configure_train(1, wire.array_record(model), ConfigRecord(), grid))
    exchanged = {name: model[name] for name in ("first", "second-bias", "second", "first-bias")}
    for message in messages:
        if message.metadata.dst_node_id != 2:
            message.content = RecordDict({**message.content, wire.ARRAYS: wire.array_record(exchanged)})
    assert strategy.aggregate_train(1, grid.send_and_receive(messages)) == (None, None)
    assert refusals().count("are not those that the terms name") == len(NAMES) - 1
