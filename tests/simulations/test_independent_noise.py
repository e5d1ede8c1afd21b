"""Two releases that differ in anything carry independent noise: between runs, studies, attempts and hospitals."""

import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import PRIVATE
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import binomtest, kstest
from small_runs import charges_of, interrupted_in_training, results_of, small_config

from wardround.clients.training import LocalTrainer
from wardround.config import Config
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run
from wardround.simulations.studies.study import Study
from wardround.simulations.studies.study_run import finish_run

Sent = dict[tuple[str, int, int], NDArray[np.float64]]
"""What hospitals sent, by hospital, round and attempt."""


def full_batch(unit: str, placement: str, noise_multiplier: float, **sections: Mapping[str, Any]) -> Config:
    """One round in which nothing is drawn but the noise."""
    gradient = unit == "record" and placement != "local"
    whole: dict[str, Any] = {
        "model": {"name": "mlp"},
        "training": {"num-rounds": 1, "sample-rate": 1.0, "local-steps": None if gradient else 1},
        "privacy": {"unit": unit, "placement": placement, "noise-multiplier": noise_multiplier},
        "aggregation": {"protocol": "secure-sum", "min-survivors": 3},
    }
    return small_config(**{name: whole.get(name, {}) | dict(sections.get(name, {})) for name in whole | sections})


def flat(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(arrays[name], float).reshape(-1) for name in sorted(arrays)])


def model_in(folder: Path) -> NDArray[np.float64]:
    return flat(load_file(folder / "model.safetensors"))


def noise_stddev(unit: str, placement: str, sizes: list[int]) -> float:
    """Of the noise in the model after one round at noise multiplier 1, clip 1, rate 1: docs/privacy.md, last column."""
    if unit == "record":
        return 0.5 * math.sqrt(len(sizes) if placement == "local" else 1) / sum(sizes)
    return 2 * math.hypot(*sizes) / sum(sizes) if placement == "local" else max(sizes) / sum(sizes)


