"""`wardround compare`: tables, exit codes, JSON, and what Ctrl-C and a kill leave."""

import csv
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from wardround.cli import main

MAIN = "from wardround.cli import main; main()"
STUDY = """
[study]
placements = ["local", "central"]
target-epsilons = [2.0]
seeds = [1, 2]
baselines = ["majority", "federated"]

[set.federation]
dataset = "breast-cancer"
num-hospitals = 3

[set.training]
num-rounds = 2
local-steps = 1
sample-rate = 0.2

[set.privacy]
target-delta = 1e-4

[set.aggregation]
protocol = "secure-sum"

[set.simulation]
num-workers = 1
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path


def results(folder):
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_what_is_interrupted_goes_on_with_the_same_command(study, ray_session, monkeypatch, capsys):
    """Interrupted in processes of their own, whose Ray nobody shares."""
    arguments = ("compare", "small.toml", "--out", "out")
    kept = []
    for how, code in [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 1), (signal.SIGTERM, 143)]:
        process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, text=True)
        said_first, first, found = [process.stderr.readline() for _ in range(2)], process.stderr.readline(), 0
        while "found done" in first:
            first, found = process.stderr.readline(), found + 1
        process.send_signal(how)
        _, said = process.communicate(timeout=120)
        assert process.returncode == code
        assert said_first == ["reading small.toml ...\n", "loading PyTorch and Flower, and starting the workers ...\n"]
        # What is kept is not run again.
        assert bool(found) == bool(kept)
        assert found < int(first.removeprefix("run ").partition("/")[0]) <= 8
        assert how == signal.SIGKILL or (
            "interrupted: what is done is kept; go on with: wardround compare small.toml --out out" in said
        )
        assert "Traceback" not in said
        before, kept = kept, results(study / "out")
        assert len(before) < len(kept) < 8
        assert all(row in kept for row in before)
    code, told, error = said_here(monkeypatch, capsys, *arguments)
    assert code == 0, error
    assert "8 of 8 runs" in told and "record central" in told
    assert "run 8/8" in error
    check_finished(study, arguments, lambda *words: said_here(monkeypatch, capsys, *words))


def said_here(monkeypatch, capsys, *arguments):
    """Run the command in this process, and return its exit code and all that it says."""
    monkeypatch.setattr(sys, "argv", ["wardround", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def check_finished(study, arguments, command_here):
    """A finished study has its files, is not run again, and its page can be built anew."""
    names = {path.name for path in (study / "out").iterdir()}
    assert names >= {"results.csv", "hospitals.csv", "comparison.svg", "comparison.png", "report.html", "study.json"}
    # What a study holds is its owner's alone.
    places = list((study / "out").rglob("*"))
    assert {stat.S_IMODE(place.stat().st_mode) for place in places if place.is_file()} == {0o600}
    assert {stat.S_IMODE(place.stat().st_mode) for place in [study / "out", *places] if place.is_dir()} == {0o700}
    # All is done: nothing runs, no Ray starts, and the summary is the tables'.
    before = results(study / "out")
    code, told, error = command_here(*arguments, "--json")
    assert (code, error) == (0, "")
    said = json.loads(told)
    assert (said["num_runs"], said["failures"]) == (8, {})
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in said["results"]] == before
    (study / "out" / "report.html").unlink()
    assert command_here("report", "out")[1].strip() == os.path.join("out", "report.html")  # noqa: PTH118
    assert (study / "out" / "report.html").is_file()


def test_a_run_that_fails_is_listed_and_the_exit_code_is_1(study, ray_session, monkeypatch, capsys):
    text = STUDY.replace('baselines = ["majority", "federated"]', 'baselines = ["majority"]')
    text = text.replace("seeds = [1, 2]", "seeds = [1]")
    (study / "small.toml").write_text(text.replace("target-delta = 1e-4", "target-delta = 0.5"))
    code, told, error = said_here(monkeypatch, capsys, "compare", "small.toml", "--out", "out")
    assert code == 1
    assert "2 of 3 runs failed; the others' results are in out" in error
    assert "Failed: record-local-epsilon-2-seed-1: target-delta" in told
    assert [row["baseline"] for row in results(study / "out")] == ["majority"]
    assert (study / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (("compare", "none.toml"), "", "no file none.toml"),
        (("compare", "small.toml"), "[study]\nbaselines = ['pool']\n", "did you mean pooled"),
        (("compare", "small.toml", "--out", "."), STUDY, "must be a new or empty folder"),
    ],
)
def test_bad_studies_end_with_2_and_a_word(study, monkeypatch, capsys, arguments, text, message):
    (study / "small.toml").write_text(text)
    code, _, error = said_here(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in error
