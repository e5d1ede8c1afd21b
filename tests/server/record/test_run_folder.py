"""Files that appear whole or not at all."""

import errno
import fcntl
import itertools
import json
import math
import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

from wardround.errors import ConfigError, ProtocolError, WardroundError
from wardround.json_records import read_json_record
from wardround.reports.report import write_report
from wardround.server.record.records import Outcome, RoundFigures, RoundRecord, Saved
from wardround.server.record.run_folder import RunFolder, create_run_folder, default_run_path, open_run_folder
from wardround.server.record.summaries import Summary
from wardround.server.record.tables import HospitalLines
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run

_FIGURES = RoundFigures(
    round=1,
    num_selected=0,
    num_completed=0,
    loss=None,
    score=None,
    auc=None,
    epsilon_max=0.0,
    epsilon_total=0.0,
    seconds=0.5,
)
RECORD = RoundRecord(
    run_id="run",
    attempt=1,
    round_row=_FIGURES,
    hospital_rows=(),
    noise_multipliers={},
    max_grad_norm=1.0,
    left={},
    other_versions=(),
    target_deltas={},
    outcome=Outcome(abandoned="", dropped={}, num_scrubbed={}),
    saved=Saved(strategy_forgets=(), model="", checkpoint="", sha256=""),
)


def test_a_checkpoint_comes_back_in_its_order(tmp_path: Path) -> None:
    arrays = {
        "model/z.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "model/a.bias": np.array(3.5),
        "strategy/m/0": np.array([True, False]),
        "model/count": np.array([7], dtype=np.int64),
    }
    name, digest = RunFolder(tmp_path).write_checkpoint(12, arrays, '{"a": 1}')
    again, values = RunFolder(tmp_path).read_checkpoint(name, digest)
    assert name == "checkpoints/round-000012.safetensors"
    assert list(again) == list(arrays)
    assert values == '{"a": 1}'
    for key, array in arrays.items():
        assert (again[key].dtype, again[key].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(again[key], array)


def test_old_checkpoints_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for number in (1, 2, 3):
        folder.write_checkpoint(number, {"model/a": np.zeros(1)}, "{}")
    folder.drop_checkpoints_before(2)
    assert folder.checkpoint_rounds() == [2, 3]


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 100])
def test_a_checkpoint_that_was_changed_is_refused(data: bytes, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    name, digest = folder.write_checkpoint(1, {"model/a": np.zeros(1)}, "{}")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ProtocolError, match="is not the one that was committed"):
        folder.read_checkpoint(name, digest)


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("summary.json", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WardroundError, match=r"No space left on device: free some space, then go on with: wardround"):
        folder.write_text("summary.json", "new")
    assert (tmp_path / "summary.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_tables_that_can_not_be_appended_to(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "rounds.csv").mkdir()
    with pytest.raises(WardroundError, match=r"rounds.csv: Is a directory: see that it can be written, then go on"):
        folder.append_tables(RECORD, HospitalLines())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_without_space(tmp_path: Path) -> None:
    (tmp_path / "rounds.csv").symlink_to("/dev/full")
    with pytest.raises(WardroundError, match=r"rounds.csv: No space left on device: free some space"):
        RunFolder(tmp_path).append_tables(RECORD, HospitalLines())


def test_a_new_folder_has_settings_and_versions(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "a" / "b", small_config())
    assert folder.config() == small_config()
    assert any(line.startswith("torch ") for line in folder.versions())
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        create_run_folder(tmp_path / "a" / "b", small_config())


def test_a_folder_that_was_killed_at_any_moment_before_it_was_one_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.fsync, 0

    def killed(descriptor: int) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        real(descriptor)

    monkeypatch.setattr(os, "fsync", killed)
    moments = itertools.count()
    for moment in moments:
        left = moment
        with suppress(KeyboardInterrupt):
            create_run_folder(tmp_path / f"run-{moment}", small_config())
            break
        if not (tmp_path / f"run-{moment}" / "config.toml").exists():
            with pytest.raises(ConfigError, match=r"is not a run folder"):
                open_run_folder(tmp_path / f"run-{moment}")
    with pytest.raises(ConfigError, match=r"is not a run folder yet: .* nothing was trained or charged; delete"):
        open_run_folder(tmp_path / "run-2")
    assert moment > 4


def test_versions_that_are_gone_are_a_message(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "run", small_config())
    (folder.path / "versions.txt").unlink()
    with pytest.raises(ProtocolError, match=r"versions\.txt can't be read .*: put it back into"):
        folder.versions()


def test_folders_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        create_run_folder(tmp_path / "file", small_config())
    with pytest.raises(ConfigError, match="can't be made: Not a directory"):
        create_run_folder(tmp_path / "file" / "run", small_config())
    with pytest.raises(ConfigError, match="is not a run folder"):
        open_run_folder(tmp_path / "file")


def test_infinite_and_undefined_in_json(tmp_path: Path) -> None:
    unlimited = small_config(privacy={"placement": "none", "noise-multiplier": None}, training={"num-rounds": 1})
    outcome = run(unlimited, out=tmp_path / "run").outcome
    assert outcome.scores is not None
    changed = replace(outcome, loss=-math.inf, scores=replace(outcome.scores, score=math.nan))
    RunFolder(tmp_path).write_summary(changed)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert (written["epsilon"]["max"], written["loss"], written["accuracy"]) == ("inf", "-inf", None)
    again = read_json_record(Summary, written)
    assert (again.epsilon, again.loss) == (outcome.epsilon, -math.inf)


def test_two_default_folders_differ() -> None:
    config = small_config(federation={"dataset": "medmnist:pneumoniamnist", "num-hospitals": None})
    path = default_run_path(config)
    assert path.parts[0] == "runs"
    assert ":" not in path.name


def test_only_one_process_works_on_a_run(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "run", small_config())
    with (
        folder.alone(),
        pytest.raises(ProtocolError, match=r"another process works on .*run: wait for it"),
        RunFolder(folder.path).alone(),
    ):
        pass
    with folder.alone():
        pass


def test_who_only_looks_keeps_nobody_from_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run_folder(tmp_path / "run", small_config())
    assert not folder.is_worked_on()
    looking = (folder.path / "config.toml").open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda seconds: looking.close())
    with folder.alone():
        assert folder.is_worked_on()
    assert looking.closed
    assert not folder.is_worked_on()


