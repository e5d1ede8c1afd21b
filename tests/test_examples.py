"""Every example runs as it stands, in few rounds: settings and studies alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_runs import rows_of

import wardround
from wardround.config import load_config
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.study_run import finish_run
from wardround.simulations.studies.study_toml import load_study
from wardround.simulations.studies.tune_toml import load_tune
from wardround.simulations.studies.vary import VARIANT

ROOT = Path(__file__).parents[1]
_READ_FROM_FILES = (
    "chest-x-rays",
    "cifar10-imbalanced",
    "falling-rates",
    "fashion-mnist",
    "fashion-mnist-hospitals",
    "fashion-mnist-options",
    "fashion-mnist-placements",
    "fashion-mnist-published-noise",
    "fashion-mnist-trustless",
    "flamby-heart-disease",
    "flamby-heart-disease-without-privacy",
    "heart-disease",
    "heart-with-a-trusted-server",
    "hospitals-at-epsilon-8",
    "hospitals-at-equal-epsilon",
    "imbalance",
    "imbalance-of-hospitals",
    "personal-models",
    "personal-models-of-small-hospitals",
    "placements-at-equal-epsilon",
    "stroke-trial",
    "stroke-trial-alone",
    "survival",
    "tcga-brca",
    "the-clip",
    "the-clip-of-hospitals",
    "the-clip-without-privacy",
    "tune-stroke",
    "tune-stroke-private",
)
"""Examples whose data no package ships."""
_SHORTER = {
    "fashion-mnist": {"features": {"extract": "none"}, "training": {"sample-rate": 0.005}},
    "fashion-mnist-trustless": {"training": {"sample-rate": 0.005}},
}
_LARGEST_21 = {"federation": {"min-patients": 150}, "aggregation": {"min-survivors": 21}}
_SHORTER_STUDIES = {
    "falling-rates": _LARGEST_21,
    "imbalance": _LARGEST_21,
    "personal-models-of-small-hospitals": {"federation": {"min-patients": 150}},
    "imbalance-of-hospitals": _LARGEST_21,
    "placements-at-equal-epsilon": _LARGEST_21,
    "stroke-trial-alone": _LARGEST_21,
    "hospitals-at-epsilon-8": _LARGEST_21,
    "hospitals-at-equal-epsilon": _LARGEST_21,
    "the-clip-of-hospitals": _LARGEST_21,
    "chest-x-rays": {"features": {"extract": "none"}, "federation": {"class-weights": [0.2, 0.2]}},
    "cifar10-imbalanced": {"federation": {"class-weights": [0.05] * 10}},
    "fashion-mnist-published-noise": {"federation": {"class-weights": [0.01] * 10}, "training": {"local-steps": 2}},
    "fashion-mnist-hospitals": {
        "features": {"extract": "none"},
        "federation": {"class-weights": [0.01] * 10, "num-hospitals": 50},
        "aggregation": {"min-survivors": 50},
    },
    "fashion-mnist-options": {"federation": {"class-weights": [0.01] * 10}},
    "fashion-mnist-placements": {"features": {"extract": "none"}, "federation": {"class-weights": [0.01] * 10}},
    "noise-on-a-regression": {"training": {"local-steps": 2}},
}
"""What else a test has no time for: of the stroke trial's hospitals a study takes the 21 largest, and of images few."""


def files(folder: str) -> list[Any]:
    """Return the settings files of a folder; those of images take longer than the others."""
    slow = [pytest.mark.slow]
    found = sorted((ROOT / folder).glob("*.toml"))
    return [pytest.param(path, id=path.stem, marks=slow if path.stem in _SHORTER else []) for path in found]


@pytest.fixture(autouse=True)
def _as_the_examples_say(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where they are to be run from, with their own modules to import and their data, or skip."""
    if request.getfixturevalue("path").stem in _READ_FROM_FILES:
        monkeypatch.setenv("WARDROUND_DATA", str(request.getfixturevalue("real_data")))
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


@pytest.mark.parametrize("path", files("examples"))
def test_every_example_runs_to_its_end_within_its_target(path: Path, tmp_path: Path) -> None:
    config = load_config(path).change(**_SHORTER.get(path.stem, {}))
    config = config.change(training={"num-rounds": 2}, simulation={"engine": "inline"})
    done = wardround.run(config, out=tmp_path / "run")
    assert done.summary["status"] == "done"
    assert [row["round"] for row in rows_of(done.folder / "rounds.csv")] == ["0", "1", "2"]
    epsilon, target = done.summary["epsilon"]["max"], config.privacy.target_epsilon
    assert 0 < epsilon <= (target or float("inf"))
    assert (done.folder / "model.safetensors").is_file()


@pytest.mark.parametrize("path", [each for each in files("examples/studies") if "tune" not in each.id])
def test_every_kind_of_run_of_a_study_that_is_an_example_runs(path: Path, tmp_path: Path) -> None:
    study = load_study(path)
    study = replace(
        study,
        base=study.base.change(**_SHORTER_STUDIES.get(path.stem, {})).change(training={"num-rounds": 1}),
        seeds=study.seeds[:1],
        target_epsilons=study.target_epsilons[:1],
        noise_multipliers=study.noise_multipliers[:1],
    )
    runs = study.runs()
    assert {run.baseline for run in runs} >= set(study.baselines)
    # Of settings that are varied the first values, of variants all.
    kinds = {
        (each.config.privacy.placement, each.baseline, dict(each.varied or ()).get(VARIANT)): each
        for each in runs[::-1]
    }
    data = DataOnce()
    for number, study_run in enumerate(kinds.values()):
        row = finish_run(study_run, tmp_path / str(number), data=data).row
        assert row.status == "done"
        assert (row.baseline, row.placement in study.placements) == (study_run.baseline, not study_run.baseline)
        assert row.score <= 1.0 and (row.score >= 0.0 or row.task == "regression")


@pytest.mark.parametrize("path", [each for each in files("examples/studies") if "tune" in each.id])
def test_every_candidate_of_a_tune_that_is_an_example_fits_its_data(path: Path, tmp_path: Path) -> None:
    tune = load_tune(path)
    for run in tune.study.runs():
        short = run.config.change(training={"num-rounds": 1}, federation={"seed": 1})
        if run.varied == tune.candidates()[0].varied:
            assert finish_run(replace(run, config=short), tmp_path / run.name).row.status == "done"
        assert run.config.privacy == tune.job.privacy
