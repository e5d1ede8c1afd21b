"""The command line: what it prints where, the exit codes, and a clear word for everything that can go wrong."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_runs import charges_of, results_of, rows_of

from wardround.cli import main
from wardround.datasets import SOURCES
from wardround.privacy.ledger import Ledger
from wardround.server.record.verify import verify_run

_FAST = (
    *("--set", "simulation.engine=inline", "--set", "federation.num-hospitals=2", "--set", "training.local-steps=1"),
    *("--set", "training.sample-rate=0.1", "--set", "training.num-rounds=4"),
)
_STRATEGY = '''
import builtins, os, signal
from pathlib import Path
from flwr.serverapp.strategy import FedAdam

class Stopping(FedAdam):
    """Ends its own process once, in the middle of a round."""
    needs_only_sum = True

    def aggregate_train(self, server_round, replies):
        result = super().aggregate_train(server_round, replies)
        number, name, *raised_instead = Path("stop-at").read_text().split()
        if server_round == int(number) and not Path("stopped").exists():
            Path("stopped").touch()
            try:
                os.kill(os.getpid(), getattr(signal, name))
            except BaseException:
                if raised_instead:
                    raise getattr(builtins, *raised_instead)("another") from None
                raise
        return result

def strategy():
    return Stopping(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, eta=0.05)
'''
_MODELS = """
import torch
from torch import nn

def fails_at_once(**_):
    raise RuntimeError("no such weights")

class Moody(nn.Module):
    def __init__(self, bad):
        super().__init__()
        self.layer, self.bad = nn.Linear(30, 2), bad

    def forward(self, records):
        if self.training and len(records) > 8 and self.bad == "late":
            raise RuntimeError("forward went wrong")
        if self.bad == "always":
            raise RuntimeError("forward went wrong")
        if self.bad == "mixes":
            records = records - records.mean(0)
        return self.layer(records)

