"""Whole runs: the same bits on every engine, epsilons that others recompute, every kind of data and model."""

import gc
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from safetensors.numpy import load_file
from small_runs import draw_in_common, results_of, rows_of, small_config

import wardround
from wardround.config import Config, load_config
from wardround.errors import ConfigError, DataError, WardroundError
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run

_EXAMPLES = Path(__file__).parents[2] / "examples"
# Its name for zero-out.
_RELATION = dp_accounting.NeighboringRelation.REPLACE_SPECIAL


def _example(name: str, *overrides: str) -> Config:
    return load_config(_EXAMPLES / name, ["simulation.engine=inline", *overrides])


def _with_data(config: Config, folder: Path) -> Config:
    return replace(config, federation=replace(config.federation, data_dir=str(folder)))


Releases = dict[str, list[tuple[float, float, int]]]


def _releases(folder: Path) -> Releases:
    """Read every hospital's (noise, rate, steps) of every round it was selected in from hospitals.csv alone."""
    releases: Releases = {}
    for row in rows_of(folder / "hospitals.csv"):
        done = releases.setdefault(row["hospital"], [])
        if row["selected"] == "1":
            done.append((float(row["noise_multiplier"]), float(row["sample_rate"]), int(row["num_steps"])))
    return releases


def _epsilon(accountant: Any, releases: Sequence[tuple[float, float, int]], delta: float) -> float:
    for noise, rate, steps in sorted(set(releases)):
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        accountant.compose(event, steps * releases.count((noise, rate, steps)))
    return float(accountant.get_epsilon(delta))


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> wardround.Run:
    config = _with_data(_example("heart-disease.toml"), real_data)
    return run(config, out=tmp_path_factory.mktemp("heart") / "run")


def test_heart_disease_learns_at_the_epsilon_that_was_asked_for(heart: wardround.Run) -> None:
    last = {row["hospital"]: row for row in rows_of(heart.folder / "hospitals.csv")[-4:]}
    assert [int(row["num_examples"]) for row in last.values()] == [200, 172, 30, 86]
    assert heart.summary["auc"] > 0.7
    assert all(0.999 * 5.0 < epsilon <= 5.0 for epsilon in heart.summary["epsilon"]["hospitals"].values())
    assert 0.999 * 5.0 < heart.summary["epsilon"]["total"] <= 5.0
    assert verify_run(heart.folder)[0] == []


def test_heart_disease_epsilons_are_those_of_dp_accounting(heart: wardround.Run) -> None:
    last = {row["hospital"]: float(row["epsilon"]) for row in rows_of(heart.folder / "hospitals.csv")[-4:]}
    for name, releases in _releases(heart.folder).items():
        assert len(releases) == 15
        renyi = _epsilon(RdpAccountant(neighboring_relation=_RELATION), releases, 1e-5)
        tight = _epsilon(PLDAccountant(_RELATION, 1e-3), releases, 1e-5)
        assert tight <= last[name] <= renyi * (1 + 1e-6)
        assert last[name] == pytest.approx(renyi, rel=0.01)
        assert heart.summary["epsilon"]["hospitals"][name] == pytest.approx(tight, rel=0.01)


def test_epsilons_grow_round_by_round_and_no_rounds_is_none(heart: wardround.Run) -> None:
    by_hospital: dict[str, list[float]] = {}
    for row in rows_of(heart.folder / "hospitals.csv"):
        by_hospital.setdefault(row["hospital"], []).append(float(row["epsilon"]))
    for epsilons in by_hospital.values():
        assert epsilons[0] == 0.0
        assert epsilons == sorted(set(epsilons))
    maxima = [float(row["epsilon_max"]) for row in rows_of(heart.folder / "rounds.csv")]
    assert maxima == [max(epsilons[number] for epsilons in by_hospital.values()) for number in range(16)]


