"""What simulated hospitals answer in one program, and who of them is left to be asked alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from small_runs import small_config
from torch import nn

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.joint_answers import TogetherApp
from wardround.clients.stacked.together import apart_because
from wardround.clients.trainers import hospital_tensors
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import Refusal
from wardround.exact_sums import FRACTION_BITS, FixedSum, Summed, accumulate
from wardround.privacy.cells import cell_named
from wardround.rounds import Evaluation, Execution
from wardround.server.plan.planning import assign_round
from wardround.simulations.engines.flower_internals import give_id, take_identity
from wardround.simulations.prepared import plan, prepare
from wardround.strategies import hospital_side_of, strategy_of
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


def training(config: Config, changes: dict[int, dict[str, Any]] | None = None) -> Any:
    """Return the messages of round 1 to train, and their contexts; assignments may be changed by place."""
    prepared = prepare(config, strategy_of(config))
    assigned = assign_round(prepared.plan, prepared.plan.names, 1, prepared.plan.noise_multipliers)
    sent, contexts = asked("train", [wire.array_record(prepared.initial)] * 3, [0, 1, 2])
    for place, (message, assignment) in enumerate(zip(sent, assigned, strict=True)):
        wire.with_assignment(message, replace(assignment, **(changes or {}).get(place, {})))
    return sent, contexts


def test_hospitals_train_together_and_report_what_each_executed_as_they_do_alone() -> None:
    config = small_config()
    app, (sent, contexts) = app_of(config), training(config)
    for message, context, reply in zip(sent, contexts, app.answer_together(sent, contexts), strict=True):
        assert reply is not None
        alone = app(message, context)
        assert list(reply.content) == list(alone.content)
        assert reply.content[wire.METRICS].keys() == alone.content[wire.METRICS].keys()
        name = wire.assignment_of(message).hospital_id
        assert wire.read_metrics(Execution, reply, name) == wire.read_metrics(Execution, alone, name)
        for key, array in wire.arrays_in(reply).items():
            # Sums made together differ in their last bits from those made alone, so that the noise is another.
            assert np.abs(array - wire.arrays_in(alone)[key]).max() > 1e-3


def config_of(cell: str) -> Config:
    """Return settings of a cell."""
    if cell == "none":
        return small_config(privacy={"placement": "none", "noise-multiplier": None})
    unit, _, placement = cell.partition("-")
    aggregation = {"protocol": "secure-sum"} if placement == "distributed" else {}
    steps = 1 if cell_named(cell).sends_sum else 3
    return small_config(
        privacy={"unit": unit, "placement": placement}, aggregation=aggregation, training={"local-steps": steps}
    )


def asked_to_sum(sent: list[Message], values: list[dict[str, Any]]) -> None:
    for message, config in zip(sent, values, strict=True):
        message.content[wire.CONFIG] = ConfigRecord(config)


@pytest.mark.parametrize("cell", ["none", "record-local", "record-central", "hospital-local", "hospital-central"])
def test_what_is_to_be_summed_is_in_the_sum_and_in_no_reply(cell: str) -> None:
    config = config_of(cell)
    app, (sent, contexts) = app_of(config), training(config)
    apart = app.answer_together(sent, contexts)
    weights, expected = (0.5, 0.3, 0.125), FixedSum()
    for reply, weight in zip(apart, weights, strict=True):
        assert reply is not None
        accumulate(expected, wire.arrays_in(reply), weight)
    asked_to_sum(sent, [{wire.SUM_WEIGHT: weight} for weight in weights])
    summed = Summed()
    replies = app.answer_together(sent, contexts, summed)
    assert summed.node_ids == {context.node_id for context in contexts}
    assert summed.total.keys() == expected.keys()
    for name, array in expected.items():
        # A product that clips is rounded once there, and twice where each leaves by itself.
        largest = max(np.abs(wire.arrays_in(reply)[name]).max() for reply in apart if reply is not None)
        within = 2**-23 * largest * 2**FRACTION_BITS if cell == "hospital-central" else 0
        assert np.abs(summed.total[name] - array).max() <= within
    for reply, other in zip(replies, apart, strict=True):
        assert reply is not None and other is not None
        assert wire.ARRAYS not in reply.content
        assert wire.read_metrics(Execution, reply, "x") == wire.read_metrics(Execution, other, "x")


@pytest.mark.parametrize("cell", ["record-distributed", "hospital-distributed"])
def test_residues_are_in_each_reply(cell: str) -> None:
    config = config_of(cell)
    app, (sent, contexts) = app_of(config), training(config)
    asked_to_sum(sent, [{wire.SUM_RESIDUES: True}] * 3)
    summed = Summed()
    replies = app.answer_together(sent, contexts, summed)
    assert not summed.node_ids and not summed.total
    assert all(reply is not None and wire.arrays_in(reply) for reply in replies)


def test_the_noise_hangs_on_everyone_who_trains_together() -> None:
    config = small_config()
    app, (sent, contexts) = app_of(config), training(config)
    whole, part, again = (app.answer_together(sent[:n], contexts[:n]) for n in (3, 2, 3))
    arrays, others, same = (wire.arrays_in(replies[0]) for replies in (whole, part, again) if replies[0] is not None)
    for name, array in arrays.items():
        assert np.abs(array - others[name]).max() > 1e-3
        assert np.array_equal(array, same[name])


@pytest.mark.parametrize("change", [{"max_grad_norm": 5.0}, {"hospital_id": "hospital-01"}, {"round_number": 99}])
def test_an_assignment_that_is_not_as_the_settings_say_is_that_hospitals_refusal_alone(change: Any) -> None:
    config = small_config()
    app, (sent, contexts) = app_of(config), training(config, {1: change})
    assert [reply is None for reply in app.answer_together(sent, contexts)] == [False, True, False]
    with pytest.raises(Refusal):
        app(sent[1], contexts[1])


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"aggregation": {"protocol": "secagg+", "min-survivors": 2}}, "each masks what it sends by itself"),
        ({"training": {"grad-sample-mode": "functorch"}}, 'the settings ask for grad-sample-mode = "functorch"'),
        ({"aggregation": {"strategy": "scaffold:scaffold"}}, "the strategy has a part at the hospitals"),
    ],
)
def test_whoever_trains_alone_is_told_why(
    sections: dict[str, Any], reason: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    config = small_config(**sections | {"simulation": {"engine": "stacked"}})
    said: list[str] = []
    prepared = prepare(config, strategy_of(config), said.append)
    (sentence,) = [text for text in said if text.startswith("hospitals train")]
    assert sentence.startswith("hospitals train one by one, since ") and reason in sentence
    assert sentence in prepared.facts.notes and sentence in plan(config).notes
    app = make_client_app(config, _FEDERATION, hospital_side_of(prepared.strategy))
    sent, contexts = training(config)
    assert isinstance(app, TogetherApp) and app.answer_together(sent, contexts) == [None] * 3


def test_a_run_of_one_program_says_so_and_how_gradients_by_record_are_made() -> None:
    said: list[str] = []
    config = small_config(simulation={"engine": "stacked"})
    facts = prepare(config, strategy_of(config), said.append).facts
    assert "hospitals train together, in one program" in said and said[-1] in facts.notes
    assert facts.grad_sample_mode == "stacked" and "in closed form" in str(facts.grad_sample_reason)
    assert "hospitals train together, in one program" in plan(config).notes
    one_by_one = prepare(small_config(), strategy_of(small_config())).facts
    assert one_by_one.grad_sample_mode == "closed-form" and not [
        note for note in one_by_one.notes if "together" in note
    ]


class Wide(nn.Module):
    """A model whose forward is not a known one, and whose program fits the caches for few records at a time."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.first, self.hidden = nn.Linear(num_features, 96), nn.Linear(96, 96)
        self.last = nn.Linear(96, num_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.hidden(torch.tanh(self.first(features)))))


