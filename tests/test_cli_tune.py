"""`wardround tune`: what it prints, its exit codes, and how it goes on."""

import json
import shutil
import sys
import tomllib

import pytest
from small_runs import charges_of, interrupted_before_charging

from wardround.cli import main
from wardround.config import load_config
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.noisy_scores import release_score

BASE = """
[federation]
dataset = "breast-cancer"
num-hospitals = 3

[training]
num-rounds = 2
local-steps = 1
sample-rate = 0.2

[privacy]
target-epsilon = 2.0
target-delta = 1e-3

[simulation]
num-workers = 1
"""
NOISY = """
[tune]
on = "private"
score = "noisy-brier"
mean-repetitions = 1.5
most-repetitions = 2

[study]
base = "base.toml"

[study.vary]
"training.learning-rate" = [0.1, 2.0]
"""
STAND_IN = """
[tune]
on = "stand-in"

[study]
base = "nowhere.toml"

[study.vary]
"training.learning-rate" = [0.1, 2.0]

[stand-in.federation]
dataset = "breast-cancer"
num-hospitals = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(BASE)
    own = BASE.replace('dataset = "breast-cancer"', 'dataset = "csv"\npath = "/nowhere/own.csv"\ntarget = "died"')
    (tmp_path / "nowhere.toml").write_text(own)
    return tmp_path


def said(monkeypatch, capsys, *arguments):
    """Return the exit code and all that the command says."""
    monkeypatch.setattr(sys, "argv", ["wardround", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def test_a_stand_in_is_told_to_be_one_and_has_a_page(here, ray_session, monkeypatch, capsys):
    (here / "t.toml").write_text(STAND_IN)
    code, told, error = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out")
    words = " ".join(told.split())
    assert code == 0, error
    assert "t: 2 candidates on breast-cancer in the place of csv, by AUC" in words
    assert "Nothing was read of the job's own data (csv), and none of their epsilon was spent." in words
    assert "One seed: small differences are chance." in words
    assert told.splitlines()[2].split()[-1] == "chosen"
    assert (here / "out" / "report.html").is_file()
    again, text, _ = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out", "--json")
    assert again == 0
    assert json.loads(text) == json.loads((here / "out" / "summary.json").read_text())
    assert json.loads(text)["epsilon"]["readers"] == {"server": 0.0, "hospital": 0.0, "recipient": 0.0}


def test_private_data_are_told_to_be_billed_and_to_whom(here, ray_session, monkeypatch, capsys):
    (here / "t.toml").write_text(NOISY)
    code, told, error = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out")
    words = " ".join(told.split())
    assert code == 0, error
    assert "t: 2 candidates on breast-cancer, by Brier score of training records, with noise" in words
    assert "Spent of breast-cancer: epsilon " in words and "of 2 that may be spent: the most against anyone" in words
    assert "It does not hold for whoever learns how many there were" in words
    # The seed of seeded noise is in the file that is given on, and that is said where its reader is billed.
    assert tomllib.loads((here / "out" / "chosen.toml").read_text())["federation"]["seed"] == 42
    assert "with seeded noise, for whoever knows the seed, which chosen.toml holds" in words
    assert "they are in no epsilon, and chose nothing" in words
    assert (
        said(monkeypatch, capsys, "ledger", "verify", *sorted(map(str, (here / "out" / "scores").iterdir()))[:1])[0]
        == 0
    )
    # Whoever goes on with what is finished spends nothing more, and is told the same.
    again = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out")
    assert again[:2] == (0, told)


def test_repetitions_that_were_charged_again_take_a_tune_beyond_its_target_and_the_exit_code_is_3(
    here, ray_session, monkeypatch, capsys
):
    """Each keeps its own target, with other noise in the rounds left: what all come to was not planned for that."""
    base = BASE.replace("num-rounds = 2", "num-rounds = 3").replace("local-steps = 1", "local-steps = 10")
    (here / "base.toml").write_text(base.replace("sample-rate = 0.2", "sample-rate = 0.05"))
    law = "mean-repetitions = 1.5\nmost-repetitions = 2"
    (here / "t.toml").write_text(NOISY.replace(law, 'repetitions = "each-once"'))
    command = ("tune", "t.toml", "--out", "out")
    assert said(monkeypatch, capsys, *command)[0] == 0
    planned = json.loads((here / "out" / "summary.json").read_text())
    assert planned["status"] == "done" and planned["epsilon"]["total"] <= 2.0
    for place in (here / "out" / "runs").iterdir():
        config = load_config(place / "config.toml")
        shutil.rmtree(place)
        shutil.rmtree(here / "out" / "scores" / place.name)
        with interrupted_before_charging(monkeypatch, 1, is_charged=True):
            run(config, out=place)
        with interrupted_before_charging(monkeypatch, 1, is_charged=True):
            resume(place)
        assert charges_of(place, "planned") == [(1, f"hospital-0{number}") for number in (1, 2, 3)] * 2
    code, told, error = said(monkeypatch, capsys, *command)
    spent = json.loads((here / "out" / "summary.json").read_text())
    assert (code, spent["status"], spent["failures"]) == (3, "above-target", {})
    assert spent["epsilon"]["total"] > 2.0
    words = " ".join(told.split())
    assert "took the whole beyond the target: what is stated is what was spent." in words
    assert f"epsilon {spent['epsilon']['total']:.3g}" in words and ", of 2 that may be spent" in words
    assert "the tune spent more than its target-epsilon after interruptions: see out/summary.json" in error
    # Nothing is charged by repeating it, and the target comes before what failed.
    folder = here / "out" / "scores" / place.name
    epsilon = load_config(folder / "config.toml").privacy.target_epsilon
    shutil.rmtree(folder)
    with interrupted_before_charging(monkeypatch, 1, is_charged=True):
        release_score(config, place, folder, epsilon, DataOnce().load)
    code, told, _ = said(monkeypatch, capsys, *command)
    again = json.loads((here / "out" / "summary.json").read_text())
    assert (code, again["epsilon"], list(again["failures"])) == (3, spent["epsilon"], [place.name])


def test_what_failed_makes_the_exit_code_1_and_the_others_are_chosen_among(here, ray_session, monkeypatch, capsys):
    text = STAND_IN.replace('"training.learning-rate" = [0.1, 2.0]', '"training.loss-weights" = [[1.0, 2.0], [1.0]]')
    (here / "t.toml").write_text(text)
    code, told, error = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out")
    assert code == 1
    assert "1 runs failed; the choice is among the others. To try these again: wardround tune t.toml --out out" in error
    assert "Failed: " in told
    assert json.loads((here / "out" / "summary.json").read_text())["chosen"] == {"training.loss-weights": "[1.0, 2.0]"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NOISY.replace('on = "private"', ""), 'must be "stand-in" or "private"'),
        ("", "two candidates or more"),
        (NOISY.replace("noisy-brier", "auc"), "in no epsilon"),
        (NOISY.replace("learning-rate", "learning-rat"), "did you mean learning-rate"),
        (STAND_IN.replace("nowhere.toml", "base.toml"), "is the job's own data"),
    ],
)
def test_bad_tunes_end_with_2_and_a_word(here, monkeypatch, capsys, text, message):
    (here / "t.toml").write_text(text)
    code, _, error = said(monkeypatch, capsys, "tune", "t.toml", "--out", "out")
    assert code == 2
    assert message in error
    assert not (here / "out").exists()