@pytest.mark.parametrize("rate", [{"sample-rate": 0.05}, {"batch-size": 20, "sample-rate": None}, {"sample-rate": 1.0}])
def test_partial_cohorts_and_dropouts_pay_for_every_round_they_were_asked(rate: Any, tmp_path: Path) -> None:
    config = small_config(
        federation={"partition": "quantity"},
        training={"fraction-train": 0.6, "num-rounds": 6, **rate},
        simulation={"dropout-rate": 0.3},
        privacy={"noise-multiplier": 1.2},
    )
    folder = run(config, out=tmp_path / "run").folder
    rows = rows_of(folder / "hospitals.csv")
    assert {(row["selected"], row["completed"]) for row in rows} >= {("0", "0"), ("1", "0"), ("1", "1")}
    last = {row["hospital"]: float(row["epsilon"]) for row in rows[-3:]}
    for name, releases in _releases(folder).items():
        if not releases:
            assert last[name] == 0.0
            continue
        renyi = _epsilon(RdpAccountant(neighboring_relation=_RELATION), releases, 1e-4)
        tight = _epsilon(PLDAccountant(_RELATION, 1e-3), releases, 1e-4)
        assert tight <= last[name] <= renyi * (1 + 1e-6)


def test_each_hospital_has_its_own_delta(tmp_path: Path) -> None:
    deltas = {"hospital-01": 1e-3, "hospital-02": 1e-5, "hospital-03": 1e-7}
    finished = run(small_config(privacy={"target-delta": deltas}, training={"num-rounds": 2}), out=tmp_path / "run")
    last = {row["hospital"]: float(row["epsilon"]) for row in rows_of(finished.folder / "hospitals.csv")[-3:]}
    assert last["hospital-01"] < last["hospital-02"] < last["hospital-03"]
    epsilon = finished.summary["epsilon"]
    # Max and total are stated at one delta for all, which is written beside them.
    assert epsilon["target_delta"] == 1e-7
    assert epsilon["max"] == epsilon["hospitals"]["hospital-03"]
    for name, releases in _releases(finished.folder).items():
        assert last[name] <= _epsilon(RdpAccountant(neighboring_relation=_RELATION), releases, deltas[name]) * (
            1 + 1e-6
        )


@pytest.mark.slow
def test_a_change_of_engine_between_rounds_changes_nothing(ray_session: Any, tmp_path: Path) -> None:
    # One worker, which imports torch anew; more of them are in `test_sides_on_every_engine`.
    config = small_config(
        training={"num-rounds": 3, "fraction-train": 0.7},
        aggregation={"strategy": "fedadam", "eta": 0.05, "protocol": "secure-sum"},
        simulation={"dropout-rate": 0.2},
    )

    def stop(row: Any) -> None:
        if row.round_number == 1:
            raise KeyboardInterrupt

    inline = results_of(run(config, out=tmp_path / "inline").folder)
    with pytest.raises(KeyboardInterrupt):
        run(config, out=tmp_path / "changed", progress=stop)
    path = tmp_path / "changed" / "config.toml"
    path.write_text(path.read_text().replace('engine = "inline"', 'engine = "ray"\nnum-workers = 2'))
    assert resume(tmp_path / "changed").summary["engine"] == "ray"
    assert results_of(tmp_path / "changed") == inline


def test_two_runs_of_one_seed_are_one_and_of_two_seeds_are_not(tmp_path: Path) -> None:
    configs = [small_config(training={"num-rounds": 1}, federation={"seed": seed}) for seed in (7, 7, 8)]
    results = [results_of(run(config, out=tmp_path / str(index)).folder) for index, config in enumerate(configs)]
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]


def test_what_is_loaded_before_round_1_is_kept_from_the_collector_until_the_run_ends(tmp_path: Path) -> None:
    frozen: list[int] = []
    config = small_config(training={"num-rounds": 1})
    run(config, out=tmp_path / "run", progress=lambda row: frozen.append(gc.get_freeze_count()))
    assert len(frozen) == 2 and min(frozen) > 10_000
    assert gc.get_freeze_count() == 0


def test_without_privacy_epsilon_is_infinite_everywhere(tmp_path: Path) -> None:
    config = small_config(privacy={"placement": "none", "noise-multiplier": None}, training={"num-rounds": 2})
    finished = run(config, out=tmp_path / "run")
    assert finished.summary["epsilon"]["max"] == math.inf
    text = json.loads((finished.folder / "summary.json").read_text())
    assert text["epsilon"]["total"] == "inf"
    assert set(text["epsilon"]["readers"].values()) == {"inf"}
    assert {row["epsilon"] for row in rows_of(finished.folder / "hospitals.csv")[3:]} == {"inf"}
    assert finished.summary["auc"] > 0.9
    assert verify_run(finished.folder)[0] == []


