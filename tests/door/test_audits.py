"""`wardround audit` and `wr.audit`: what is written, printed and returned."""

import json

import pytest
from small_runs import command_line, small_config

import wardround
from wardround.audits.records import Audit
from wardround.errors import ConfigError
from wardround.json_records import read_json_record


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = small_config(training={"num-rounds": 2})
    return wardround.run(config, out=tmp_path_factory.mktemp("audited") / "run")


def test_an_audit_is_written_beside_the_runs_files_and_read_back(run):
    found = wardround.audit(run, canaries=60)
    table = json.loads((run.folder / "audit.json").read_text())
    assert read_json_record(Audit, table) == found
    assert set(table["hospitals"]) == set(run.outcome.epsilon.hospitals)
    for name, hospital in table["hospitals"].items():
        assert hospital["epsilon"] == pytest.approx(run.outcome.epsilon.hospitals[name])
        assert {"epsilon_lower", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "readers"} <= set(hospital)
        assert set(hospital["readers"]) == {"server", "hospital", "recipient"}
    assert wardround.verify(run)


def test_an_audit_is_the_same_twice_and_another_with_another_seed(run):
    once, twice = (wardround.audit(run, canaries=60).hospitals for _ in range(2))
    assert once == twice
    assert wardround.audit(run, canaries=60, seed=8).hospitals != once


def test_the_command_prints_what_was_found(run, capsys, monkeypatch):
    assert command_line(monkeypatch, "audit", str(run.folder), "--canaries", "60") == 0
    printed = capsys.readouterr()
    assert "seen at" in printed.out
    assert "audit.json" in printed.out
    assert "INFO" not in printed.err


def test_the_command_prints_json(run, capsys, monkeypatch):
    assert command_line(monkeypatch, "audit", str(run.folder), "--canaries", "60", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_canaries"] == 60


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        wardround.audit(tmp_path)


def test_a_central_run_promises_nothing_against_its_server(tmp_path):
    config = small_config(
        training={"num-rounds": 2, "local-steps": None}, privacy={"placement": "central", "noise-multiplier": 2.0}
    )
    found = wardround.audit(wardround.run(config, out=tmp_path / "run"), canaries=60)
    server = found.hospitals["hospital-01"].readers["server"]
    assert (server.epsilon, server.epsilon_lower) == (float("inf"), None)
    assert found.hospitals["hospital-01"].readers["recipient"].epsilon_lower is not None
