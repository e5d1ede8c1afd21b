"""What is said to leave a hospital is what did: in every protocol and task, no more and no less."""

import ast
import re
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from grid_runs import run_over
from small_runs import profiles_of, small_config

from wardround import wire
from wardround.errors import ProtocolError
from wardround.leaves import (
    FORMERLY_SENT,
    GROUNDS,
    INDEPENDENT,
    LEAVES_HOSPITAL,
    PUBLIC,
    SENTENCES,
    SIMULATION_ONLY,
    fields_sent,
)
from wardround.rounds import Evaluation, Execution, HospitalProfile, ProfileMeasures, TrainingMeasures
from wardround.secagg.records import Advertisement, Confirmation, Shares, UnmaskShares
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.runs import run
from wardround.typed_records import keys_of

SENT_BY_REAL_SITES = (HospitalProfile, Execution)
STAGES_OF_REAL_SITES = (Advertisement, Shares, Confirmation, UnmaskShares)
MEASURED_IN_SIMULATION = (ProfileMeasures, TrainingMeasures, Evaluation)
_SECURE = {"protocol": "secagg+", "min-survivors": 3}


class ListeningGrid(InlineGrid):
    """Notes the keys of all that comes from hospitals in `given`."""

    given: set[str]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Any:
        replies = list(super().send_and_receive(messages, timeout=timeout))
        for reply in replies:
            for name, record in reply.content.items():
                self.given.update({name} if isinstance(record, ArrayRecord) else set(record))
        return replies


def listening(make_app: Any, nodes: Any, sent: set[str]) -> ListeningGrid:
    """Return a grid that notes in `sent`."""
    grid = ListeningGrid(make_app, nodes)
    grid.given = sent
    return grid


@pytest.mark.parametrize("dataset", ["breast-cancer", "synthetic-regression"])
@pytest.mark.parametrize("aggregation", [{}, _SECURE], ids=["plain", "secagg+"])
def test_the_summary_lists_the_fields_that_were_sent(tmp_path: Path, dataset: str, aggregation: dict[str, Any]) -> None:
    sent: set[str] = set()
    config = small_config(
        federation={"dataset": dataset},
        training={"num-rounds": 1},
        aggregation=aggregation,
        privacy={"target-delta": 1e-5},
    )
    summary = run_over(tmp_path / "run", config, partial(listening, sent=sent))
    listed = summary.leaves_hospital
    missing = sent - set(listed) - {"auc"}  # of a regression it is sent as "not a number"
    assert missing == set()
    assert ("sealing-key" in listed) == ("sealing-key" in sent) == bool(aggregation)
    assert ("auc" in listed) == (dataset == "breast-cancer")
    assert ("test-mean" in listed) == ("test-mean" in sent) == (dataset != "breast-cancer")
    assert "predictions" in sent


def _keys(*kinds: Any) -> set[str]:
    return {key for kind in kinds for key in keys_of(kind)}


def test_what_a_real_site_sends_has_no_field_of_simulation() -> None:
    assert {LEAVES_HOSPITAL[key] for key in _keys(*SENT_BY_REAL_SITES)} == {PUBLIC}
    assert {LEAVES_HOSPITAL[key] for key in _keys(*STAGES_OF_REAL_SITES)} == {PUBLIC, INDEPENDENT}


def test_no_real_site_sends_a_prediction() -> None:
    assert LEAVES_HOSPITAL["predictions"] == SIMULATION_ONLY
    listed = fields_sent(protocol="secagg+", task="classification", failed=True, are_sites=True)
    assert not {"predictions", "test-mean", "test-spread", "majority-error"} & set(listed)


def test_what_is_measured_has_the_fields_of_simulation_and_no_other() -> None:
    measured = {key for key, ground in LEAVES_HOSPITAL.items() if ground == SIMULATION_ONLY}
    # Whose score it is, is known from who replies; the text of an error and arrays are no fields of a record.
    assert _keys(*MEASURED_IN_SIMULATION) - {"hospital-id"} == measured - {"error", "predictions"}
    assert not _keys(*MEASURED_IN_SIMULATION) - {"hospital-id"} & _keys(*SENT_BY_REAL_SITES)


