"""The ClientApp around training: who a hospital is, what it sends, what it refuses."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from made_up import flat_assignment
from small_runs import small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.models import build_model, parameters_of
from wardround.rounds import Assignment, ProfileMeasures
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node

_CONFIG = small_config()
_FEDERATION = load_federation(_CONFIG.federation)


def asking(config: Config = _CONFIG, **node_config: str) -> Callable[..., Message]:
    """Return what sends a message to a hospital whose settings are the config, and returns its reply."""
    nodes = [Node(node_id=index + 1, node_config={"partition-id": index, **node_config}) for index in range(3)]
    grid = InlineGrid(lambda: make_client_app(config, _FEDERATION), nodes)

    def send(
        kind: str,
        node: int,
        arrays: Any,
        assignment: Assignment | None = None,
        written: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> Message:
        content = RecordDict({wire.CONFIG: ConfigRecord({k.replace("_", "-"): v for k, v in config.items()})})
        if arrays is not None:
            content[wire.ARRAYS] = wire.array_record(arrays)
        message = Message(content, dst_node_id=node, message_type=kind)
        if assignment is not None:
            wire.with_assignment(message, assignment)
            content = RecordDict(dict(message.content.items()))
            content[wire.ASSIGNMENT] = ConfigRecord({**content[wire.ASSIGNMENT], **(written or {})})
            message.content = content
        (reply,) = grid.send_and_receive([message])
        return reply

    return send


@pytest.fixture
def ask() -> Callable[..., Message]:
    return asking()


@pytest.fixture
def arrays() -> dict[str, Any]:
    model, _ = build_model(_CONFIG.model, input_shape=(30,), num_outputs=2, seed=1, private=True)
    return {key: array.copy() for key, array in parameters_of(model).items()}


def _assignment(index: int = 0, **changes: Any) -> Assignment:
    hospital = _FEDERATION.hospitals[index]
    return flat_assignment(
        **{
            "hospital_id": hospital.hospital_id,
            "round_number": 1,
            "sample_rate": 0.1,
            "expected_batch_size": 0.1 * hospital.num_train,
            "num_steps": 2,
            "noise_multiplier": 1.0,
            "max_grad_norm": 1.0,
            "weight": 0.3,
            **changes,
        }
    )


def test_a_profile_says_what_the_hospital_holds(ask: Callable[..., Message]) -> None:
    for index, hospital in enumerate(_FEDERATION.hospitals):
        profile = wire.read_profile(ask("query.profile", index + 1, None))
        assert profile == hospital_profile(hospital, _FEDERATION)
        measures = wire.read_measures(ProfileMeasures, ask("query.profile", index + 1, None))
        assert measures is not None and measures.num_test == len(hospital.test_labels)
        majority = np.bincount(hospital.train_labels).argmax()
        assert measures.majority_score == float((hospital.test_labels == majority).mean())
        assert measures.fingerprint == hospital.fingerprint


def test_regression_baseline_is_the_r2_of_the_mean() -> None:
    config = small_config(federation={"dataset": "synthetic-regression", "num-hospitals": 200})
    federation = load_federation(config.federation)
    profile = hospital_profile(federation.hospitals[0], federation)
    assert -0.2 < profile_measures(federation.hospitals[0], federation.task).majority_score <= 0.0
    assert (profile.task, profile.num_outputs) == ("regression", 1)


def test_hospitals_do_not_disturb_each_other(ask: Callable[..., Message], arrays: dict[str, Any]) -> None:
    first = ask("train", 1, arrays, _assignment(0))
    other = ask("train", 2, arrays, _assignment(1))
    again = ask("train", 1, arrays, _assignment(0))
    trained = [wire.arrays_in(reply) for reply in (first, other, again)]
    for name in arrays:
        np.testing.assert_array_equal(trained[0][name], trained[2][name])
        assert not np.array_equal(trained[0][name], trained[1][name])


def test_noise_and_batches_are_new_in_every_round(ask: Callable[..., Message], arrays: dict[str, Any]) -> None:
    one, two = (wire.arrays_in(ask("train", 1, arrays, _assignment(round_number=number))) for number in (1, 2))
    assert not np.array_equal(one["1.bias"], two["1.bias"])


def test_what_was_sent_is_not_written_to(ask: Callable[..., Message], arrays: dict[str, Any]) -> None:
    before = {name: array.copy() for name, array in arrays.items()}
    ask("train", 1, arrays, _assignment())
    ask("evaluate", 1, arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_the_proximal_pull_arrives(arrays: dict[str, Any]) -> None:
    ask = asking(small_config(training={"local-steps": 30}, privacy={"noise-multiplier": 0.0}))

    def moved(mu: float) -> float:
        reply = ask("train", 1, arrays, _assignment(num_steps=30, noise_multiplier=0.0), proximal_mu=mu)
        return math.dist(wire.arrays_in(reply)["1.weight"].ravel(), arrays["1.weight"].ravel())

    assert moved(1.0) < moved(0.0)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("train", {"assignment": None}, "ProtocolError: the message carries no assignment"),
        ("train", {"arrays": None}, "ProtocolError: the message carries no arrays"),
        ("train", {"arrays": {"1.weight": np.zeros((2, 30), np.float32)}}, "UpdateError"),
        ("train", {"arrays": {"1.weight": np.zeros((2, 3)), "1.bias": np.zeros(2)}}, "UpdateError"),
        ("evaluate", {"arrays": None}, "ProtocolError: the message carries no arrays"),
        ("train", {"assignment": _assignment(sample_rate=0.11)}, "sample_rate = 0.11, and this hospital's settings"),
        ("train", {"assignment": _assignment(expected_batch_size=1e30)}, "expected_batch_size = 1e+30"),
        ("train", {"assignment": _assignment(num_steps=3)}, "num_steps = 3, and this hospital's settings say 2"),
        ("train", {"assignment": _assignment(max_grad_norm=1e-9)}, "max_grad_norm = 1e-09"),
        ("train", {"assignment": _assignment(max_grad_norm=None)}, "cell = none, and this hospital's settings say"),
        ("train", {"assignment": _assignment(placement="central")}, "cell = record-central"),
        ("train", {"assignment": _assignment(noise_multiplier=0.99)}, "noise_multiplier must be >= 1.0 and <= 1e+07"),
        ("train", {"written": {"event-noise-multiplier": math.inf}}, "noise-multiplier"),
        (
            "train",
            {"written": {"event-cell": "record-nowhere"}},
            "cell = record-nowhere, and this hospital's settings say record-local",
        ),
        ("train", {"assignment": _assignment(attempt=0)}, "attempt must be >= 1, not 0"),
        ("train", {"assignment": _assignment(1)}, "hospital-02"),
    ],
)
def test_refusals(
    kind: str, changes: dict[str, Any], reason: str, ask: Callable[..., Message], arrays: dict[str, Any]
) -> None:
    reply = ask(kind, 1, **{"arrays": arrays, "assignment": _assignment(), **changes})
    assert reply.has_error()
    assert reason in reply.error.reason


def test_noise_cannot_be_left_out_where_epsilon_is_the_target(arrays: dict[str, Any]) -> None:
    ask = asking(small_config(privacy={"noise-multiplier": None, "target-epsilon": 2.0}))
    reply = ask("train", 1, arrays, _assignment(noise_multiplier=0.0))
    assert "noise_multiplier must be > 0 with a target epsilon" in reply.error.reason