def test_a_run_killed_before_its_first_commit_can_be_resumed(tmp_path: Path) -> None:
    config = small_config()
    folder = create_run_folder(tmp_path / "killed", config)
    assert not folder.ledger.exists()
    assert open_run_folder(folder.path) == folder
    resumed, whole = resume(folder.path), run(config, out=tmp_path / "whole")
    models = [(item.folder / "model.safetensors").read_bytes() for item in (resumed, whole)]
    assert models[0] == models[1]


def test_a_run_killed_before_its_versions_were_written_begins_with_those_of_now(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "killed", small_config(training={"num-rounds": 2}))
    versions = folder.versions()
    (folder.path / "versions.txt").unlink()
    resume(folder.path)
    assert folder.versions() == versions
    assert verify_run(folder.path)[0] == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177])
def test_all_that_a_run_writes_is_its_owners_alone(umask: int, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    before = os.umask(umask)
    try:
        folder = run(small_config(training={"num-rounds": 2}), out=tmp_path / "run").folder
        write_report(folder)
    finally:
        os.umask(before)
    modes = {path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert stat.S_IMODE(folder.stat().st_mode) == modes.pop("checkpoints") == 0o700
    assert set(modes) >= {
        "ledger.sqlite",
        "model.safetensors",
        "rounds.csv",
        "report.html",
        "config.toml",
        "summary.json",
    }
    assert set(modes.values()) == {0o600}


def test_a_run_whose_ledger_was_taken_away_is_none(tmp_path: Path) -> None:
    folder = run(small_config(), out=tmp_path / "run").folder
    (folder / "ledger.sqlite").unlink()
    with pytest.raises(ConfigError, match="is not a run folder"):
        open_run_folder(folder)
