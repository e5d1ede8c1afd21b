"""Studies that run: the same bits as single runs, whatever the workers; resumable; one bad run alone is lost."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from small_runs import small_config

from wardround.errors import ConfigError, WardroundError
from wardround.json_records import json_keys
from wardround.simulations.runs import run
from wardround.simulations.studies.comparison import compare
from wardround.simulations.studies.study import Study
from wardround.simulations.studies.study_records import HospitalRow, ResultRow
from wardround.simulations.studies.study_run import finish_run, read_result

CONTRACT = [
    *("placement", "unit", "noise_multiplier", "target_epsilon", "seed", "baseline"),
    *("epsilon_max", "epsilon_total", "accuracy", "auc", "seconds"),
]
BASE = small_config(
    training={"num-rounds": 2, "local-steps": 1, "sample-rate": 0.2},
    aggregation={"protocol": "secure-sum", "min-survivors": 3},
)
STUDY = Study(
    base=BASE,
    placements=("local", "distributed", "central"),
    target_epsilons=(2.0,),
    seeds=(1, 2),
    baselines=("majority", "alone", "federated", "pooled"),
)
FACTORY = """
import os, signal
import torch

def dies_once_and_fails_with_seed_2(input_shape, num_outputs):
    if not os.path.exists(MARK):
        open(MARK, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if torch.initial_seed() == 2:
        raise RuntimeError("no model today")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(torch.tensor(input_shape).prod()), num_outputs))