def fails_late(**_): return Moody("late")
def fails_always(**_): return Moody("always")
def mixes(**_): return Moody("mixes")
"""
_MAIN = "from wardround.cli import main; main()"


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def wardround(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("users_models", "users_strategies"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "users_models.py").write_text(_MODELS)
    (tmp_path / "users_strategies.py").write_text(_STRATEGY)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["wardround", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Result(int(ended.value.code or 0), out, err)

    return call


def test_run_json_is_the_summary_alone(wardround: Callable[..., Result], tmp_path: Path) -> None:
    code, out, _ = wardround("run", *_FAST, "--out", "run", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "run" / "summary.json").read_text())
    again = wardround("resume", "run", "--json")
    assert (again.code, json.loads(again.out)) == (0, json.loads(out))


def test_run_resume_verify_show_plan(wardround: Callable[..., Result], tmp_path: Path) -> None:
    code, out, err = wardround("run", *_FAST, "--out", "run")
    assert code == 0
    assert "hospital-02" in out and "round" in err
    assert wardround("ledger", "verify", "run").out.startswith("in order: 8 charges, 5 committed rounds")
    shown = wardround("ledger", "show", "run").out.splitlines()
    assert len(shown) == 1 + 16
    assert shown[0].startswith("sequence,state,charge_id")
    entries = json.loads(wardround("ledger", "show", "run", "--json").out)
    assert [list(entry) for entry in entries] == [shown[0].split(",")] * 16
    assert [entry["charge_id"] for entry in entries] == [line.split(",")[2] for line in shown[1:]]
    verified = json.loads(wardround("ledger", "verify", "run", "--json").out)
    assert (verified["is_in_order"], verified["findings"]) == (True, [])
    assert verified["sentence"].startswith("in order: 8 charges")
    page = tmp_path / "run" / "report.html"
    page.unlink()
    assert json.loads(wardround("report", "run", "--json").out) == {"report": os.path.join("run", "report.html")}  # noqa: PTH118
    assert page.is_file()
    planned = json.loads(wardround("plan", *_FAST, "--json").out)
    spent = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert planned["epsilon"] == {key: spent["epsilon"][key] for key in ("max", "total", "target_delta", "readers")}
    assert planned["attacker"] == spent["attacker"]
    target = json.loads(wardround("plan", *_FAST, "--target-epsilon", "1.5", "--json").out)
    assert all(0.999 * 1.5 < row["epsilon"] <= 1.5 for row in target["hospitals"])


_REFUSED: list[tuple[list[str], int, str]] = [
    (["run", "--set", "federation.dataset=hart-disease"], 2, 'unknown dataset "hart-disease"'),
    (["run", "nowhere.toml"], 2, "no file nowhere.toml: check the path"),
    (["run", "broken.toml"], 2, "broken.toml is not valid TOML"),
    (["run", "--set", "training.num-rouds=3"], 2, "did you mean num-rounds?"),
    (["run", "--set", "trainin.num-rounds=3"], 2, "did you mean training?"),
    (["run", "--set", "num-rounds=3"], 2, "must be section.key=value"),
    (["run", "--set", "training.num-rounds"], 2, "must be section.key=value"),
    (["run", "--set", "training.num-rounds=0"], 2, "num-rounds = 0 must be >= 1"),
    (["run", "--set", "training.num-rounds=many"], 2, "num-rounds"),
    (["run", "--set", "training.learning-rate=nan"], 2, "learning-rate = nan must be a number"),
    (["run", "--set", "privacy.noise-multiplier=-1"], 2, "noise-multiplier = -1.0 must be >= 0"),
    (
        ["run", "--set", "privacy.noise-multiplier=0", "--set", "privacy.budget-epsilon=3"],
        2,
        "noise-multiplier = 0 spends infinite epsilon, more than budget-epsilon = 3.0",
    ),
    (["run", "--engine", "inlin"], 2, "did you mean inline?"),
    (["run", "--engine", "magic"], 2, 'engine = "magic" must be one of auto, ray, inline, stacked'),
    (["run", "--set", "federation.num-hospitals=9999"], 2, "num-hospitals = 9999 must be <= 569"),
    (["run", "--set", "privacy.target-delta=0.5"], 2, "target-delta = 0.5 must be > 0 and < 1/"),
    (["run", "--set", "aggregation.strategy=fedsgd"], 2, 'strategy = "fedsgd" must be one of fedavg'),
    (["run", "--set", "aggregation.eta=1"], 2, 'eta is no option of strategy = "fedavg"'),
    (["run", "--set", "model.name=cnn"], 2, "needs images"),
    (["run", "--set", "model.name=users_models:fails_at_once"], 2, "could not be built: RuntimeError: no such weights"),
    (["run", "--set", "model.name=users_models:nothing"], 2, "could not be built: AttributeError"),
    (["run", "--set", "model.name=users_models:fails_always"], 2, "forward went wrong"),
    (["run", "--set", "model.name=users_models:mixes"], 2, "mixes records"),
    (["run", "table.toml"], 2, "table.csv has no column 'outcome' ([federation] target): its columns are age, sick"),
    (["run", "table.toml", "--set", "federation.path=none.csv"], 2, "no file none.csv: check [federation] path"),
    (
        ["run", "--set", "federation.dataset=ist", "--set", "federation.data-dir=none"],
        2,
        "data-dir = none is not a folder",
    ),
    (["run", "--set", "federation.dataset=csv"], 2, 'dataset = "csv" needs [federation] target'),
    (["run", "--out", "full"], 2, "--out full must be a new or empty folder"),
    (["run", "--out", "broken.toml"], 2, "--out broken.toml must be a new or empty folder"),
    (["run", "--out", "broken.toml/run"], 2, "--out broken.toml/run can't be made: Not a directory"),
    (["run", "--set", "federation.min-patients=1000"], 2, "min-patients = 1000"),
    (["resume", "full"], 2, "full is not a run folder"),
    (["resume", "nowhere"], 2, "nowhere is not a run folder"),
    (["ledger", "verify", "full"], 2, "full is not a run folder"),
    # Before the data are looked for, which may take long to be read.
    (["run", "--out", "full", "--set", "federation.dataset=ist"], 2, "--out full must be a new or empty folder"),
    (["ledger", "show", "nowhere"], 2, "nowhere is not a run folder"),
    (["data", "describe", "hart-disease"], 2, "did you mean heart-disease?"),
    (["data", "fetch", "hart-disease"], 2, "did you mean heart-disease?"),
    (["report", "full"], 2, "full is not a run folder"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), _REFUSED, ids=lambda value: str(value)[:60])
def test_bad_input(
    arguments: list[str], code: int, message: str, wardround: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "broken.toml").write_text("[training\nnum-rounds = 3")
    (tmp_path / "table.csv").write_text("age,sick\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    (tmp_path / "table.toml").write_text('[federation]\ndataset = "csv"\npath = "table.csv"\ntarget = "outcome"\n')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    extra = [] if "--engine" in arguments or arguments[0] != "run" else ["--engine", "inline"]
    before = sorted(path.name for path in tmp_path.iterdir())
    result = wardround(*arguments, *extra)
    assert result.out == ""
    assert message in " ".join(result.err.split())
    assert next(line for line in result.err.splitlines() if not line.endswith(" ...")).startswith("error: ")
    assert result.code == code
    # Nothing was begun that would have to be tidied up.
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("__pycache__", "runs")) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments", [["run", "--nonsense"], ["nonsense"], ["resume"], ["plan", "--target-epsilon", "x"]]
)
def test_bad_usage(arguments: list[str], wardround: Callable[..., Result]) -> None:
    result = wardround(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_a_damaged_download_is_refused(wardround: Callable[..., Result], tmp_path: Path, real_data: Path) -> None:
    source = shutil.copytree(real_data / "heart_disease", tmp_path / "data" / "heart_disease")
    file = max(source.glob("*cleveland*"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-40])
    options = ["--set", "federation.dataset=heart-disease", "--set", f'federation.data-dir="{tmp_path / "data"}"']
    result = wardround("run", *_FAST, *options, "--out", "run")
    assert result.code == 1
    assert "sha256" in result.err or "checksum" in result.err
    assert not (tmp_path / "run").exists()


def test_a_model_that_fails_in_training(wardround: Callable[..., Result], tmp_path: Path) -> None:
    result = wardround(
        "run", *_FAST, "--set", "model.name=users_models:fails_late", "--set", "privacy.placement=none", "--out", "run"
    )
    assert result.code == 1
    assert "hospital hospital-01 failed: RuntimeError: forward went wrong (committed rounds are kept" in " ".join(
        result.err.split()
    )
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert len(charges_of(tmp_path / "run", "planned")) == 2
    assert wardround("ledger", "verify", "run").code == 0


def test_the_budget_ends_with_3_and_a_complete_folder(wardround: Callable[..., Result], tmp_path: Path) -> None:
    result = wardround("run", *_FAST, "--set", "privacy.budget-epsilon=0.5", "--out", "run")
    assert result.code == 3
    assert "stopped at the budget after round" in result.err
    told = " ".join(wardround("plan", *_FAST[2:], "--set", "privacy.budget-epsilon=0.5").out.split())
    assert "which is beyond budget-epsilon = 0.5" in told
    assert "the run stops (on-budget" in told
    assert "hospital-01" in result.out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"model.safetensors", "summary.json", "report.html", "rounds.csv", "hospitals.csv", "ledger.sqlite"}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epsilon"]["max"] <= 0.6
    before = results_of(tmp_path / "run")
    assert wardround("resume", "run").code == 3
    assert results_of(tmp_path / "run") == before
    assert json.loads(wardround("resume", "run", "--json").out)["status"] == "stopped-at-budget"


def test_ctrl_c_says_how_to_go_on(wardround: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "stop-at").write_text("3 SIGINT")
    strategy = ("--set", "aggregation.strategy=users_strategies:strategy")
    result = wardround("run", *_FAST, *strategy, "--out", "run")
    assert result.code == 1
    assert "interrupted: every committed round is kept; go on with: wardround resume run" in result.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert wardround("ledger", "verify", "run").code == 0
    assert wardround("resume", "run").code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "done"
    assert [number for number, _ in charges_of(tmp_path / "run", "planned")].count(3) == 4
    assert wardround("ledger", "verify", "run").code == 0


@pytest.mark.parametrize("raised_instead", ["", "KeyboardInterrupt", "SystemError"])
def test_sigterm_is_as_ctrl_c_with_the_exit_code_of_its_own(
    raised_instead: str, wardround: Callable[..., Result], tmp_path: Path
) -> None:
    """Whatever other code makes of it: Ray, where it waits, raises an interruption of its own."""
    (tmp_path / "stop-at").write_text(f"3 SIGTERM {raised_instead}")
    strategy = ("--set", "aggregation.strategy=users_strategies:strategy")
    result = wardround("run", *_FAST, *strategy, "--out", "run")
    assert result.code == 143
    said = "interrupted: every committed round is kept; go on with: wardround resume run"
    assert (said in result.err) is (raised_instead != "SystemError")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert wardround("resume", "run").code == 0
    assert wardround("ledger", "verify", "run").code == 0


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_without_colours_gets_none(no_color: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "wardround", "plan", "nowhere.toml"]
    subprocess.run(command, stdout=theirs, stderr=theirs, env=os.environ | {"NO_COLOR": no_color}, check=False)
    os.close(theirs)
    told = os.read(ours, 10_000)
    os.close(ours)
    assert b"no file nowhere.toml" in told
    assert (b"\x1b[" in told) is not bool(no_color)


def test_an_error_moves_no_cursor(wardround: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[training]\n"num\\u001b[2Jrounds\\u202e" = 3\n')
    result = wardround("run", "a.toml")
    assert result.code == 2
    assert "unknown key num\\x1b[2Jrounds\\u202e in [training]" in result.err
    assert "\x1b[2J" not in result.err and "\u202e" not in result.err


@pytest.mark.slow
def test_a_process_killed_in_a_round_pays_for_it_twice(wardround: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "stop-at").write_text("7 SIGKILL")
    options = (*_FAST, "--set", "training.num-rounds=9", "--set", "aggregation.strategy=users_strategies:strategy")
    killed = subprocess.run(
        [sys.executable, "-c", _MAIN, "run", *options, "--out", "run"], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    assert verify_run(tmp_path / "run")[0] == []
    assert len(charges_of(tmp_path / "run", "planned")) == 14
    assert wardround("resume", "run").code == 0
    assert wardround("run", *options, "--out", "whole").code == 0
    # The six rounds before are as they were, the seventh and all that follow from it are not.
    ours, theirs = (rows_of(tmp_path / name / "rounds.csv", "seconds") for name in ("run", "whole"))
    assert [mine == other for mine, other in zip(ours, theirs, strict=True)] == [True] * 7 + [False] * 3
    twice = [(7, name) for number, name in charges_of(tmp_path / "whole", "planned") if number == 7]
    assert sorted(charges_of(tmp_path / "run", "planned")) == sorted(charges_of(tmp_path / "whole", "planned") + twice)
    assert charges_of(tmp_path / "run", "released") == charges_of(tmp_path / "whole", "released")
    assert verify_run(tmp_path / "run")[0] == []


def test_a_tampered_ledger(wardround: Callable[..., Result], tmp_path: Path) -> None:
    assert wardround("run", *_FAST, "--out", "run").code == 0
    connection = sqlite3.connect(tmp_path / "run" / "ledger.sqlite")
    with connection:
        connection.execute("UPDATE entries SET noise_multiplier = 99 WHERE sequence = 4")
    connection.close()
    verified = wardround("ledger", "verify", "run")
    assert verified.code == 1
    assert "row 4 was changed or moved" in verified.out
    told = wardround("ledger", "verify", "run", "--json")
    assert (told.code, told.err) == (1, verified.err)
    assert json.loads(told.out) == {
        "is_in_order": False,
        "findings": verified.out.splitlines(),
        "sentence": "",
    }
    resumed = wardround("resume", "run")
    assert resumed.code == 1
    assert "is not as it was written (row 4 was changed" in " ".join(resumed.err.split())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 550 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=550k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_a_run_that_goes_on(small_disk: Path, wardround: Callable[..., Result]) -> None:
    options = (*_FAST, "--set", "model.name=mlp", "--set", "model.hidden-sizes=[1500]")
    result = wardround("run", *options, "--out", str(small_disk / "run"))
    assert result.code == 1
    assert "No space left on device: free some space, then go on with: wardround resume" in " ".join(result.err.split())
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert wardround("resume", str(small_disk / "run")).code == 0
    assert len(charges_of(small_disk / "run", "planned")) > len(charges_of(small_disk / "run", "released"))
    assert verify_run(small_disk / "run")[0] == []


def test_a_full_ledger(wardround: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Ledger.charge

    def full(self: Ledger, entries: Any) -> None:
        with self._transaction():
            if entries[0].round_number == 2:
                raise sqlite3.OperationalError("database or disk is full")
        real(self, entries)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "charge", full)
        result = wardround("run", *_FAST, "--out", "run")
    assert result.code == 1
    assert "database or disk is full: free some disk space, then resume" in " ".join(result.err.split())
    assert wardround("resume", "run").code == 0


def test_a_reader_that_goes_away() -> None:
    script = f"{sys.executable} -c '{_MAIN}' data list | head -1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1)
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr
    assert len(ended.stdout.splitlines()) == 1


def test_an_accident_is_one_line(wardround: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("wardround.door.runs.run", broken)
    result = wardround("run", *_FAST)
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last == "error: unexpected ZeroDivisionError: division by zero (WARDROUND_DEBUG=1 shows where)"


def test_a_run_says_what_it_does_before_anything_slow_begins() -> None:
    """Whatever takes seconds (torch, Flower, Ray, the data) comes after the first words."""
    code = (
        "import sys, types\n"
        "slow = {'torch', 'flwr', 'ray'}\n"
        "def stop(*a, **k): print('loaded:', *(slow & set(sys.modules)), file=sys.stderr); sys.exit()\n"
        "sys.modules['wardround.door.runs'] = types.SimpleNamespace(run=stop)\n"
        "from wardround.cli import app; app(['run'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines() == [
        "reading the settings ...",
        "loading PyTorch and Flower ...",
        "loaded:",
    ]


def test_data_as_json(wardround: Callable[..., Result]) -> None:
    listed = json.loads(wardround("data", "list", "--json").out)
    assert [entry["name"] for entry in listed] == list(SOURCES)
    assert {"name": "digits", "task": "classification", "num_rows": 1797, "needs_download": False}.items() <= listed[
        1
    ].items()
    code, out, err = wardround("data", "describe", "breast-cancer", "--set", "federation.num-hospitals=2", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["dataset"], told["task"], told["partition"]) == ("breast-cancer", "classification", "iid")
    assert [row["hospital"] for row in told["hospitals"]] == ["hospital-01", "hospital-02"]
    for row in told["hospitals"]:
        assert row["records"] == row["train"] + row["test"]
        assert row["share benign"] + row["share malignant"] == pytest.approx(1)
    assert sum(row["records"] for row in told["hospitals"]) == 569
    assert any("UCI repository id 17" in note for note in told["notes"])
    assert told["excluded"] == []


@pytest.mark.parametrize("placement", ["none", "central"])
def test_an_infinite_epsilon_is_a_text_in_json(wardround: Callable[..., Result], placement: str) -> None:
    options = ("--set", f"privacy.placement={placement}", "--set", "aggregation.protocol=secure-sum")
    code, out, _ = wardround("plan", *_FAST, *options, "--json")
    assert code == 0
    assert json.loads(out)["epsilon"]["readers"]["server"] == "inf"
