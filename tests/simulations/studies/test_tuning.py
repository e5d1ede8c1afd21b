"""Tunes that run: what is read, what is spent, what is chosen, and that an interruption changes nothing of it."""

import csv
import json
import shutil
import stat
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import interrupted_before_charging
from test_tune import DIGITS, PRIVATE_TABLE
from tunes import NOISY, small_tune

from wardround.config import load_config
from wardround.errors import ConfigError
from wardround.privacy.ledger import open_ledger
from wardround.server.record.run_folder import open_run_folder
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import run, trained_module
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.noisy_scores import planned_score, release_score
from wardround.simulations.studies.repetitions import draw_repetitions
from wardround.simulations.studies.tuning import run_tune


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def seed_with(tune, wanted):
    """Return the first seed by which such repetitions are drawn."""
    return next(seed for seed in range(1000) if wanted(draw_repetitions(tune, seed=seed)))


@pytest.fixture(scope="module")
def noisy(ray_session, tmp_path_factory):
    """A tune of three repetitions, two of them of one candidate."""
    folder = tmp_path_factory.mktemp("noisy")
    seed = seed_with(small_tune(folder, NOISY), lambda drawn: len(drawn) == 3 and len(set(drawn)) == 2)
    tune = small_tune(folder, NOISY, set={"federation": {"seed": seed}})
    return tune, run_tune(tune, folder / "out", num_workers=2)


def test_a_stand_in_chooses_without_a_look_at_the_private_data(ray_session, tmp_path):
    """The job's table is nowhere: whoever opened it would fail."""
    tune = small_tune(tmp_path, {"on": "stand-in"}, base=PRIVATE_TABLE, stand_in=DIGITS, study={"seeds": [1, 2]})
    seen = []
    done = run_tune(tune, tmp_path / "out", num_workers=2, progress=lambda *told: seen.append(told))
    assert len(seen) == 4 and done.summary.failures == {}
    assert (done.summary.epsilon.total, set(done.summary.epsilon.readers.values())) == (0.0, {0.0})
    assert (done.summary.dataset, done.summary.stand_in, done.summary.score_name) == ("csv", "digits", "AUC")
    rows = table(tmp_path / "out" / "tuning.csv")
    results = table(tmp_path / "out" / "results.csv")
    for row in rows:
        mine = [each for each in results if each["training.learning-rate"] == row["training.learning-rate"]]
        assert float(row["score"]) == pytest.approx(np.mean([float(each["auc"]) for each in mine]))
        assert (row["num_runs"], row["trained_on"]) == ("2", "stand-in digits")
        assert row["scored_on"] == "test records of the stand-in digits"
    best = max(rows, key=lambda row: float(row["score"]))
    assert [row["is_chosen"] for row in rows] == [str(row is best) for row in rows]
    text = (tmp_path / "out" / "chosen.toml").read_text()
    assert "Nothing was read of the job's own data (csv), and none of their epsilon was spent." in text
    chosen = load_config(tmp_path / "out" / "chosen.toml")
    assert chosen.training.learning_rate == float(best["training.learning-rate"])
    job = tune.job
    assert chosen == replace(job, training=replace(job.training, learning_rate=chosen.training.learning_rate))


def test_the_score_of_survival_is_named_concordance(ray_session, tmp_path):
    lines = [f"{n % 3},{n % 7},{1 + n % 11},{n % 2}" for n in range(120)]
    (tmp_path / "times.csv").write_text("\n".join(["hospital,age,time,event", *lines]))
    others = {"dataset": "csv", "path": str(tmp_path / "times.csv"), "target": "time", "event-column": "event"}
    times = {"task": "survival", "time-edges": [0, 4, 12], "hospital-column": "hospital"}
    stand_in = {"federation": others | times}
    tune = small_tune(tmp_path, {"on": "stand-in"}, base=PRIVATE_TABLE, stand_in=stand_in, study={"seeds": [1]})
    assert run_tune(tune, tmp_path / "out", num_workers=1).summary.score_name == "concordance"


def test_all_that_was_spent_on_private_data_is_in_ledgers_and_in_the_bill(noisy):
    _, done = noisy
    folders = sorted([*(done.folder / "runs").iterdir(), *(done.folder / "scores").iterdir()])
    assert len(folders) == 6
    for folder in folders:
        assert verify_run(folder)[0] == []
    steps = 0
    for folder in folders:
        with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
            steps += sum(entry.event.num_steps for entry in ledger.entries() if entry.hospital_id == "hospital-01")
    assert steps == 3 * 2 + 3
    summary = done.summary
    assert summary.status == "done" and summary.num_runs == 3 and summary.score_share == 0.1
    assert max(summary.epsilon.readers.values()) == summary.epsilon.total <= summary.target_epsilon == 4.0
    assert summary.epsilon.readers["server"] > 0.8 * 4.0  # as many repetitions as there can be


def test_repetitions_of_one_candidate_are_independent(noisy):
    tune, done = noisy
    drawn = json.loads((done.folder / "tune.json").read_text())["drawn"]
    twice = max(set(drawn), key=drawn.count)
    name = tune.candidates()[twice].name
    first, second = sorted((done.folder / "runs").glob(f"*{name}"))
    models = [open_run_folder(folder).read_model()[0] for folder in (first, second)]
    assert all(not np.array_equal(models[0][key], models[1][key]) for key in models[0])
    assert load_config(first / "config.toml").federation == load_config(second / "config.toml").federation
    scores = [open_run_folder(done.folder / "scores" / each.name).read_model()[0] for each in (first, second)]
    assert scores[0]["weight"] != scores[1]["weight"]


