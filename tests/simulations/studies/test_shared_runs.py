"""What runs of a study share in a process changes no bit of theirs; what is synced late is redone after a restart."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import results_of, small_config

from wardround.config import FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, load_dataset, load_federation
from wardround.privacy.ledger_file import open_file
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.restarts import released_alike, set_aside_what_a_restart_cut_off
from wardround.simulations.studies.study import Study, StudyRun
from wardround.simulations.studies.study_run import finish_run, read_result

STUDY = Study(
    base=small_config(
        training={"num-rounds": 3, "local-steps": 1, "sample-rate": 0.2},
        # A strategy that remembers, so that a memory that passed from run to run would be seen.
        aggregation={"strategy": "fedavgm", "protocol": "secure-sum", "min-survivors": 3},
    ),
    placements=("local", "central"),
    target_epsilons=(2.0,),
    seeds=(1, 2),
    baselines=("alone",),
)
ALONE = """
import pickle, sys
from pathlib import Path
from wardround.simulations.studies.study_run import finish_run
item, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
finish_run(item, folder)
"""
LOADER = """
from pathlib import Path
from sklearn.datasets import load_breast_cancer

def load():
    with Path(COUNTED).open("a") as file:
        file.write("x")
    features, labels = load_breast_cancer(return_X_y=True)
    return {"north": (features[:300], labels[:300]), "south": (features[300:], labels[300:])}
"""


def told(folder: Path) -> dict[str, Any]:
    """Return what a run's summary says, except for when it was."""
    summary = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in ("seconds", "dates", "ledger_head")}


def same_data(one: FederatedData, other: FederatedData) -> bool:
    return [hospital.fingerprint for hospital in one.hospitals] == [h.fingerprint for h in other.hospitals] and all(
        np.array_equal(mine.test_features, theirs.test_features)
        and np.array_equal(mine.test_labels, theirs.test_labels)
        for mine, theirs in zip(one.hospitals, other.hospitals, strict=True)
    )


def test_a_run_after_others_in_a_process_is_the_run_of_a_process_of_its_own(tmp_path: Path) -> None:
    items, data = STUDY.runs(), DataOnce()
    for item in items:
        finish_run(item, tmp_path / "together" / item.name, data=data, is_synced=False)
    item = items[-1]
    given, alone, together = tmp_path / "given", tmp_path / "alone", tmp_path / "together" / item.name
    given.write_bytes(pickle.dumps((item, alone)))
    subprocess.run([sys.executable, "-c", ALONE, str(given)], check=True)
    mine, theirs = read_result(together), read_result(alone)
    assert mine is not None and theirs is not None
    assert mine.hospitals == theirs.hospitals
    assert results_of(together) == results_of(alone)
    assert told(together) == told(alone)
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}


def test_the_data_are_read_once_and_every_run_has_its_own_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_loader.py").write_text(f"COUNTED = {str(tmp_path / 'counted')!r}\n{LOADER}")
    monkeypatch.syspath_prepend(str(tmp_path))
    config, data = FederationConfig(dataset="own_loader:load"), DataOnce()
    first, second = data.load(config, FeaturesConfig()), data.load(replace(config, seed=5), FeaturesConfig())
    assert (tmp_path / "counted").read_text() == "x"
    assert same_data(first, load_federation(config))
    assert same_data(second, load_federation(replace(config, seed=5)))
    assert not same_data(first, second)
    assert not any(hospital.train_features.flags.writeable for hospital in first.hospitals)


def test_other_data_are_read_anew() -> None:
    data = DataOnce()
    for name in ("breast-cancer", "digits", "breast-cancer"):
        assert data.load(FederationConfig(dataset=name), FeaturesConfig()).dataset_name == name


@pytest.mark.parametrize("name", ["breast-cancer", "digits", "synthetic-regression"])
def test_no_data_set_depends_on_the_seed(name: str) -> None:
    one, other = (load_dataset(FederationConfig(dataset=name, seed=seed)) for seed in (1, 2))
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.labels, other.labels)


def test_a_run_that_syncs_late_syncs_each_of_its_files_once_before_it_has_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, list[Path]()
    folder = tmp_path / "run"

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    finish_run(STUDY.runs()[-1], folder, is_synced=False)
    files = {path for path in folder.rglob("*") if path.name != "result.json"}
    assert files <= set(synced)
    assert all(synced.count(path) == 1 for path in files if path.is_file())
    assert synced.index(folder / "ledger.sqlite") < synced.index(folder / "result.json.partial")


def test_a_ledger_is_synced_at_each_charge_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    for is_synced, level in ((True, 3), (False, 0)):
        connection = open_file(tmp_path / f"{level}.sqlite", is_synced=is_synced)
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        connection.close()


def test_what_a_restart_cut_off_is_set_aside_and_done_anew_to_the_same_bits(tmp_path: Path) -> None:
    item = STUDY.runs()[-1]
    place = tmp_path / "runs" / item.name
    set_aside_what_a_restart_cut_off(tmp_path, [])
    before = finish_run(item, place, is_synced=False)
    bits = results_of(place)
    (place / "result.json").unlink()
    set_aside_what_a_restart_cut_off(tmp_path, [(item, place)])
    assert place.exists()  # the machine is still the one that began it
    for number in (1, 2):
        (tmp_path / "machine-started.txt").write_text("another time\n")
        (place / "ledger.sqlite").write_bytes(b"what a power cut left")
        set_aside_what_a_restart_cut_off(tmp_path, [(item, place)])
        assert not place.exists()
        aside = place.with_name(f"{place.name}-cut-off-{number}")
        assert (aside / "ledger.sqlite").read_bytes() == b"what a power cut left"
        again = finish_run(item, place, is_synced=False)
        assert again.hospitals == before.hospitals
        assert results_of(place) == bits


@pytest.mark.parametrize("simulation", [{"noise": "system"}, {"repetition": 3}])
def test_a_run_that_is_billed_or_draws_from_the_system_syncs_as_it_goes_and_is_never_begun_anew(
    tmp_path: Path, simulation: dict[str, Any]
) -> None:
    """Begun anew a billed repetition of a tune would leave what was charged twice out of the bill."""
    config = small_config(simulation=simulation)
    item = StudyRun(name="system", config=config)
    assert not released_alike(item)
    assert released_alike(replace(item, config=small_config()))
    (tmp_path / "runs" / "system").mkdir(parents=True)
    (tmp_path / "machine-started.txt").write_text("another time\n")
    set_aside_what_a_restart_cut_off(tmp_path, [(item, tmp_path / "runs" / "system")])
    assert (tmp_path / "runs" / "system").exists()
