"""Runs whose noise cancels itself: taken up again, done again, ended; and where the noise that is remembered lies."""

import stat
from pathlib import Path
from typing import Any

import pytest
from small_runs import (
    charges_of,
    interrupted_before_charging,
    interrupted_in_training,
    results_of,
    rows_of,
    small_config,
)

from wardround.config import Config
from wardround.errors import ProtocolError
from wardround.privacy.cells import cell_of
from wardround.privacy.ledger import open_ledger
from wardround.reports.report import write_report
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run


def turns(**sections: dict[str, Any]) -> Config:
    whole: dict[str, dict[str, Any]] = {
        "federation": {"num-hospitals": 6},
        "training": {"num-rounds": 5, "cohorts": "round-robin", "fraction-train": 0.34},
        "privacy": {
            "unit": "hospital",
            "placement": "central",
            "noise-correlation": "banded",
            "noise-multiplier": 2.0,
            "target-delta": 1e-2,
        },
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def noises(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("noise*"))


ADAPTIVE = {"adaptive-clipping": True}


@pytest.mark.parametrize("interrupted_in", [2, 3, 5])
@pytest.mark.parametrize("privacy", [{}, ADAPTIVE])
def test_a_run_that_is_resumed_between_rounds_ends_in_the_same_bits(
    interrupted_in: int, privacy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = turns(privacy=privacy)
    whole = run(config, out=tmp_path / "whole").folder
    with interrupted_before_charging(monkeypatch, interrupted_in):
        run(config, out=tmp_path / "broken")
    assert noises(tmp_path / "broken") == [f"noise-{interrupted_in - 1:06d}.safetensors"]
    resumed = resume(tmp_path / "broken").folder
    assert results_of(resumed) == results_of(whole)
    assert verify_run(resumed)[0] == []


def test_the_noise_of_the_rounds_is_not_that_of_independent_rounds(tmp_path: Path) -> None:
    one = run(turns(), out=tmp_path / "one")
    other = run(turns(privacy={"noise-correlation": "none"}), out=tmp_path / "other")
    assert one.summary["epsilon"]["hospitals"] == other.summary["epsilon"]["hospitals"]
    assert one.summary["epsilon"]["readers"] == other.summary["epsilon"]["readers"]
    assert (one.summary["mechanism"], other.summary["mechanism"]) == ("banded-gaussian", "gaussian")


def test_what_is_remembered_is_the_owners_alone_while_the_run_goes_on_and_deleted_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_before_charging(monkeypatch, 3):
        run(turns(), out=tmp_path / "run")
    (file,) = (tmp_path / "run" / "checkpoints").glob("noise*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert verify_run(tmp_path / "run")[0] == []
    done = resume(tmp_path / "run")
    assert done.summary["status"] == "done" and noises(done.folder) == []
    page = write_report(done.folder).read_text()
    assert "of which later rounds take a part back" in page
    assert verify_run(done.folder)[0] == []
    with open_ledger(done.folder / "ledger.sqlite", read_only=True) as ledger:
        frame = ledger.to_frame()
    assert set(frame["mechanism"]) == {"banded-gaussian"} and set(frame["placement"]) == {"central"}


def test_what_is_remembered_is_deleted_when_the_budget_ends_the_run(tmp_path: Path) -> None:
    budget = plan(turns(training={"num-rounds": 3})).epsilon_max * 1.01
    stopped = run(turns(privacy={"budget-epsilon": budget}), out=tmp_path / "run")
    assert stopped.summary["status"] == "stopped-at-budget" and noises(stopped.folder) == []
    assert verify_run(stopped.folder)[0] == []


def test_a_round_that_is_done_again_is_charged_again_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_in_training(monkeypatch, 3):
        run(turns(), out=tmp_path / "broken")
    seen: list[tuple[int, int, list[int]]] = []
    cell = type(cell_of(turns().privacy))
    real = cell.noise_memory

    def watched(self: Any, memory: Any, **given: Any) -> Any:
        begun = real(self, memory, **given)
        seen.append((given["round_number"], given["attempt"], begun["rounds"].tolist()))
        return begun

    monkeypatch.setattr(cell, "noise_memory", watched)
    resumed = resume(tmp_path / "broken")
    assert seen == [(3, 2, [3, 3, 3]), (4, 1, [3, 4, 3]), (5, 1, [3, 5, 3])]
    planned = [number for number, _ in charges_of(resumed.folder, "planned")]
    assert planned == [1] * 2 + [2] * 2 + [3] * 4 + [4] * 2 + [5] * 2
    assert verify_run(resumed.folder)[0] == []


def test_without_the_file_noise_begins_anew_and_with_another_one_nothing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "changed"):
        with interrupted_before_charging(monkeypatch, 3):
            run(turns(), out=tmp_path / name)
    (file,) = (tmp_path / "gone" / "checkpoints").glob("noise*")
    file.unlink()
    resumed = resume(tmp_path / "gone")
    assert resumed.summary["status"] == "done" and verify_run(resumed.folder)[0] == []
    (file,) = (tmp_path / "changed" / "checkpoints").glob("noise*")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert verify_run(tmp_path / "changed")[0] == ["what the noise of round 2 left is not what was committed"]
    with pytest.raises(ProtocolError, match="is not the one that was committed: delete it, and noise begins anew"):
        resume(tmp_path / "changed")


def test_an_abandoned_round_is_paid_for_and_the_next_begins_anew(tmp_path: Path) -> None:
    sections = {"simulation": {"dropout-rate": 0.5}, "aggregation": {"min-survivors": 2}}
    done = run(turns(training={"num-rounds": 12}, **sections), out=tmp_path / "run")
    completed = [row["num_completed"] for row in rows_of(done.folder / "rounds.csv")][1:]
    assert {"0", "2"} <= set(completed)
    assert done.summary["status"] == "done" and verify_run(done.folder)[0] == []
    assert len(charges_of(done.folder, "planned")) == 24 > len(charges_of(done.folder, "released"))


def test_what_a_killed_attempt_left_goes_with_a_round_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"simulation": {"dropout-rate": 0.5}, "aggregation": {"min-survivors": 2}}
    config = turns(training={"num-rounds": 12}, **sections)
    completed = [row["num_completed"] for row in rows_of(run(config, out=tmp_path / "run").folder / "rounds.csv")]
    number = completed.index("0", 2)  # abandoned
    with interrupted_before_charging(monkeypatch, number):
        run(config, out=tmp_path / "broken")
    # As where the process was killed between this file and the commit that it belongs to.
    (tmp_path / "broken" / "checkpoints" / f"noise-{number:06d}.safetensors").write_bytes(b"of another attempt")
    with interrupted_before_charging(monkeypatch, number + 1):
        resume(tmp_path / "broken")
    assert noises(tmp_path / "broken") == [] and verify_run(tmp_path / "broken")[0] == []


@pytest.mark.parametrize("protocol", ["secure-sum", "secagg+"])
def test_secure_sums_carry_it_too(protocol: str, tmp_path: Path) -> None:
    sums = {"aggregation": {"protocol": protocol, "min-survivors": 2}}
    done = run(turns(simulation={"noise": "system"}, **sums), out=tmp_path / "run")
    assert done.summary["status"] == "done" and verify_run(done.folder)[0] == []