def test_clipping_without_noise_is_infinite_too(tmp_path: Path) -> None:
    finished = run(small_config(privacy={"noise-multiplier": 0.0}, training={"num-rounds": 1}), out=tmp_path / "run")
    assert finished.summary["epsilon"]["max"] == math.inf
    assert verify_run(finished.folder)[0] == []


@pytest.mark.parametrize("mode", ["auto", "per-record", "ew", "functorch", "ghost", "closed-form"])
def test_every_mode_of_per_record_gradients(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_common(monkeypatch)
    training = {"num-rounds": 1, "grad-sample-mode": mode, "sample-rate": 0.02, "local-steps": 6}
    finished = run(small_config(training=training, model={"name": "mlp", "hidden-sizes": [8]}), out=tmp_path / "run")
    reference = run(
        small_config(training={**training, "grad-sample-mode": "hooks"}, model={"name": "mlp", "hidden-sizes": [8]}),
        out=tmp_path / "hooks",
    )
    models = [load_file(item.folder / "model.safetensors") for item in (finished, reference)]
    for name, array in models[0].items():
        np.testing.assert_allclose(array, models[1][name], rtol=1e-4, atol=1e-5)


class Residual(torch.nn.Linear):
    """A forward of its own, with a random layer."""

    def forward(self, records: torch.Tensor) -> torch.Tensor:
        return super().forward(records + torch.nn.functional.dropout(torch.tanh(records), 0.1, self.training))


def residual(*, input_shape: Sequence[int], num_outputs: int) -> torch.nn.Module:
    return Residual(input_shape[0], num_outputs)


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_a_forward_of_ones_own_runs_by_record_in_every_cell_and_the_run_says_so(placement: str, tmp_path: Path) -> None:
    config = small_config(
        model={"name": f"{__name__}:residual"},
        training={"num-rounds": 2, "sample-rate": 0.5, "local-steps": 1},
        privacy={"placement": placement},
        aggregation={"protocol": "secure-sum"} if placement == "distributed" else {},
    )
    finished = run(config, out=tmp_path / "run")
    reason = finished.summary["grad_sample_reason"]
    assert finished.summary["grad_sample_mode"] == "per-record"
    assert "run record by record" in reason and "the model (Residual) is not on the list" in reason
    assert reason in finished.summary["notes"] and reason in finished.summary["model_changes"]
    assert verify_run(finished.folder)[0] == []


def test_a_known_forward_is_said_without_a_note(tmp_path: Path) -> None:
    summary = run(small_config(training={"num-rounds": 1}), out=tmp_path / "run").summary
    assert summary["grad_sample_mode"] == "closed-form"
    assert summary["grad_sample_reason"] not in summary["notes"]


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_mode_that_needs_a_known_forward_is_refused_before_there_is_a_run(mode: str, tmp_path: Path) -> None:
    config = small_config(model={"name": f"{__name__}:residual"}, training={"grad-sample-mode": mode})
    with pytest.raises(ConfigError, match='set "auto" or "per-record"'):
        run(config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images(tmp_path: Path) -> None:
    config = small_config(
        federation={"dataset": "digits"},
        model={"name": "cnn", "channels": [4, 8]},
        training={"num-rounds": 4, "local-steps": 10, "learning-rate": 1.0},
        privacy={"noise-multiplier": 0.3},  # 5 to 6 times the share, with seeds 1 to 6: whatever noise the code draws
    )
    finished = run(config, out=tmp_path / "run")
    assert finished.summary["accuracy"] > 2 * finished.summary["majority_accuracy"]
    assert 0.5 < finished.summary["auc"] <= 1.0


def test_regression_at_many_small_hospitals(tmp_path: Path) -> None:
    config = small_config(
        federation={"dataset": "synthetic-regression", "num-hospitals": 200, "partition": "quantity"},
        training={"num-rounds": 1, "fraction-train": 0.05, "learning-rate": 0.05},
        privacy={"target-delta": 1e-6},
    )
    finished = run(config, out=tmp_path / "run")
    assert "accuracy" not in finished.summary
    assert math.isfinite(finished.summary["r2"])
    assert len(rows_of(finished.folder / "hospitals.csv")) == 2 * finished.summary["num_hospitals"]
    assert all(row["auc"] == "" for row in rows_of(finished.folder / "rounds.csv"))


def test_ones_own_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_EXAMPLES.parent)
    finished = run(_example("own-csv.toml"), out=tmp_path / "run")
    assert finished.summary["auc"] > 0.55
    assert verify_run(finished.folder)[0] == []


def test_frames_for_people(heart: wardround.Run) -> None:
    assert list(heart.rounds["round"]) == list(range(16))
    assert len(heart.hospitals) == 64
    assert set(heart.ledger["state"]) == {"planned", "released"}


def _write_table(path: Path, rows: Sequence[str]) -> dict[str, Any]:
    path.write_text("\n".join(rows))
    return {
        "dataset": "csv",
        "path": str(path),
        "target": "sick",
        "hospital-column": "site",
        "num-hospitals": None,
    }


def test_a_hospital_with_one_patient_is_left_out_by_name(tmp_path: Path) -> None:
    rows = ["site,age,sick", *(f"{'ab'[i % 2]},{20 + i},{int(i > 20)}" for i in range(40)), "tiny,50,1"]
    config = small_config(federation=_write_table(tmp_path / "t.csv", rows), training={"num-rounds": 1})
    summary = run(config, out=tmp_path / "run").summary
    assert summary["num_hospitals"] == 2
    assert summary["excluded"] == ["tiny has <10 patients, fewer than min-patients = 2"]


def test_a_hospital_with_one_class_takes_part_and_is_named(tmp_path: Path) -> None:
    rows = ["site,age,sick", *(f"{'ab'[i % 2]},{20 + i},{int(i % 4 > 1)}" for i in range(200))]
    rows += [f"well,{30 + i},0" for i in range(10)]
    config = small_config(federation=_write_table(tmp_path / "t.csv", rows), training={"num-rounds": 1})
    finished = run(config, out=tmp_path / "run")
    assert any("only one class at well" in note for note in finished.summary["notes"])
    last = {row["hospital"]: row for row in rows_of(finished.folder / "hospitals.csv")[-3:]}
    assert last["well"]["auc"] == "" and last["a"]["auc"] != ""


def test_missing_values_do_not_reach_the_model(tmp_path: Path) -> None:
    rows = ["site,age,dose,sick", *(f"{'ab'[i % 2]},{20 + i if i % 7 else ''},NaN,{int(i > 20)}" for i in range(40))]
    config = small_config(federation=_write_table(tmp_path / "t.csv", rows), training={"num-rounds": 1})
    try:
        finished = run(config, out=tmp_path / "run")
    except (DataError, ConfigError) as error:
        assert "dose" in str(error)  # a column with nothing in it may be refused by name
    else:
        assert all(np.isfinite(array).all() for array in load_file(finished.folder / "model.safetensors").values())


def test_a_patient_at_two_hospitals_needs_the_overlap_stated(tmp_path: Path) -> None:
    rows = ["site,who,age,sick", *(f"{'ab'[i % 2]},{i // 2},{20 + i},{int(i > 20)}" for i in range(60))]
    federation = {**_write_table(tmp_path / "t.csv", rows), "patient-column": "who"}
    with pytest.raises(ConfigError, match=r"patient-overlap = 1 must be >= 2"):
        run(small_config(federation=federation), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = small_config(federation=federation, privacy={"patient-overlap": 2}, training={"num-rounds": 1})
    finished = run(config, out=tmp_path / "run")
    assert finished.summary["epsilon"]["total"] > finished.summary["epsilon"]["max"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"federation": {"num-hospitals": 9999}}, r"num-hospitals = 9999 must be <= 569"),
        ({"privacy": {"target-delta": 0.1}}, r"target-delta = 0.1 must be > 0 and < 1/1"),
        ({"model": {"name": "cnn"}}, r"needs images"),
        ({"aggregation": {"strategy": "fedprox"}}, r"needs \[aggregation\] proximal-mu"),
        ({"aggregation": {"min-survivors": 4}}, r"min-survivors = 4 must be <= 3"),
        ({"training": {"device": "cuda"}}, r"torch finds none here"),
    ],
)
def test_what_can_be_refused_is_refused_before_there_is_a_folder(
    sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if "cuda" in str(sections) and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(WardroundError, match=message):
        run(small_config(**sections), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_package_runs_without_a_command_line(tmp_path: Path) -> None:
    finished = wardround.run(small_config(training={"num-rounds": 1}), out=tmp_path / "run")
    assert isinstance(finished, wardround.Run)
    call: Callable[..., Any] = wardround.resume
    assert call(finished.folder).summary["status"] == "done"
