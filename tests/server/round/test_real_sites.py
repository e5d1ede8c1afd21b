"""A run between hospitals that answer as real sites do: nothing is measured, and the files say so and agree."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from site_runs import NAMES, config_between_sites, fingerprints_in, run_between_sites
from small_runs import charges_of, rows_of
from typer.testing import CliRunner

from wardround.cli import app
from wardround.errors import CohortError, ConfigError, ProtocolError
from wardround.leaves import LEAVES_HOSPITAL, SIMULATION_ONLY, fields_sent
from wardround.privacy.ledger import open_ledger
from wardround.server.record.verify import verify_run
from wardround.server.round.progress import RoundRow
from wardround.simulations.runs import resume

SCORES = ("loss", "accuracy", "auc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str], set[str]]:
    """A run, its summary, what its sites were asked, and every key that they sent."""
    folder = tmp_path_factory.mktemp("sites") / "run"
    asked: list[str] = []
    sent: set[str] = set()
    return folder, run_between_sites(folder, asked=asked, sent=sent), asked, sent


def test_sites_are_asked_for_no_evaluation(finished: Any) -> None:
    _, summary, asked, _ = finished
    assert summary["num_rounds"] == 2 and summary["status"] == "done"
    assert "train" in {kind.partition(".")[0] for kind in asked} and "evaluate" not in asked


def test_tables_and_summary_hold_no_score_and_no_count_of_tests(finished: Any) -> None:
    folder, summary, _, _ = finished
    for table in ("rounds.csv", "hospitals.csv"):
        assert {row[name] for row in rows_of(folder / table) for name in SCORES} == {""}
    assert summary["measured"] is False
    assert [summary[name] for name in (*SCORES, "majority_accuracy")] == [None] * 4
    for hospital in summary["hospitals"]:
        assert hospital["num_train"] > 50
        assert (hospital["num_test"], hospital["majority_accuracy"]) == (None, None)
    assert summary == json.loads((folder / "summary.json").read_text())


def test_the_server_keeps_the_best_model_by_public_records_of_its_own(tmp_path: Path) -> None:
    asked: list[str] = []
    sent: set[str] = set()
    public = np.random.default_rng(2).normal(size=(30, 30)), np.arange(30) % 2
    config = config_between_sites(training={"num-rounds": 3, "learning-rate": 2.0}, evaluation={"keep": "best"})
    with pytest.raises(KeyboardInterrupt):
        run_between_sites(tmp_path / "run", config, public=public, num_rounds=2)
    summary = run_between_sites(tmp_path / "run", config, public=public, asked=asked, sent=sent)
    losses = [float(row["public_loss"]) for row in rows_of(tmp_path / "run" / "rounds.csv")]
    assert summary["kept_round"] == losses.index(min(losses))
    assert summary["public_loss"] == min(losses) and summary["loss"] is None and summary["measured"] is False
    assert "evaluate" not in asked and not sent & {"predictions", "values", "labels", "loss"}
    assert verify_run(tmp_path / "run")[0] == []


def test_a_regressions_score_is_not_measured_either(tmp_path: Path) -> None:
    summary = run_between_sites(
        tmp_path / "run",
        config_between_sites(federation={"dataset": "synthetic-regression"}, privacy={"target-delta": 1e-6}),
    )
    assert (summary["r2"], summary["majority_r2"], summary["loss"]) == (None, None, None)
    assert "accuracy" not in summary and verify_run(tmp_path / "run")[0] == []


def test_the_summary_lists_what_the_sites_sent_and_nothing_of_simulation(finished: Any) -> None:
    _, summary, _, sent = finished
    listed = summary["leaves_hospital"]
    assert SIMULATION_ONLY not in listed.values()
    # Parameters' own names are no fields; who sent a metric is known from the reply.
    assert sent & set(LEAVES_HOSPITAL) == set(listed) - {"arrays"}


def test_what_a_site_measured_unasked_is_nowhere_in_the_run(tmp_path: Path) -> None:
    summary = run_between_sites(tmp_path / "run", is_telling=True)
    assert summary["measured"] is False and fingerprints_in(tmp_path / "run") == {""}
    assert {row[name] for row in rows_of(tmp_path / "run" / "hospitals.csv") for name in SCORES} == {""}
    with open_ledger(tmp_path / "run" / "ledger.sqlite", read_only=True) as ledger:
        committed = "".join(text for _, text in ledger.rounds())
    assert '"measures": {}' in committed and "majority_accuracy" not in committed and "num_test" not in committed


def test_the_ledger_does_not_know_the_data_and_is_in_order(finished: Any) -> None:
    folder = finished[0]
    assert fingerprints_in(folder) == {""}
    assert verify_run(folder)[0] == []


def test_the_ledger_is_shown_as_not_told(finished: Any) -> None:
    shown = [CliRunner().invoke(app, ["ledger", "show", str(finished[0]), *json_]) for json_ in ([], ["--json"])]
    entries = list(csv.DictReader(io.StringIO(shown[0].stdout)))
    assert {entry["fingerprint"] for entry in entries} == {"not told"} and len(entries) > 8
    assert {entry["fingerprint"] for entry in json.loads(shown[1].stdout)} == {"not told"}


def test_a_score_that_is_put_into_the_summary_is_found(tmp_path: Path) -> None:
    run_between_sites(tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": 0.9, "measured": True}))
    found = " ".join(verify_run(tmp_path / "run")[0])
    assert "accuracy says 0.9, the ledger gives None" in found and "measured says True" in found


def test_progress_hears_that_nothing_is_measured(tmp_path: Path) -> None:
    rows: list[RoundRow] = []
    run_between_sites(tmp_path / "run", progress=rows.append)
    assert [(row.round_number, row.loss, row.metric) for row in rows] == [(n, None, None) for n in range(3)]
    assert all(math.isfinite(row.epsilon_max) for row in rows)


def _interrupted(path: Path, num_rounds: int, **sections: dict[str, Any]) -> Any:
    training = {"num-rounds": 3} | sections.pop("training", {})
    config = config_between_sites(training=training, **sections)
    with pytest.raises(KeyboardInterrupt):
        run_between_sites(path, config, num_rounds=num_rounds)
    return config


def test_a_resumed_run_leaves_out_who_is_not_there_or_has_changed(tmp_path: Path) -> None:
    for number, changed in enumerate(("absent", "grown")):
        folder = tmp_path / changed
        config = _interrupted(folder, 1)
        last = NAMES[number]
        summary = run_between_sites(folder, config, **{changed: {last}})
        assert summary["status"] == "done" and summary["num_hospitals"] == 4
        (sentence,) = summary["left_out"]
        assert last in sentence and "is left out from there on" in sentence
        # It is charged for what it was in, and not for what it was left out of.
        charged = charges_of(folder, "planned")
        assert sorted(number for number, name in charged if name == last) == [1]
        assert sorted(number for number, name in charged if name == NAMES[3]) == [1, 2, 3]
        assert verify_run(folder)[0] == []


def test_who_was_left_out_stays_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = _interrupted(folder, 1)
    with pytest.raises(KeyboardInterrupt):
        run_between_sites(folder, config, absent={NAMES[2]}, num_rounds=2)
    summary = run_between_sites(folder, config)
    rows = [row for row in rows_of(folder / "hospitals.csv") if row["hospital"] == NAMES[2]]
    assert [row["selected"] for row in rows] == ["0", "1", "0", "0"]
    assert summary["status"] == "done" and verify_run(folder)[0] == []


def test_a_resumed_run_of_all_sites_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = _interrupted(folder, 1)
    before = load_file(folder / "model.safetensors")
    summary = run_between_sites(folder, config)
    after = load_file(folder / "model.safetensors")
    assert summary["left_out"] == [] and summary["num_rounds"] == 3
    assert any((before[name] != after[name]).any() for name in before)
    assert verify_run(folder)[0] == []


def test_another_roster_is_another_run(tmp_path: Path) -> None:
    """Its sites draw their cohorts from its names: they would refuse the rounds of the old ones."""
    config = _interrupted(tmp_path / "run", 1)
    with pytest.raises(ConfigError, match="the roster had 4 names when the run began, and differs in hospital-05"):
        run_between_sites(tmp_path / "run", config, names=(*NAMES, "hospital-05"))


def test_too_few_sites_are_not_charged_for_rounds_that_can_not_be(tmp_path: Path) -> None:
    config = _interrupted(tmp_path / "run", 1)
    before = charges_of(tmp_path / "run", "planned")
    with pytest.raises(
        CohortError, match="2 sites can take part, and min-survivors = 3 are needed: hospital-01 is left"
    ):
        run_between_sites(tmp_path / "run", config, absent={NAMES[0], NAMES[1]})
    message = "2 of the run's 4 sites are there as they were when it began, and min-survivors = 3 are needed"
    with pytest.raises(CohortError, match=message):
        run_between_sites(tmp_path / "run", config, grown={NAMES[0], NAMES[1]})
    assert charges_of(tmp_path / "run", "planned") == before


def test_a_simulation_does_not_take_up_a_run_between_sites(tmp_path: Path) -> None:
    _interrupted(tmp_path / "run", 1)
    before = charges_of(tmp_path / "run", "planned")
    with pytest.raises(ConfigError, match="is a run between real sites, and here is none of them: start the server"):
        resume(tmp_path / "run")
    assert charges_of(tmp_path / "run", "planned") == before and verify_run(tmp_path / "run")[0] == []


def test_other_settings_are_another_run(tmp_path: Path) -> None:
    _interrupted(tmp_path / "run", 1)
    with pytest.raises(ConfigError, match="was changed since the run began"):
        run_between_sites(tmp_path / "run", config_between_sites(training={"num-rounds": 3, "learning-rate": 0.25}))


def test_schedule_decay_and_weights_are_a_real_sites_own_and_change_what_is_trained(tmp_path: Path) -> None:
    """Without noise or drawn batches, so that two runs alike end alike."""
    models = {}
    for name, own in {
        "plain": {},
        "again": {},
        "schedule": {"learning-rate-schedule": "step"},
        "decay": {"weight-decay": 0.1},
        "weights": {"loss-weights": [1.0, 9.0]},
    }.items():
        config = config_between_sites(
            training={"num-rounds": 2, "learning-rate": 0.5, "sample-rate": 1.0, **own},
            privacy={"placement": "none", "noise-multiplier": None},
        )
        run_between_sites(tmp_path / name, config)
        assert verify_run(tmp_path / name)[0] == []
        models[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert models["plain"] == models.pop("again")
    assert len(set(models.values())) == len(models)


def test_a_server_without_a_roster_refuses_what_real_sites_send(tmp_path: Path) -> None:
    """It would draw keys and noise from the seed, and show an empty page for scores that it expects."""
    with pytest.raises(ProtocolError, match="hospital-01 sends what a real site sends, and the server has no roster"):
        run_between_sites(tmp_path / "run", has_roster=False)


@pytest.mark.parametrize("failed", [False, True])
def test_the_list_of_a_real_sites_fields_has_no_text_but_a_refusal(failed: bool) -> None:
    listed = fields_sent(protocol="secagg+", task="classification", failed=failed, are_sites=True)
    assert ("refusal" in listed) == failed and "error" not in listed
    simulated = fields_sent(protocol="secagg+", task="classification", failed=failed)
    assert ("error" in simulated) == failed and "refusal" not in simulated
