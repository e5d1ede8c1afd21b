"""Every example runs as it stands, in few rounds, and every tune's candidates fit its data."""

from dataclasses import replace
from pathlib import Path

import pytest
from example_files import as_the_examples_say, files, stem
from small_runs import rows_of

import wardround
from wardround.config import load_config
from wardround.simulations.studies.study_run import finish_run
from wardround.simulations.studies.tune_toml import load_tune

_SHORTER = {
    "fashion-mnist": {"features": {"extract": "none"}, "training": {"sample-rate": 0.005}},
    "fashion-mnist-trustless": {"training": {"sample-rate": 0.005}},
}


@pytest.fixture(autouse=True)
def _as_the_examples_say(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    as_the_examples_say(request, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("path", files("examples"), ids=stem)
def test_every_example_runs_to_its_end_within_its_target(path: Path, tmp_path: Path) -> None:
    config = load_config(path).change(**_SHORTER.get(path.stem, {}))
    config = config.change(training={"num-rounds": 2}, simulation={"engine": "inline"})
    done = wardround.run(config, out=tmp_path / "run")
    assert done.summary["status"] == "done"
    assert [row["round"] for row in rows_of(done.folder / "rounds.csv")] == ["0", "1", "2"]
    epsilon, target = done.summary["epsilon"]["max"], config.privacy.target_epsilon
    assert 0 < epsilon <= (target or float("inf"))
    assert (done.folder / "model.safetensors").is_file()


@pytest.mark.parametrize("path", [path for path in files("examples/studies") if "tune" in path.stem], ids=stem)
def test_every_candidate_of_a_tune_that_is_an_example_fits_its_data(path: Path, tmp_path: Path) -> None:
    tune = load_tune(path)
    for run in tune.study.runs():
        short = run.config.change(training={"num-rounds": 1}, federation={"seed": 1})
        if run.varied == tune.candidates()[0].varied:
            assert finish_run(replace(run, config=short), tmp_path / run.name).row.status == "done"
        assert run.config.privacy == tune.job.privacy