def test_the_best_model_is_released_with_nothing_that_tells_how_many_there_were(noisy):
    _, done = noisy
    rows = table(done.folder / "tuning.csv")
    assert sum(int(row["num_runs"]) for row in rows) == 3
    best = min((row for row in rows if row["score"]), key=lambda row: float(row["score"]))
    assert best["is_chosen"] == "True" and best["run"] == done.summary.run
    model = (done.folder / "model.safetensors").read_bytes()
    assert model == (done.folder / "runs" / best["run"] / "model.safetensors").read_bytes()
    text = (done.folder / "chosen.toml").read_text()
    assert "repetition" not in text and "comes on top of the tune's" in text
    assert tomllib.loads(text)["privacy"]["target-epsilon"] < 4.0
    assert load_config(done.folder / "chosen.toml").training.learning_rate == float(best["training.learning-rate"])


def test_its_files_are_its_owners_alone(noisy):
    _, done = noisy
    places = list(done.folder.rglob("*"))
    assert {stat.S_IMODE(place.stat().st_mode) for place in places if place.is_file()} == {0o600}
    assert {stat.S_IMODE(place.stat().st_mode) for place in places if place.is_dir()} == {0o700}


def test_an_interruption_changes_nothing_and_what_is_done_is_not_done_again(noisy, tmp_path):
    tune, done = noisy
    again = tmp_path / "again"
    shutil.copytree(done.folder, again)
    last = sorted(path.name for path in (again / "runs").iterdir())[-1]
    shutil.rmtree(again / "runs" / last)
    shutil.rmtree(again / "scores" / last)
    for name in ("tuning.csv", "summary.json", "chosen.toml", "model.safetensors"):
        (again / name).unlink()
    seen = []
    assert run_tune(tune, again, num_workers=1, progress=lambda *told: seen.append(told)).summary == done.summary
    assert seen == [(2, 3, "found done"), (3, 3, last)]
    for name in ("tuning.csv", "summary.json", "chosen.toml", "model.safetensors", "tune.json"):
        assert (again / name).read_bytes() == (done.folder / name).read_bytes()


def test_a_score_that_was_lost_as_it_was_released_is_no_score_and_not_paid_for_twice(noisy, tmp_path, monkeypatch):
    tune, done = noisy
    again = tmp_path / "again"
    shutil.copytree(done.folder, again)
    lost = sorted(path.name for path in (again / "runs").iterdir())[-1]
    trained, folder = again / "runs" / lost, again / "scores" / lost
    epsilon = load_config(folder / "config.toml").privacy.target_epsilon
    shutil.rmtree(folder)
    with interrupted_before_charging(monkeypatch, 1, is_charged=True):
        release_score(load_config(trained / "config.toml"), trained, folder, epsilon, DataOnce().load)
    for _ in range(2):
        summary = run_tune(tune, again, num_workers=1).summary
        assert (
            list(summary.failures) == [lost]
            and "was charged and not released: round 1 was charged and interrupted" in summary.failures[lost]
        )
        assert summary.epsilon == done.summary.epsilon
        assert (summary.num_runs, summary.status) == (2, "done")
        assert summary.run != lost and summary.score > 0


def test_another_tune_is_refused_in_its_folder(noisy, tmp_path):
    _, done = noisy
    other = small_tune(tmp_path, NOISY | {"score-share": 0.5})
    with pytest.raises(ConfigError, match="holds another study"):
        run_tune(other, done.folder)


def test_public_records_score_for_free(ray_session, tmp_path):
    tune = small_tune(
        tmp_path,
        {"on": "private", "repetitions": "each-once"},
        set={"evaluation": {"public": "tunes:public_records"}},
    )
    done = run_tune(tune, tmp_path / "out", num_workers=2)
    assert not (tmp_path / "out" / "scores").exists()
    rows = table(tmp_path / "out" / "tuning.csv")
    for row in rows:
        summary = json.loads((tmp_path / "out" / "runs" / row["run"] / "summary.json").read_text())
        assert float(row["score"]) == summary["public_loss"]
        assert row["scored_on"] == "public records"
    assert done.summary.score == min(float(row["score"]) for row in rows)
    assert done.summary.epsilon.readers["recipient"] == done.summary.epsilon.total <= 4.0


def test_a_released_score_is_the_brier_score_with_the_noise_that_is_billed(tmp_path):
    """The noise itself is that of any run, whose scale is held by the tests of its cell."""
    tune = small_tune(tmp_path, NOISY, set={"simulation": {"engine": "inline"}})
    config, load = tune.candidates()[0].config, DataOnce().load
    run(config, out=tmp_path / "run")
    module = trained_module(open_run_folder(tmp_path / "run"), config)
    misses = []
    for hospital in load(config.federation, config.features).hospitals:
        with torch.no_grad():
            chances = module(torch.tensor(hospital.train_features)).softmax(1).double().numpy()
        misses += [1 - chance[label] for chance, label in zip(chances, hospital.train_labels, strict=True)]
    exact = np.mean(np.square(misses))
    for epsilon, folder in ((1e5, "hardly"), (1.0, "much")):
        planned = planned_score(config, epsilon, load)
        released = release_score(config, tmp_path / "run", tmp_path / folder, epsilon, load)
        assert abs(released - exact) < 6 * planned.stddev
        with open_ledger(tmp_path / folder / "ledger.sqlite", read_only=True) as ledger:
            assert ledger.events() == planned.account.events
        assert released == release_score(config, tmp_path / "run", tmp_path / folder, epsilon, load)
    assert planned.stddev > 1e-2
    assert planned_score(config, 1e5, load).stddev < 1e-4
