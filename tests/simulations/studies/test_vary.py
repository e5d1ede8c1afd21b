"""[study.vary]: every combination of values is a run with a name and columns of its own; others are refused."""

import csv

import pytest
from small_runs import small_config

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.json_records import json_keys
from wardround.simulations.runs import run
from wardround.simulations.studies.comparison import compare
from wardround.simulations.studies.study import Study
from wardround.simulations.studies.study_records import HospitalRow, ResultRow
from wardround.simulations.studies.study_run import finish_run, read_result
from wardround.simulations.studies.study_toml import load_study

BASE = """
[training]
num-rounds = 2
sample-rate = 0.2
momentum = 0.5

[privacy]
target-epsilon = 3.0
target-delta = 1e-4
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)

    def write_study(text, name="trial.toml"):
        path = tmp_path / name
        path.write_text('[study]\nbase = "base.toml"\n' + text)
        return path

    return write_study


def test_values_multiply_placements_levels_and_seeds(write):
    text = (
        'placements = ["local", "central"]\ntarget-epsilons = [1.0, 2.0]\nseeds = [7, 8]\n'
        '[study.vary]\n"training.learning-rate" = [0.1, 0.5]\n"privacy.max-grad-norm" = [0.5, 1]\n'
        "[set.training]\nlocal-steps = 1\nmomentum = 0\n"
    )
    study = load_study(write(text))
    runs = study.runs()
    assert len(runs) == 2 * 2 * 2 * 2 * 2 == len({item.name for item in runs})
    assert runs[1].name == "record-local-epsilon-1-learning-rate-0.1-max-grad-norm-0.5-seed-8"
    for item in runs:
        rate, clip = (value for _, value in item.varied)
        assert (item.config.training.learning_rate, item.config.privacy.max_grad_norm) == (float(rate), float(clip))
        assert item.config.federation.seed in (7, 8)
        assert item.config.simulation.engine == "stacked"


def test_without_placements_the_privacy_is_the_bases(write):
    runs = load_study(
        write('[study.vary]\ntraining.learning-rate = [0.1, 0.5]\n[set.privacy]\nunit = "hospital"\n')
    ).runs()
    assert [item.name for item in runs] == [
        "hospital-local-epsilon-3-learning-rate-0.1-seed-1",
        "hospital-local-epsilon-3-learning-rate-0.5-seed-1",
    ]
    assert {item.config.privacy.target_epsilon for item in runs} == {3.0}


def test_without_privacy_it_is_the_federation_without_privacy_that_is_varied(write):
    text = '[study.vary]\n"training.learning-rate" = [0.1, 0.5]\n[set.privacy]\nplacement = "none"\n'
    runs = load_study(write(text)).runs()
    assert [(item.name, item.baseline) for item in runs] == [
        ("federated-learning-rate-0.1-seed-1", "federated"),
        ("federated-learning-rate-0.5-seed-1", "federated"),
    ]


def test_baselines_vary_with_what_makes_a_difference_to_them():
    vary = {
        "federation.num-hospitals": [3, 4],
        "features.standardise": ["private", "hospital"],
        "features.statistics-share": [0.1, 0.3],
        "training.learning-rate": [0.1, 0.5],
        "training.fraction-train": [0.5, 1.0],
        "privacy.max-grad-norm": [0.5, 1.0],
        "aggregation.min-survivors": [1, 2],
        "model.hidden-sizes": [[8], [16]],
    }
    names = list(vary)
    study = Study(base=Config(), vary=vary, baselines=("majority", "alone", "pooled", "federated"))
    by_baseline = {name: [item for item in study.runs() if item.baseline == name] for name in ("", *study.baselines)}
    assert {name: len(items) for name, items in by_baseline.items()} == {
        "": 2**8,
        "majority": 2,
        "alone": 8,  # sizes of hidden layers that a logistic model does not have make no difference
        "pooled": 8,
        "federated": 2**5,
    }
    for items in by_baseline.values():
        assert len({str(item.config) for item in items}) == len(items)
    (first, *_) = by_baseline["alone"]
    assert [name for name in names if dict(first.varied)[name]] == [
        "federation.num-hospitals",
        "features.standardise",
        "training.learning-rate",
    ]


def test_names_are_unique_and_fit_a_folder():
    long = [f"{'package.' * 12}module:factory_{number}" for number in range(3)]
    vary = {
        "model.name": ["logistic", "mlp"],
        "model.hidden-sizes": [[64], [8, 8]],
        "aggregation.strategy": ["a.b:c", "a:b.c"],
        "federation.data-dir": long,
        "privacy.target-delta": [1e-5, {"hospital-01": 1e-6}],
    }
    runs = Study(base=Config(), vary=vary).runs()
    assert len({item.name for item in runs}) == len(runs) == 2 * 2 * 2 * 3 * 2
    for item in runs:
        assert "/" not in item.name and ":" not in item.name and len(item.name) < 250
    assert "-name-mlp-hidden-sizes-8x8-" in runs[-1].name


def test_what_a_value_leaves_without_meaning_gives_way_and_is_named(write):
    notes = []
    study = load_study(write('[study.vary]\n"training.optimizer" = ["sgd", "adam"]\n'), note=notes.append)
    assert [item.config.training.momentum for item in study.runs()] == [0.5, 0.0]
    (note,) = notes
    assert note.startswith("momentum = 0.5 ([training] momentum) gives way")


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ('"privacy.placement" = ["local"]', r"write \[study\] placements = \[...\]"),
        ('"privacy.unit" = ["record"]', "units"),
        ('"privacy.noise-multiplier" = [1.0]', "noise-multipliers"),
        ('"privacy.target-epsilon" = [1.0]', "target-epsilons"),
        ('"federation.seed" = [1, 2]', "seeds"),
        ('"simulation.engine" = ["ray"]', "which the study decides"),
        ('"training.learning-rat" = [0.1]', "unknown key learning-rat .*did you mean learning-rate"),
        ('"trainin.learning-rate" = [0.1]', r"unknown section \[trainin\]: did you mean training"),
        ('"learning-rate" = [0.1]', 'must be "section.key"'),
        ('"training.learning-rate" = 0.1', "must be a list of values"),
        ('"training.learning-rate" = []', "must be a list of values"),
        ('"training.learning-rate" = [0.1, 0.5, 0.1]', "holds a value twice"),
        ('"training.learning-rate" = [1, 1.0]', "holds a value twice"),
        ('"training.learning-rate" = [0.1, -1]', r"learning-rate = -1.0 must be > 0 \(\[training\] learning-rate\)"),
        ('"training.optimizer" = ["sgd", "adma"]', "did you mean adam"),
        ('"training.batch-size" = [8]\n"training.sample-rate" = [0.1]', "exclude each other"),
        ('"training.optimizer" = ["adam"]\n"training.momentum" = [0.9]', 'momentum = 0.9 goes with optimizer = "sgd"'),
    ],
)
def test_what_is_refused_by_name(write, vary, message):
    with pytest.raises(ConfigError, match=message):
        load_study(write(f"[study.vary]\n{vary}\n")).runs()
    with pytest.raises(ConfigError, match="must be a table of settings"):
        load_study(write("vary = 3\n"))


def test_tables_have_a_column_of_each_setting_and_the_study_goes_on(ray_session, tmp_path):
    base = small_config(training={"num-rounds": 1, "local-steps": 1, "sample-rate": 0.2})
    study = Study(base=base, vary={"training.learning-rate": [0.1, 0.5]}, baselines=("majority", "federated"))
    folder = tmp_path / "study"
    done = compare(study, folder, num_workers=1)
    assert (done.num_runs, done.failures) == (5, {})

    def read(name):
        with (folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    rows, lines = read("results.csv"), read("hospitals.csv")
    assert list(rows[0]) == [*(key for key in json_keys(ResultRow) if key != "varied"), "training.learning-rate"]
    assert list(lines[0]) == [*(key for key in json_keys(HospitalRow) if key != "varied"), "training.learning-rate"]
    assert [row["training.learning-rate"] for row in rows] == ["", "0.1", "0.5", "0.1", "0.5"]
    varied = {row["run"]: row["training.learning-rate"] for row in rows}
    assert all(varied[line["run"]] == line["training.learning-rate"] for line in lines)
    item = study.runs()[-1]
    single = run(item.config, out=tmp_path / "single")
    name = "model.safetensors"
    assert (folder / "runs" / item.name / name).read_bytes() == (single.folder / name).read_bytes()
    before, rows = (folder / "results.csv").read_bytes(), read_result(folder / "runs" / item.name)
    (folder / "runs" / item.name / "result.json").unlink()
    # As a worker does it; then nothing is left, and the tables are made of what was found.
    assert finish_run(item, folder / "runs" / item.name) == rows == read_result(folder / "runs" / item.name)
    (folder / "results.csv").unlink()
    assert compare(study, folder).failures == {}
    assert (folder / "results.csv").read_bytes() == before
    with pytest.raises(ConfigError, match="holds another study"):
        compare(Study(base=base, vary={"training.learning-rate": [0.1, 0.4]}), folder)
