"""What simulated hospitals answer in one program, and who of them is left to be asked alone."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from small_runs import small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.joint_answers import TogetherApp
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.rounds import Evaluation
from wardround.simulations.engines.flower_internals import give_id, take_identity
from wardround.simulations.prepared import prepare
from wardround.strategies import strategy_of
from wardround.wire_arrays import predictions_of

_FEDERATION = load_federation(small_config().federation)


def app_of(config: Config) -> TogetherApp:
    take_identity()
    app = make_client_app(config, _FEDERATION)
    assert isinstance(app, TogetherApp)
    return app


def model_of(config: Config) -> dict[str, Any]:
    return prepare(config, strategy_of(config)).initial


def asked(kind: str, arrays: list[Any], partitions: list[int]) -> tuple[list[Message], list[Context]]:
    sent = []
    for index, record in enumerate(arrays):
        content = RecordDict({} if record is None else {wire.ARRAYS: record})
        sent.append(give_id(Message(content, dst_node_id=index + 1, message_type=kind), f"message-{index}"))
    contexts = [Context(1, index + 1, {"partition-id": n}, RecordDict(), {}) for index, n in enumerate(partitions)]
    return sent, contexts


def test_everyone_who_is_sent_one_model_tests_it_together() -> None:
    config = small_config()
    app, record = app_of(config), wire.array_record(model_of(config))
    sent, contexts = asked("evaluate", [record] * 3, [0, 1, 2])
    for message, context, reply in zip(sent, contexts, app.answer_together(sent, contexts), strict=True):
        assert reply is not None
        alone = app(message, context)
        assert list(reply.content) == list(alone.content)
        found, right = (wire.read_metrics(Evaluation, each, "a") for each in (reply, alone))
        assert (found.num_examples, found.score) == (right.num_examples, right.score)
        assert (found.loss, found.auc) == pytest.approx((right.loss, right.auc), abs=1e-6)
        values, wanted = (predictions_of(each.content[wire.PREDICTIONS]) for each in (reply, alone))
        np.testing.assert_allclose(values.values, wanted.values, atol=1e-6)
        np.testing.assert_array_equal(values.labels, wanted.labels)


def test_each_model_that_is_sent_is_tested_by_those_who_got_it() -> None:
    config = small_config()
    app, arrays = app_of(config), model_of(config)
    other = {name: array + np.float32(0.5) for name, array in arrays.items()}
    records = [wire.array_record(model) for model in (arrays, other)]
    sent, contexts = asked("evaluate", [records[0], records[1], records[0]], [0, 1, 2])
    losses = [reply.content[wire.METRICS]["loss"] for reply in app.answer_together(sent, contexts) if reply is not None]
    alone = [app(*one).content[wire.METRICS]["loss"] for one in zip(sent, contexts, strict=True)]
    assert losses == pytest.approx(alone, abs=1e-6)


def test_who_does_not_exist_or_gets_no_model_is_asked_alone_and_the_others_are_not_touched() -> None:
    config = small_config()
    app, record = app_of(config), wire.array_record(model_of(config))
    sent, contexts = asked("evaluate", [record, None, record, record], [0, 1, 7, 2])
    assert [reply is None for reply in app.answer_together(sent, contexts)] == [False, True, True, False]


def test_a_model_whose_own_code_decides_what_a_batch_is_is_tested_alone(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "batch_reader.py").write_text(
        "from torch import nn\n"
        "class Centred(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.last = nn.Linear(30, 2)\n"
        "    def forward(self, batch):\n"
        "        return self.last(batch - batch.mean(0))\n"
        "def build(input_shape, num_outputs):\n"
        "    return Centred()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    privacy = {"placement": "none", "noise-multiplier": None, "target-delta": None}
    config = small_config(model={"name": "batch_reader:build"}, privacy=privacy)
    app, record = app_of(config), wire.array_record(model_of(config))
    sent, contexts = asked("evaluate", [record] * 3, [0, 1, 2])
    assert app.answer_together(sent, contexts) == [None] * 3


def test_a_query_is_answered_alone() -> None:
    sent, contexts = asked("query.profile", [None] * 3, [0, 1, 2])
    assert app_of(small_config()).answer_together(sent, contexts) == [None] * 3