"""


def table(folder, name, *without):
    with (folder / name).open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in without} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def compared(ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "two-workers"
    seen = []
    done = compare(STUDY, folder, num_workers=2, progress=lambda *args: seen.append(args))
    assert done.failures == {}
    assert [number for number, _, _ in seen] == list(range(1, 15))
    return folder


def test_the_tables_have_the_agreed_columns_and_a_row_per_run(compared):
    rows = table(compared, "results.csv")
    assert list(rows[0])[: len(CONTRACT)] == CONTRACT
    assert list(rows[0]) == [key for key in json_keys(ResultRow) if key != "varied"]
    assert [row["run"] for row in rows] == [item.name for item in STUDY.runs()]
    lines = table(compared, "hospitals.csv")
    assert list(lines[0]) == [key for key in json_keys(HospitalRow) if key != "varied"]
    assert len(lines) == 3 * len(rows)
    for row in rows:
        mine = [line for line in lines if line["run"] == row["run"]]
        if row["baseline"]:
            assert {line["epsilon"] for line in mine} == {row["epsilon_max"]} == {"inf"}
            assert row["noise_multiplier"] == row["target_epsilon"] == row["unit"] == ""
        else:
            assert max(float(line["epsilon"]) for line in mine) == float(row["epsilon_max"]) <= 2.0
            assert max(float(line["noise_multiplier"]) for line in mine) == float(row["noise_multiplier"])
        # The row's scores are the hospitals', weighted by their test records.
        tests = [int(line["num_test"]) for line in mine]
        accuracy = sum(n * float(line["accuracy"]) for n, line in zip(tests, mine, strict=True)) / sum(tests)
        assert accuracy == pytest.approx(float(row["accuracy"]), rel=1e-12)
        if row["baseline"]:
            balanced = float(row["balanced_accuracy"])
            assert balanced == 0.5 if row["baseline"] == "majority" else 0.5 < balanced <= 1


def test_a_study_without_varied_settings_writes_no_word_of_them(compared):
    assert "vary" not in json.loads((compared / "study.json").read_text())
    paths = list(compared.glob("runs/*/result.json"))
    assert paths and all("varied" not in path.read_text() for path in paths)


@pytest.mark.parametrize("placement", STUDY.placements)
def test_a_run_of_a_study_is_the_single_run_to_the_bit(compared, tmp_path, placement):
    item = next(item for item in STUDY.runs() if item.config.privacy.placement == placement)
    single = run(item.config, out=tmp_path / "single")
    inside = compared / "runs" / item.name
    for name in ("model.safetensors", "hospitals.csv", "config.toml"):
        assert (single.folder / name).read_bytes() == (inside / name).read_bytes(), name
    row = next(row for row in table(compared, "results.csv") if row["run"] == item.name)
    assert float(row["epsilon_max"]) == single.summary["epsilon"]["max"]
    assert float(row["auc"]) == single.summary["auc"]
    assert float(row["balanced_accuracy"]) == single.summary["recall_macro"]
    server = single.summary["epsilon"]["readers"]["server"]
    assert float(row["epsilon_server"]) == server
    assert (server == float("inf")) == (placement == "central")


def test_what_a_kill_left_behind_and_another_number_of_workers_change_nothing(compared, ray_session, tmp_path):
    folder = tmp_path / "killed"
    shutil.copytree(compared, folder)
    names = [item.name for item in STUDY.runs()]
    half, without_ledger, broken = [item.name for item in STUDY.runs() if item.baseline in ("", "federated")][:3]
    # Killed after its last round; before it had a ledger; with damaged rows; and the others before they began.
    (folder / "runs" / half / "result.json").unlink()
    for name in ("result.json", "ledger.sqlite", "model.safetensors"):
        (folder / "runs" / without_ledger / name).unlink()
    (folder / "runs" / broken / "result.json").write_text("{")
    for name in names[1:]:
        if name not in (half, without_ledger, broken):
            shutil.rmtree(folder / "runs" / name)
    (folder / "noise_on_average.csv").unlink()
    seen = []
    compare(STUDY, folder, num_workers=1, progress=lambda *args: seen.append(args))
    assert [number for number, _, _ in seen] == list(range(1, 15))
    assert seen[0] == (1, 14, "found done")
    for name in ("results.csv", "hospitals.csv", "noise_on_average.csv"):
        assert table(folder, name, "seconds") == table(compared, name, "seconds")
    for item in STUDY.runs():
        if item.baseline in ("", "federated"):
            paths = [place / "runs" / item.name / "model.safetensors" for place in (folder, compared)]
            assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_run_killed_between_rounds_goes_on_to_the_same_bits(compared, tmp_path):
    item = STUDY.runs()[-1]

    class Killed(BaseException):
        pass

    def stop(row):
        if row.round_number == 1:
            raise Killed

    with pytest.raises(Killed):
        run(item.config, out=tmp_path / "half", progress=stop)
    assert read_result(tmp_path / "half") is None
    result = finish_run(item, tmp_path / "half")
    inside = read_result(compared / "runs" / item.name)
    assert result.hospitals == inside.hospitals


def test_a_worker_that_dies_is_replaced_and_a_bad_run_leaves_the_others_results(ray_session, tmp_path, monkeypatch):
    (tmp_path / "own_factories.py").write_text(f"MARK = {str(tmp_path / 'died')!r}\n{FACTORY}")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = replace(BASE.model, name="own_factories:dies_once_and_fails_with_seed_2")
    study = Study(base=replace(BASE, model=model), seeds=(1, 2, 3), baselines=("federated",))
    done = compare(study, tmp_path / "study", num_workers=1)
    assert (tmp_path / "died").exists()
    assert list(done.failures) == ["federated-seed-2"]
    assert "no model today" in done.failures["federated-seed-2"]
    assert [row["seed"] for row in table(tmp_path / "study", "results.csv")] == ["1", "3"]
    assert table(tmp_path / "study", "failures.csv") == [
        {"run": "federated-seed-2", "reason": done.failures["federated-seed-2"]}
    ]


def test_a_study_in_which_nothing_works_is_an_error_and_says_why(ray_session, tmp_path):
    study = Study(base=replace(BASE, model=replace(BASE.model, name="no_such_module:factory")), baselines=("pooled",))
    with pytest.raises(WardroundError, match=r"all 1 runs failed; pooled-seed-1: .*no_such_module"):
        compare(study, tmp_path / "study", num_workers=1)
    assert "no_such_module" in table(tmp_path / "study", "failures.csv")[0]["reason"]


def test_a_run_that_stops_at_its_budget_says_so(tmp_path):
    private = replace(BASE.privacy, noise_multiplier=1.0, budget_epsilon=1e-3)
    study = Study(base=replace(BASE, privacy=private), placements=("local",), noise_multipliers=(1.0,))
    row = finish_run(study.runs()[0], tmp_path / "run").row
    assert (row.status, row.num_rounds, row.epsilon_max) == ("stopped-at-budget", 0, 0.0)


def test_the_folder_of_another_study_is_refused(tmp_path):
    majority = Study(base=BASE, baselines=("majority",))
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        compare(majority, tmp_path / "study", num_workers=1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.json").write_text(json.dumps({"runs": {}}))
    with pytest.raises(ConfigError, match="holds another study"):
        compare(majority, other, num_workers=1)
    (other / "study.json").write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        compare(majority, other, num_workers=1)


def test_results_of_other_versions_are_not_mixed_in(compared, tmp_path):
    text = (compared / "study.json").read_text()
    (tmp_path / "study.json").write_text(text.replace('"torch": "', '"torch": "0.'))
    with pytest.raises(ConfigError, match="other versions"):
        compare(STUDY, tmp_path, num_workers=1)
