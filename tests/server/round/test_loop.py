"""A run that is interrupted between rounds ends in the bits of one that was not; within a round, it pays for two."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
from flwr.app import Message
from grid_runs import LineGrid, line, run_over
from small_runs import charges_of, results_of, rows_of, small_config

from wardround import wire
from wardround.errors import ConfigError, WardroundError
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run

_STRATEGIES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedavgm": {"server-momentum": 0.9, "server-learning-rate": 0.7},
    "fedadam": {"eta": 0.05},
    "fedyogi": {"eta": 0.05},
}
_ROUND = 7


def _config(strategy: str) -> Any:
    return small_config(aggregation={"strategy": strategy, **_STRATEGIES[strategy]})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def folder_of(strategy: str) -> Path:
        if strategy not in folders:
            folders[strategy] = run(_config(strategy), out=tmp_path_factory.mktemp(strategy) / "run").folder
        return folders[strategy]

    return folder_of


def _raise_in(monkeypatch: pytest.MonkeyPatch, where: str, error: type[BaseException]) -> None:
    """Make round 7 fail at a point; the real function runs first where the name says "after"."""
    owner, name, is_round, after = {
        "before charge": (Ledger, "charge", lambda entries: entries[0].round_number == _ROUND, False),
        "after charge": (Ledger, "charge", lambda entries: entries[0].round_number == _ROUND, True),
        "before checkpoint": (RunFolder, "write_checkpoint", lambda number, *_: number == _ROUND, False),
        "after checkpoint": (Ledger, "commit_round", lambda run_id, number, *_: number == _ROUND, False),
        "after commit": (RunFolder, "append_tables", lambda record, quiet: record.round_row.round == _ROUND, False),
        "after append": (RunFolder, "append_tables", lambda record, quiet: record.round_row.round == _ROUND, True),
    }[where]
    real = getattr(owner, name)

    def failing(self: Any, *args: Any, **options: Any) -> Any:
        if not is_round(*args, **options):
            return real(self, *args, **options)
        if after:
            real(self, *args, **options)
        raise error("stopped here by the test")

    monkeypatch.setattr(owner, name, failing)


class Stopped(LineGrid):
    """Ctrl-C is pressed when round 7 was trained."""

    def came(self, replies: list[Message], total: dict[str, Any]) -> None:
        if any(reply.metadata.message_type == "train" and _round_of(reply) == _ROUND for reply in replies):
            raise KeyboardInterrupt


class Failing(LineGrid):
    """The second hospital is gone when round 7 is to be trained."""

    def is_cut(self, message: Message) -> bool:
        is_training = wire.ASSIGNMENT in message.content and message.metadata.dst_node_id == 2
        return is_training and wire.assignment_of(message).round_number == _ROUND


def _round_of(reply: Message) -> Any:
    return reply.content[wire.METRICS]["round-number"]  # type: ignore[index, call-overload]


def _interrupted(strategy: str, where: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Press Ctrl-C somewhere in a run, check that the folder is in order, and return its summary."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if where == "in training":
            run_over(folder, _config(strategy), line(Stopped))
        else:
            _raise_in(patch, where, KeyboardInterrupt)
            run(_config(strategy), out=folder)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert verify_run(folder)[0] == []
    return summary


_BETWEEN = ("before charge", "after commit", "after append")
_WITHIN = ("after charge", "in training", "before checkpoint", "after checkpoint")


@pytest.mark.parametrize(
    ("strategy", "where"),
    [
        *(("fedadam", where) for where in _BETWEEN),
        *((strategy, "after commit") for strategy in ("fedavg", "fedavgm", "fedyogi")),
    ],
)
def test_interrupted_between_rounds_and_resumed_ends_in_the_same_bits(
    strategy: str, where: str, uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder = uninterrupted(strategy), tmp_path / "run"
    interrupted = _interrupted(strategy, where, folder, monkeypatch)
    charged = charges_of(folder, "planned")
    assert len(charged) == 3 * (_ROUND - 1 if where == "before charge" else _ROUND)

    resumed = resume(folder)
    assert results_of(folder) == results_of(whole)
    assert resumed.summary["status"] == "done"
    assert resumed.summary["epsilon"] == json.loads((whole / "summary.json").read_text())["epsilon"]
    assert interrupted["epsilon"]["max"] <= resumed.summary["epsilon"]["max"]
    everyone = [(number, f"hospital-0{index}") for number in range(1, 9) for index in (1, 2, 3)]
    assert charges_of(folder, "planned") == everyone == charges_of(folder, "released")
    assert verify_run(folder)[0] == []


@pytest.mark.parametrize(
    ("strategy", "where"),
    [
        *(("fedadam", where) for where in _WITHIN),
        *((strategy, "after checkpoint") for strategy in ("fedavg", "fedyogi")),
    ],
)
def test_interrupted_within_a_round_and_resumed_is_another_release_that_is_paid_for(
    strategy: str, where: str, uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder = uninterrupted(strategy), tmp_path / "run"
    _interrupted(strategy, where, folder, monkeypatch)

    resumed = resume(folder).summary
    assert (resumed["status"], resumed["num_rounds"]) == ("done", 8)
    # Up to the round it was interrupted in, all is as it was; from there on nothing is.
    tables = [rows_of(path / "rounds.csv", "seconds") for path in (folder, whole)]
    same = [mine == other for mine, other in zip(*tables, strict=True)]
    assert same == [number < _ROUND for number in range(9)]
    everyone = [(number, f"hospital-0{index}") for number in range(1, 9) for index in (1, 2, 3)]
    assert charges_of(folder, "released") == everyone
    assert sorted(charges_of(folder, "planned")) == sorted([*everyone, *everyone[3 * _ROUND - 3 : 3 * _ROUND]])
    # Nine rounds of two steps at rate 0.1 and noise 1, where eight were planned.
    for name, epsilon in resumed["epsilon"]["hospitals"].items():
        assert epsilon == pytest.approx(_epsilon_of(num_steps=18), rel=2e-3)
        assert epsilon > json.loads((whole / "summary.json").read_text())["epsilon"]["hospitals"][name]
    assert "round 7 was interrupted and done again: 2 attempts are charged" in resumed["notes"]
    assert verify_run(folder)[0] == []


def _epsilon_of(num_steps: int) -> float:
    accountant = dp_accounting.pld.PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_SPECIAL, 1e-4)
    event = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.0))
    return float(accountant.compose(event, num_steps).get_epsilon(1e-4))


def test_a_failure_at_a_hospital_leaves_a_true_ledger_and_a_resumable_run(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match=r"hospital hospital-02 failed: ConnectionError: gone"):
        run_over(tmp_path / "run", _config("fedavg"), line(Failing))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    # Round 7 was charged, so it is in the bill, though not in the tables.
    assert summary["num_rounds"] == 6
    assert len(charges_of(tmp_path / "run", "planned")) == 21
    assert len(charges_of(tmp_path / "run", "released")) == 18
    last = [row for row in (tmp_path / "run" / "rounds.csv").read_text().splitlines() if row][-1]
    assert last.startswith("6,")
    resume(tmp_path / "run")
    assert len(charges_of(tmp_path / "run", "planned")) == 27
    assert len(charges_of(tmp_path / "run", "released")) == 24
    assert verify_run(tmp_path / "run")[0] == []


def test_every_interruption_in_the_same_round_costs_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _raise_in(patch, "after checkpoint", KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            run(_config("fedavgm"), out=tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "run")
    resume(tmp_path / "run")
    with open_ledger(tmp_path / "run" / "ledger.sqlite", read_only=True) as ledger:
        frame = ledger.to_frame()
    redone = frame[frame["round_number"] == _ROUND]
    assert list(redone["attempt"]) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    assert list(redone["state"]) == ["planned"] * 9 + ["released"] * 3
    assert len(charges_of(tmp_path / "run", "planned")) == 30
    assert verify_run(tmp_path / "run")[0] == []


def test_interrupted_before_round_0_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(training={"num-rounds": 1})
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "commit_round", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(config, out=tmp_path / "run")
    resume(tmp_path / "run")
    whole = run(config, out=tmp_path / "whole")
    assert results_of(tmp_path / "run") == results_of(whole.folder)


def test_a_finished_run_is_returned_at_once_with_the_same_files(uninterrupted: Callable[[str], Path]) -> None:
    folder = uninterrupted("fedadam")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    said: list[str] = []
    resume(folder, say=said.append)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before
    assert said[-1] == "writing the files of the finished run anew"


def test_resume_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a run folder"):
        resume(tmp_path)
    with pytest.raises(ConfigError, match=r"is not a run folder"):
        resume(tmp_path / "nowhere")