def wide_model(input_shape: Sequence[int], num_outputs: int) -> nn.Module:
    return Wide(input_shape[0], num_outputs)


def test_a_run_says_how_many_train_together_where_batches_decide() -> None:
    config = small_config(
        federation={"num-hospitals": 3, "partition": "quantity"},
        model={"name": f"{__name__}:wide_model"},
        training={"sample-rate": 0.5},
        simulation={"engine": "stacked"},
    )
    prepared = prepare(config, strategy_of(config))
    assigned = assign_round(prepared.plan, prepared.plan.names, 1, prepared.plan.noise_multipliers)
    alone = [
        assignment.hospital_id
        for assignment, hospital in zip(assigned, prepared.federation.hospitals, strict=True)
        if apart_because(prepared.trainer, hospital_tensors(hospital, torch.device("cpu")), assignment, None)
    ]
    assert 0 < len(alone) < 3
    (sentence,) = [note for note in prepared.facts.notes if "train together" in note]
    assert sentence.startswith(f"{3 - len(alone)} of 3 hospitals train together, the others one by one, since ")
    assert prepared.facts.grad_sample_mode != "stacked"


def test_a_query_is_answered_alone() -> None:
    sent, contexts = asked("query.profile", [None] * 3, [0, 1, 2])
    assert app_of(small_config()).answer_together(sent, contexts) == [None] * 3
