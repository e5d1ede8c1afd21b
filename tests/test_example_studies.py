"""Every study that is an example runs, one round of each kind of run."""

from dataclasses import replace
from pathlib import Path

import pytest
from example_files import as_the_examples_say, files, stem

from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.study_run import finish_run
from wardround.simulations.studies.study_toml import load_study
from wardround.simulations.studies.vary import VARIANT

_LARGEST_21 = {"federation": {"min-patients": 150}, "aggregation": {"min-survivors": 21}}
_SHORTER_STUDIES = {
    "adaptive-steps-stroke": {"federation": {"min-patients": 150}},
    "falling-rates": _LARGEST_21,
    "imbalance": _LARGEST_21,
    "personal-models-of-small-hospitals": {"federation": {"min-patients": 150}},
    "imbalance-local": _LARGEST_21,
    "imbalance-local-at-epsilon-1": _LARGEST_21,
    "imbalance-without-privacy": _LARGEST_21,
    "imbalance-of-hospitals": _LARGEST_21,
    "imbalance-of-hospitals-at-epsilon-8": _LARGEST_21,
    "placements-at-equal-epsilon": _LARGEST_21,
    "placements-local-at-small-epsilon": _LARGEST_21,
    "stroke-trial-alone": _LARGEST_21,
    "hospitals-at-epsilon-8": _LARGEST_21,
    "statistics-at-epsilon-8": _LARGEST_21,
    "hospitals-at-equal-epsilon": _LARGEST_21,
    "the-clip-of-hospitals": _LARGEST_21,
    "chest-x-rays-in-one-place": {"features": {"extract": "none"}, "federation": {"class-weights": [0.2, 0.2]}},
    "chest-x-rays-in-shares": {"features": {"extract": "none"}, "federation": {"class-weights": [0.2, 0.2]}},
    "chest-x-rays": {"features": {"extract": "none"}, "federation": {"class-weights": [0.2, 0.2]}},
    "cifar10-imbalanced-without-privacy": {"federation": {"class-weights": [0.05] * 10}},
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


@pytest.fixture(autouse=True)
def _as_the_examples_say(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    as_the_examples_say(request, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in files("examples/studies") if "tune" not in path.stem], ids=stem)
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
