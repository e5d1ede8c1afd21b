"""`wardround audit` and `wr.audit`: what is written, printed and returned."""

import json
import shutil

import pytest
from small_runs import command_line, interrupted_before_charging, small_config

import wardround
from wardround.audits.records import Audit
from wardround.config import config_to_toml
from wardround.errors import ConfigError, ProtocolError
from wardround.json_records import read_json_record
from wardround.privacy.ledger import open_ledger
from wardround.privacy.noise import GaussianNoise
from wardround.simulations.studies.study import Study


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


def test_a_run_audits_itself_as_its_settings_say_and_is_the_same_run(run, tmp_path):
    config = small_config(training={"num-rounds": 2}, audit={"canaries": 60})
    audited = wardround.run(config, out=tmp_path / "run")
    assert (audited.folder / "audit.json").is_file()
    assert "What attackers got" in (audited.folder / "report.html").read_text()
    assert audited.outcome.epsilon == run.outcome.epsilon
    assert audited.rounds.drop(columns="seconds").equals(run.rounds.drop(columns="seconds"))
    assert wardround.verify(audited)


def test_a_run_whose_bill_is_refuted_ends_with_1_and_says_why(tmp_path, capsys, monkeypatch):
    fill = GaussianNoise.fill

    def quiet(self, drawn, stddev):
        fill(self, drawn, stddev)
        drawn.mul_(0.1)

    monkeypatch.setattr(GaussianNoise, "fill", quiet)
    settings = tmp_path / "job.toml"
    config = small_config(
        training={"num-rounds": 2, "sample-rate": 1.0}, audit={"canaries": 200}, simulation={"engine": "stacked"}
    )
    settings.write_text(config_to_toml(config))
    assert command_line(monkeypatch, "run", str(settings), "--out", str(tmp_path / "run")) == 1
    printed = capsys.readouterr()
    assert "Alarm" in printed.out
    assert "alarm: " in printed.err
    assert "look at what draws it" in printed.err
    assert command_line(monkeypatch, "audit", str(tmp_path / "run"), "--canaries", "200", "--json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["is_alarm"] is True
    assert "alarm: " in printed.err
    assert "Alarm" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"audit": {"canaries": 19}}, "canaries = 19 must be >= 20"),
        ({"audit": {"canaries": 50}, "privacy": {"placement": "none", "noise-multiplier": None}}, "promises nothing"),
        ({"audit": {"canaries": 50}, "privacy": {"microbatch-size": 2}}, "clips records in groups"),
        (
            {
                "audit": {"canaries": 50},
                "privacy": {"unit": "hospital", "placement": "central", "adaptive-clipping": True},
            },
            "adaptive-clipping = true moves the clip",
        ),
        (
            {"audit": {"canaries": 50}, "privacy": {"budget-epsilon": 9.0, "on-budget": "replan"}},
            "may change the noise",
        ),
    ],
)
def test_an_audit_that_can_not_be_is_refused_before_the_run(sections, said):
    with pytest.raises(ConfigError, match=said):
        small_config(**sections)


def test_a_study_is_not_audited_run_by_run():
    with pytest.raises(ConfigError, match="has no meaning in a study"):
        Study(base=small_config(audit={"canaries": 50}), placements=("local",), noise_multipliers=(1.0,))


def test_a_damaged_audit_is_named(run, tmp_path):
    wardround.audit(run, canaries=60)
    path = run.folder / "audit.json"
    text = path.read_text()
    path.write_text(text.replace('"confidence"', '"confident"'))
    with pytest.raises(ProtocolError, match=r"audit\.json is no audit of a run"):
        wardround.report(run)
    path.write_text(text[:-9])
    with pytest.raises(ProtocolError, match=r"audit\.json is not valid JSON.*`wardround audit .*` writes it anew"):
        wardround.report(run)
    path.write_text(text)


@pytest.mark.parametrize("seed", [-1, 2**62 + 1, "x", True])
def test_a_seed_that_is_none_is_named(run, seed):
    with pytest.raises(ConfigError, match=r"seed = .* must be an integer in 0\.\.4611686018427387904"):
        wardround.audit(run, canaries=60, seed=seed)


def test_an_interrupted_run_is_not_audited_and_an_audit_of_less_is_none(run, tmp_path, monkeypatch):
    """The bill grows as a run goes on: what was seen of fewer rounds stands beside no bill of more."""
    folder = tmp_path / "run"
    config = small_config(training={"num-rounds": 2}, audit={"canaries": 60})
    with interrupted_before_charging(monkeypatch, 2):
        wardround.run(config, out=folder)
    with pytest.raises(ConfigError, match="has not come to an end: wardround resume"):
        wardround.audit(folder, canaries=60)
    other = json.loads((wardround.audit(run, canaries=60) and run.folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps(other))
    wardround.resume(folder)
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        digest = ledger.head[1]
    table = json.loads((folder / "audit.json").read_text())
    assert table["ledger_digest"] == digest != other["ledger_digest"]
    assert "What attackers got" in (folder / "report.html").read_text()
    (folder / "audit.json").write_text(json.dumps(other))
    wardround.report(folder)
    assert "What attackers got" not in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "there", "instead"),
    [("config.toml", "noise-multiplier = 1", "noise-multiplier = 9"), ("versions.txt", "flwr ", "flwr 0.")],
)
def test_a_run_that_is_not_in_order_is_not_audited(run, tmp_path, name, there, instead):
    """Its twin would be of settings that nobody ran."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    text = (folder / name).read_text()
    assert there in text
    (folder / name).write_text(text.replace(there, instead, 1))
    with pytest.raises(ProtocolError, match=f"is not in order, and no audit is made of it: .*{name}"):
        wardround.audit(folder, canaries=60)