def test_the_documents_list_what_a_real_site_sends_and_no_more() -> None:
    text = (Path(__file__).parents[1] / "docs" / "privacy.md").read_text(encoding="utf-8")
    section = text.split("## What a real site sends")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    told = {key for row in rows for key in re.findall(r"`([a-z-]+)`", row.split(" | ")[1])}
    listed = fields_sent(protocol="secagg+", task="classification", failed=True, are_sites=True, release="private")
    assert told == set(listed)
    # What its replies are made of is all that is listed.
    assert _keys(*SENT_BY_REAL_SITES, *STAGES_OF_REAL_SITES) | {"arrays", "refusal"} == set(listed)


def test_what_makes_a_real_sites_reply_takes_no_measures() -> None:
    for made, told in ((wire.profile_reply, HospitalProfile), (wire.execution_reply, Execution)):
        taken = get_type_hints(made)
        assert told in taken.values() and not set(taken.values()) & set(MEASURED_IN_SIMULATION)


def test_the_modules_of_a_real_site_make_no_reply_of_a_simulated_one() -> None:
    made = {}
    clients = Path(wire.__file__).parent / "clients"
    for path in (clients / "hospital_app.py", *clients.glob("site_*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        made[path.name] = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert {"profile_reply", "execution_reply"} <= made["site_app.py"]
    for names in made.values():
        assert not names & {"simulated_profile_reply", "simulated_execution_reply", "evaluation_reply"}


def test_a_record_with_more_fields_sends_no_more_in_a_real_sites_reply() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Telling(HospitalProfile):
        loss: float
        patient: str

    (profile,) = (replace(each, num_scored=20) for each in profiles_of([100]))
    message = Message(RecordDict(), dst_node_id=1, message_type="query.profile")
    values = {item.name: getattr(profile, item.name) for item in fields(profile)}
    reply = wire.profile_reply(Telling(**values, loss=0.5, patient="north"), message)
    assert set(reply.content[wire.PROFILE]) == _keys(HospitalProfile)
    assert wire.read_measures(ProfileMeasures, reply) is None


def test_measures_with_a_field_that_is_not_on_the_list_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Telling(TrainingMeasures):
        patient: str

    measures = Telling(num_examples=1, num_scrubbed=0, loss=0.5, seconds=1.0, patient="Ada")
    execution = Execution(
        hospital_id="north", round_number=1, sample_rate=0.5, num_steps=1, num_noise_draws=1, noise_multiplier=1.0
    )
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    with pytest.raises(ProtocolError, match="patient must not leave a hospital"):
        wire.simulated_execution_reply(execution, measures, {}, message)


def test_every_field_has_grounds_with_a_meaning_and_a_sentence_of_its_own() -> None:
    assert set(SENTENCES) == set(LEAVES_HOSPITAL) | set(FORMERLY_SENT)
    assert not set(LEAVES_HOSPITAL) & set(FORMERLY_SENT)
    assert set(LEAVES_HOSPITAL.values()) == set(GROUNDS)
    assert all(GROUNDS.values())
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    for name, sentence in SENTENCES.items():
        assert len(sentence.split()) > 2 and (name not in sentence or "-" not in name)


@pytest.mark.parametrize("dropout_rate", [0.0, 0.9])
def test_the_text_of_an_error_is_listed_where_a_hospital_may_have_sent_one(tmp_path: Path, dropout_rate: float) -> None:
    config = small_config(training={"num-rounds": 2}, simulation={"dropout-rate": dropout_rate})
    summary = run(config, out=tmp_path / "run").summary
    assert ("error" in summary["leaves_hospital"]) == bool(summary["left_out"]) == bool(dropout_rate)
