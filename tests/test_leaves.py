"""What is said to leave a hospital is what did: in every protocol and task, no more and no less."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord
from small_runs import small_config

from wardround.leaves import GROUNDS, LEAVES_HOSPITAL, SENTENCES
from wardround.simulations.inline import InlineGrid
from wardround.simulations.runs import run

_SECURE = {"protocol": "secagg+", "min-survivors": 3}


@pytest.mark.parametrize("dataset", ["breast-cancer", "synthetic-regression"])
@pytest.mark.parametrize("aggregation", [{}, _SECURE], ids=["plain", "secagg+"])
def test_the_summary_lists_the_fields_that_were_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str, aggregation: dict[str, Any]
) -> None:
    sent: set[str] = set()
    real = InlineGrid.send_and_receive

    def listening(self: Any, *args: Any, **options: Any) -> Any:
        replies = list(real(self, *args, **options))
        for reply in replies:
            for name, record in reply.content.items():
                sent.update({name} if isinstance(record, ArrayRecord) else set(record))
        return replies

    monkeypatch.setattr(InlineGrid, "send_and_receive", listening)
    config = small_config(
        federation={"dataset": dataset},
        training={"num-rounds": 1},
        aggregation=aggregation,
        privacy={"target-delta": 1e-5},
    )
    listed = run(config, out=tmp_path / "run").summary["leaves_hospital"]
    missing = sent - set(listed) - {"auc"}  # of a regression it is sent as "not a number"
    assert missing == set()
    assert ("sealing-key" in listed) == ("sealing-key" in sent) == bool(aggregation)
    assert ("auc" in listed) == (dataset == "breast-cancer")


def test_every_field_has_grounds_with_a_meaning_and_a_sentence_of_its_own() -> None:
    assert set(SENTENCES) == set(LEAVES_HOSPITAL)
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