def check_normal(values: NDArray[np.float64], stddev: float) -> None:
    # Whatever noise the code of the day draws: a right scale fails once in 10^6; of 2,000 values a wrong one is below
    # 10^-11.
    assert len(values) > 2000
    assert kstest(values / stddev, "norm").pvalue > 1e-6
    for wrong in (2 / 3, 3 / 2):
        assert kstest(values / (stddev * wrong), "norm").pvalue < 1e-8


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """Keep what every hospital sends."""
    sent: Sent = {}
    real = LocalTrainer.train

    def watching(self: Any, arrays: Any, tensors: Any, assignment: Assignment, **options: Any) -> Any:
        result = real(self, arrays, tensors, assignment, **options)
        sent[assignment.hospital_id, assignment.round_number, assignment.attempt] = flat(result[0])
        return result

    with monkeypatch.context() as patch:
        patch.setattr(LocalTrainer, "train", watching)
        yield sent


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_one_seed_and_two_noise_multipliers_do_not_give_the_model_without_noise(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {}
    for z in (2.0, 4.0):
        done = run(full_batch(unit, placement, z), out=tmp_path / str(z))
        models[z] = model_in(done.folder)
    sizes = [int(hospital["num_train"]) for hospital in done.summary["hospitals"]]
    one = noise_stddev(unit, placement, sizes)
    # Of 2 m(2) - m(4) = model + 2 e(2) - e(4) the noise would be gone, were it the same stream at two scales.
    check_normal(models[2.0] - models[4.0], one * math.hypot(2, 4))


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"learning-rate": 0.5000001}},
        {"training": {"num-rounds": 2}},
        {"training": {"grad-sample-mode": "ew"}},
        {"privacy": {"target-delta": 2e-4}},
        {"federation": {"test-fraction": 0.201}},
        {"aggregation": {"strategy": "fedavgm"}},
        {"simulation": {"noise": "system"}},
    ],
)
def test_any_other_setting_is_other_noise(change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as first:
        done = run(full_batch("record", "local", 50.0), out=tmp_path / "one")
    with watched(monkeypatch) as second:
        run(full_batch("record", "local", 50.0, **change), out=tmp_path / "other")
    for hospital in done.summary["hospitals"]:
        key = (hospital["hospital"], 1, 1)
        check_normal(first[key] - second[key], 0.5 * 50 * math.sqrt(2) / int(hospital["num_train"]))


def test_runs_that_differ_draw_their_batches_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A record that both draw at once would be amplified once, and the bills count on twice.
    batches: list[list[NDArray[np.bool_]]] = []
    real = PoissonSampler.draw

    def watching(self: PoissonSampler) -> Any:
        rows = real(self)
        batches[-1].append(np.isin(np.arange(400), rows.numpy()))
        return rows

    monkeypatch.setattr(PoissonSampler, "draw", watching)
    for name, noise in (("one", 1.0), ("other", 1.0000001), ("same", 1.0)):
        batches.append([])
        config = small_config(
            federation={"num-hospitals": 1},
            training={"num-rounds": 10, "sample-rate": 0.5},
            privacy={"noise-multiplier": noise},
        )
        run(config, out=tmp_path / name)
    one, other, same = (np.concatenate(each) for each in batches)
    assert np.array_equal(one, same)
    agreeing = int((one == other)[one | other].sum())
    # Of two fair coins, one of which at least shows heads, both do so in a third of the cases.
    assert binomtest(agreeing, int((one | other).sum()), 1 / 3).pvalue > 1e-6


def test_runs_of_a_study_share_no_noise(tmp_path: Path) -> None:
    study = Study(
        base=full_batch("record", "local", 1.0),
        placements=("local", "central"),
        noise_multipliers=(20.0, 40.0),
        seeds=(3,),
    )
    models = {}
    for item in study.runs():
        finish_run(item, tmp_path / item.name)
        privacy = item.config.privacy
        models[privacy.placement, privacy.noise_multiplier] = model_in(tmp_path / item.name)
    sizes = [int(h["num_train"]) for h in resume(tmp_path / item.name).summary["hospitals"]]
    noises = {key: float(key[1] or 0) * noise_stddev("record", key[0], sizes) for key in models}
    assert len(models) == 4
    pairs = [(one, other) for one in models for other in models if one < other]
    for one, other in pairs:
        difference = models[one] - models[other]
        # The first round is the same gradient step of the same model, whatever the placement: paired by the seed.
        check_normal(difference, math.hypot(noises[one], noises[other]))


def table_of(first: str, path: Path) -> Path:
    """Write a table of two hospitals with 400 columns, one of whose numbers is given."""
    generator = np.random.default_rng(0)
    rows = [[f"{number:.3f}" for number in generator.normal(size=400)] for _ in range(60)]
    rows[0][0] = first
    lines = [f"{'ab'[index % 2]},{index % 3 % 2},{','.join(row)}" for index, row in enumerate(rows)]
    path.write_text("\n".join(["site,sick," + ",".join(f"x{k}" for k in range(400)), *lines]))
    return path


def table_config(unit: str, placement: str, path: Path, num_rounds: int) -> Config:
    keys = {"dataset": "csv", "path": str(path), "target": "sick", "hospital-column": "site"}
    return full_batch(
        *(unit, placement, 50.0),
        federation={**keys, "num-hospitals": None, "test-fraction": 0.1},
        model={"name": "mlp", "hidden-sizes": [6]},
        training={"num-rounds": num_rounds},
        aggregation={"min-survivors": 2},
    )


@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_shares_of_noise_are_all_others_where_one_hospitals_data_is(unit: str, tmp_path: Path) -> None:
    models = []
    for first in ("0.5", "0.75"):
        config = table_config(unit, "distributed", table_of(first, tmp_path / "table.csv"), 1)
        done = run(config, out=tmp_path / first)
        models.append(model_in(done.folder))
    sizes = [int(hospital["num_train"]) for hospital in done.summary["hospitals"]]
    # With b's share in common, half the variance that is billed would be left.
    check_normal(models[0] - models[1], 50 * math.sqrt(2) * noise_stddev(unit, "distributed", sizes))


def test_another_hospitals_data_is_other_noise_from_the_first_round_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    for first in ("0.5", "0.75"):
        config = table_config("record", "local", table_of(first, tmp_path / "table.csv"), 2)
        with watched(monkeypatch) as each:
            sizes = run(config, out=tmp_path / first).summary["hospitals"]
        sent.append(each)
    num_train = {hospital["hospital"]: int(hospital["num_train"]) for hospital in sizes}
    stddev = {name: 0.5 * 50 * math.sqrt(2) / number for name, number in num_train.items()}
    check_normal(sent[0]["a", 1, 1] - sent[1]["a", 1, 1], stddev["a"])
    check_normal(sent[0]["b", 1, 1] - sent[1]["b", 1, 1], stddev["b"])
    moved = [stddev[name] * num_train[name] / sum(num_train.values()) for name in stddev]  # what is in the model
    check_normal(sent[0]["b", 2, 1] - sent[1]["b", 2, 1], math.hypot(*moved, stddev["b"]))


_READER = """
import os
from torch import nn
class Scaled(nn.Module):
    def forward(self, x):
        return x * float(os.environ["OWN_SCALE"])
def build(*, input_shape, num_outputs):
    return nn.Sequential(Scaled(), nn.Linear(input_shape[0], 64), nn.Tanh(), nn.Linear(64, num_outputs))
"""


@pytest.mark.parametrize(("unit", "placement"), PRIVATE)
def test_what_a_forward_reads_as_it_runs_is_other_noise(
    unit: str, placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the code nor the model as it was built tells of it."""
    (tmp_path / "own_reader.py").write_text(_READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = full_batch(unit, placement, 50.0, model={"name": "own_reader:build"})
    models = []
    for scale in ("1.0", "1.001"):
        monkeypatch.setenv("OWN_SCALE", scale)
        done = run(config, out=tmp_path / scale)
        models.append(model_in(done.folder))
    sizes = [int(hospital["num_train"]) for hospital in done.summary["hospitals"]]
    check_normal(models[0] - models[1], 50 * math.sqrt(2) * noise_stddev(unit, placement, sizes))


_FACTORY = """
from torch import nn
from own_layers import Scaled
def build(*, input_shape, num_outputs):
    return nn.Sequential(Scaled(), nn.Linear(input_shape[0], 64), nn.Tanh(), nn.Linear(64, num_outputs))
"""
_LAYERS = """
from torch import nn
class Scaled(nn.Module):
    def forward(self, x):
        return x * 1.0
"""


@pytest.mark.parametrize("edited", [False, True])
def test_a_round_that_is_done_again_carries_noise_of_its_own_and_is_paid_for(
    edited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_factory.py").write_text(_FACTORY)
    (tmp_path / "own_layers.py").write_text(_LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    config = full_batch("record", "local", 50.0, model={"name": "own_factory:build"}, training={"num-rounds": 3})
    with watched(monkeypatch) as sent:
        with interrupted_in_training(monkeypatch, 2):
            run(config, out=tmp_path / "run")
        if edited:
            (tmp_path / "own_layers.py").write_text(_LAYERS.replace("1.0", "1.1"))
            for name in ("own_factory", "own_layers"):
                monkeypatch.delitem(sys.modules, name)
        done = resume(tmp_path / "run")
    # The longest was first, so its release may have been seen before the run was interrupted.
    ((name, *_),) = [key for key in sent if key[1:] == (2, 1)]
    (num_train,) = [int(h["num_train"]) for h in done.summary["hospitals"] if h["hospital"] == name]
    check_normal(sent[name, 2, 1] - sent[name, 2, 2], 0.5 * 50 * math.sqrt(2) / num_train)
    assert charges_of(done.folder, "planned").count((2, name)) == 2
    assert verify_run(done.folder)[0] == []


def test_noise_of_the_operating_system_repeats_nothing(tmp_path: Path) -> None:
    folders = []
    for placement in ("local", "central"):
        config = full_batch("record", placement, 50.0, simulation={"noise": "system"})
        done = [run(config, out=tmp_path / f"{placement}{number}") for number in range(2)]
        assert [each.summary["noise"] for each in done] == ["system", "system"]
        sizes = [int(hospital["num_train"]) for hospital in done[0].summary["hospitals"]]
        one = 50 * noise_stddev("record", placement, sizes)
        check_normal(model_in(done[0].folder) - model_in(done[1].folder), one * math.sqrt(2))
        folders += [each.folder for each in done]
    assert all(verify_run(folder)[0] == [] for folder in folders)
    assert run(full_batch("record", "local", 50.0), out=tmp_path / "seeded").summary["noise"] == "seeded"


def test_the_same_job_gives_the_same_bits_wherever_its_data_lie(tmp_path: Path, real_data: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(real_data / "heart_disease", copy / "heart_disease")
    results = []
    for folder in (real_data, copy):
        federation = {"dataset": "heart-disease", "num-hospitals": None, "data-dir": str(folder)}
        config = small_config(federation=federation, training={"num-rounds": 2, "sample-rate": 0.3})
        results.append(results_of(run(config, out=tmp_path / f"run{len(results)}").folder))
    assert results[0] == results[1]
