"""Test scores that are released once, after the last round: in every record cell, charged, noised, taken up again."""

import json
import math
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
import torch
from made_up import PRIVATE
from sklearn.metrics import roc_auc_score
from small_runs import (
    charges_of,
    interrupted_before_charging,
    interrupted_in_training,
    results_of,
    rows_of,
    small_config,
)

import wardround as wr
from wardround.audits.audit import audit_run
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger
from wardround.score_sums import MOST_NORM, NUM_SUMS
from wardround.server.plan.statistics import gaussian_mu
from wardround.server.record.beginnings import release_labels
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import Run, resume, run
from wardround.simulations.studies.study import Study

DELTA = 1e-4
PLACEMENTS = [placement for unit, placement in PRIVATE if unit == "record"]
EXACT = ("accuracy", "auc", "loss")


def settings(placement: str = "local", release: str = "private", **sections: dict[str, Any]) -> Config:
    whole: dict[str, dict[str, Any]] = {
        "training": {"num-rounds": 2, "local-steps": 2 if placement == "local" else None},
        "privacy": {"placement": placement, "noise-multiplier": None, "target-epsilon": 4.0, "target-delta": DELTA},
        "aggregation": {"protocol": "secure-sum", "min-survivors": 2},
        "evaluation": {"release": release},
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def sums_of(done: Run) -> np.ndarray:
    """Return the sums that the ledger has."""
    with open_ledger(done.folder / "ledger.sqlite", read_only=True) as ledger:
        (text,) = [text for text in ledger.closings() if "test_sums" in text]
    return np.array(json.loads(text)["test_sums"]["sums"])


def exact_sums_of(config: Config, folder: Path) -> np.ndarray:
    """Return the sums without noise: of an epsilon beyond all measure the noise is a millionth of a record."""
    loud = config.change(privacy={"target_epsilon": None, "noise_multiplier": 1e-6})
    return sums_of(run(loud, out=folder))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_every_record_cell_releases_charges_and_verifies(placement: str, engine: str, tmp_path: Path) -> None:
    config = settings(placement, simulation={"engine": engine})
    done, planned = run(config, out=tmp_path / "run"), plan(config)
    assert verify_run(done.folder)[0] == [] and planned.scores is not None
    last = [(3, f"hospital-0{number}") for number in (1, 2, 3)]
    assert charges_of(done.folder, "planned")[-3:] == charges_of(done.folder, "released")[-3:] == last
    with open_ledger(done.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = [entry for entry in ledger.entries() if entry.round_number == 3]
        assert release_labels(ledger)[3] == "test scores"
    assert {e.hospital_id: e.event for e in entries} == {h.name: h.event for h in planned.scores.hospitals}
    assert [entry.sensitivity for entry in entries] == pytest.approx([MOST_NORM] * 3)
    summary = done.summary
    assert 3.8 < summary["epsilon"]["max"] <= 4.0
    released = summary["released_scores"]
    assert set(released["scores"]) >= {"accuracy", "loss", "brier", "calibration_error"}
    assert released["num_records"] == 114 and released["round"] == 2 and released["num_attempts"] == 1
    assert 0.3 < released["epsilon"] < 2.5


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_secure_aggregation_releases_them_too(placement: str, tmp_path: Path) -> None:
    done = run(settings(placement, aggregation={"protocol": "secagg+"}), out=tmp_path / "run")
    assert verify_run(done.folder)[0] == []
    assert done.summary["released_scores"]["num_hospitals"] == 3


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_engine_releases_the_same_bits(tmp_path: Path) -> None:
    done = [
        run(settings(simulation={"engine": engine}), out=tmp_path / engine) for engine in ("inline", "ray", "stacked")
    ]
    made = [(results_of(each.folder), sums_of(each).tolist()) for each in done]
    assert made[0] == made[1]
    # The engine that trains hospitals together has keys of its own: other noise, and as good.
    assert not np.allclose(made[0][1], made[2][1])


def exact_scores_of(done: wr.Run) -> dict[str, list[float]]:
    """Return the scores of a run's model on the test records of all hospitals, and then on those of each."""
    model, parts = done.model(), []
    for hospital in load_federation(done.config.federation, done.config.features).hospitals:
        with torch.no_grad():
            outputs = model(torch.tensor(hospital.test_features)).double()
        parts.append((outputs, torch.tensor(hospital.test_labels)))
    scores: dict[str, list[float]] = {"accuracy": [], "loss": [], "auc": []}
    for outputs, labels in [tuple(map(torch.cat, zip(*parts, strict=True))), *parts]:
        scores["accuracy"].append((outputs.argmax(dim=1) == labels).double().mean().item())
        scores["loss"].append(torch.nn.functional.cross_entropy(outputs, labels).item())
        scores["auc"].append(float(roc_auc_score(labels, outputs[:, 1] - outputs[:, 0])))
    return scores


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_at_a_tiny_noise_the_scores_are_those_of_a_simulation(placement: str, tmp_path: Path) -> None:
    noise = {"target-epsilon": None, "noise-multiplier": 1e-6}
    simulated = wr.run(settings(placement, "simulation", privacy=noise), out=tmp_path / "simulated")
    assert exact_scores_of(simulated)["accuracy"][0] == pytest.approx(simulated.summary["accuracy"])
    done = wr.run(settings(placement, privacy=noise), out=tmp_path / "run")
    exact, noisy = exact_scores_of(done), done.summary["released_scores"]
    for name in ("accuracy", "loss"):
        assert noisy["scores"][name] == pytest.approx(exact[name][0], abs=1e-3), name
    assert noisy["scores"]["auc"] == pytest.approx(exact["auc"][0], abs=0.02)
    assert noisy["stddev"] < 1e-2


@pytest.mark.parametrize("placement", ["local", "central"])
def test_the_bill_is_what_dp_accounting_makes_of_rounds_and_release(placement: str, tmp_path: Path) -> None:
    summary = run(settings(placement), out=tmp_path / "run").summary
    events = summary["events"]["hospital-01"]
    assert len(events) == 2
    whole, alone = (dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4) for _ in range(2))
    for event in events:
        whole.compose(eval(event, vars(dp_accounting)))
    alone.compose(eval(events[-1], vars(dp_accounting)))
    assert summary["epsilon"]["hospitals"]["hospital-01"] == pytest.approx(whole.get_epsilon(DELTA), rel=2e-3)
    assert summary["released_scores"]["epsilon"] == pytest.approx(alone.get_epsilon(DELTA), rel=2e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_noise_that_is_released_is_what_was_planned(placement: str, tmp_path: Path) -> None:
    config = settings(placement, training={"num-rounds": 1}, simulation={"noise": "system"})
    config = config.change(evaluation={"release_share": 0.9}, training={"learning_rate": 1e-30})
    differences, stddevs = [], set()
    exact = exact_sums_of(config, tmp_path / "exact")
    for number in range(8):
        done = run(config, out=tmp_path / str(number))
        # The model stays as it was, but for its noise times 1e-30: all that differs is the noise of the release.
        differences.append(sums_of(done) - exact)
        stddevs.add(done.summary["released_scores"]["stddev"])
    (stddev,) = stddevs
    assert np.array(differences).shape == (8, NUM_SUMS)
    assert np.std(differences) == pytest.approx(stddev, rel=0.15)
    assert abs(np.mean(differences)) < 4 * stddev / math.sqrt(8 * NUM_SUMS)
    released = plan(config).scores
    assert released is not None
    noise = released.hospitals[0].noise_multiplier * MOST_NORM
    hospitals = {"local": 3, "central": 1, "distributed": 3 / 2}[placement]  # two of three shares are guaranteed
    assert stddev == pytest.approx(noise * math.sqrt(hospitals), rel=0.02)


@pytest.mark.parametrize("share", [0.05, 0.4])
@pytest.mark.parametrize("noise", [{}, {"target-epsilon": None, "noise-multiplier": 1.5}])
def test_the_release_costs_its_share_of_the_whole_bill(share: float, noise: dict[str, float]) -> None:
    planned = plan(settings(evaluation={"release-share": share}, privacy=noise))
    assert planned.scores is not None
    part = max(headline_epsilon([hospital.event], DELTA) for hospital in planned.scores.hospitals)
    assert (gaussian_mu(part, DELTA) / gaussian_mu(planned.epsilon_max, DELTA)) ** 2 == pytest.approx(share, rel=0.15)


def numbers_in(folder: Path) -> str:
    """Return the text of every file of a run."""
    return "\n".join(path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("release", ["simulation", "private", "none"])
def test_exact_test_scores_are_nowhere_in_the_folder(release: str, tmp_path: Path) -> None:
    done = wr.run(settings(release=release), out=tmp_path / "run")
    of_model = exact_scores_of(done)
    told = {repr(value)[:9] for values in of_model.values() for value in values}
    # What is known before the first model, and of the one that nobody trained.
    classes = [np.bincount(each.test_labels) for each in load_federation(done.config.federation).hospitals]
    told |= {repr(float(each.max() / each.sum()))[:9] for each in classes}
    told = {number for number in told if len(number) > 6}
    found = sorted(number for number in told if number in numbers_in(done.folder))
    assert len(told) > 8
    if release == "simulation":  # or the search would find nothing anywhere
        assert len(found) >= 8
        return
    assert found == []
    assert done.rounds[list(EXACT)].isna().all().all() and done.hospitals[list(EXACT)].isna().all().all()
    assert "auc_pooled" not in done.rounds and done.summary["measured"] is False
    sent = done.summary["leaves_hospital"]
    assert not {"predictions", "accuracy", "auc", "majority-accuracy"} & set(sent)
    assert sent["num-test"] == ("public by decision" if release == "private" else "simulation only")


@pytest.mark.parametrize("placement", ["none", "local"])
@pytest.mark.parametrize("dataset", ["breast-cancer", "synthetic-regression"])
def test_a_run_that_tells_no_scores_is_as_any_other(placement: str, dataset: str, tmp_path: Path) -> None:
    privacy = {"target-epsilon": 4.0 if placement == "local" else None, "target-delta": 1e-5}
    data = {"dataset": dataset}
    told, hidden = (settings(placement, kind, privacy=privacy, federation=data) for kind in ("simulation", "none"))
    done = run(hidden, out=tmp_path / "hidden")
    assert verify_run(done.folder)[0] == [] and "released_scores" not in done.summary
    assert done.summary["epsilon"]["max"] == run(told, out=tmp_path / "told").summary["epsilon"]["max"]
    assert {row["loss"] for row in rows_of(done.folder / "rounds.csv")} == {""}
    assert results_of(resume(done.folder).folder) == results_of(done.folder)


def test_a_run_that_is_interrupted_between_rounds_releases_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(settings(), out=tmp_path / "whole")
    with interrupted_before_charging(monkeypatch, 2):
        run(settings(), out=tmp_path / "broken")
    done = resume(tmp_path / "broken")
    assert [number for number, _ in charges_of(done.folder, "planned")] == [1] * 3 + [2] * 3 + [3] * 3
    assert results_of(done.folder) == results_of(whole.folder) and verify_run(done.folder)[0] == []
    before = sums_of(done)
    assert np.array_equal(sums_of(resume(done.folder)), before)
    assert [number for number, _ in charges_of(done.folder, "planned")].count(3) == 3


def test_interrupted_before_its_charge_a_release_is_charged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_before_charging(monkeypatch, 3):
        run(settings(), out=tmp_path / "run")
    assert verify_run(tmp_path / "run")[0] == []
    done = resume(tmp_path / "run")
    assert done.summary["released_scores"]["num_attempts"] == 1 and 3.8 < done.summary["epsilon"]["max"] <= 4.0
    assert [number for number, _ in charges_of(done.folder, "planned")].count(3) == 3


def test_interrupted_after_its_charge_a_release_is_charged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(privacy={"target-epsilon": None, "noise-multiplier": 2.0})
    once = run(config, out=tmp_path / "once")
    with interrupted_in_training(monkeypatch, 3):
        run(config, out=tmp_path / "twice")
    assert verify_run(tmp_path / "twice")[0] == []
    done = resume(tmp_path / "twice")
    assert [number for number, _ in charges_of(done.folder, "planned")].count(3) == 6
    assert verify_run(done.folder)[0] == []
    told = done.summary["released_scores"]
    assert told["num_attempts"] == 2 and told["epsilon"] > once.summary["released_scores"]["epsilon"]
    assert done.summary["epsilon"]["max"] > once.summary["epsilon"]["max"]
    assert not np.allclose(sums_of(done), sums_of(once))  # noise of its own


def test_a_target_has_no_second_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with interrupted_in_training(monkeypatch, 3):
        run(settings(), out=tmp_path / "run")
    done = resume(tmp_path / "run")
    assert done.summary["status"] == "done" and done.summary["epsilon"]["max"] <= 4.0
    told = done.summary["released_scores"]
    assert "once more" in told["reason"] and "target-epsilon = 4" in told["reason"] and not told["scores"]
    assert [number for number, _ in charges_of(done.folder, "planned")].count(3) == 3
    assert verify_run(done.folder)[0] == []
    assert resume(done.folder).summary == done.summary


@pytest.mark.parametrize("on_budget", ["stop", "drop", "replan"])
def test_a_budget_holds_with_the_release_in_it(on_budget: str, tmp_path: Path) -> None:
    privacy = {"target-epsilon": None, "noise-multiplier": 1.0, "budget-epsilon": 2.5, "on-budget": on_budget}
    config = settings(training={"num-rounds": 30}, privacy=privacy, evaluation={"release-share": 0.05})
    done = run(config, out=tmp_path / "run")
    assert done.summary["released_scores"]["scores"] and done.summary["epsilon"]["max"] <= 2.5
    assert (done.summary["num_rounds"] < 30) == (on_budget != "replan")
    assert verify_run(done.folder)[0] == []
    assert charges_of(done.folder, "planned")[-1][0] == 31


def test_a_budget_that_the_release_alone_would_pass_is_refused() -> None:
    privacy = {"budget-epsilon": 0.1, "target-epsilon": None, "noise-multiplier": 1.0}
    with pytest.raises(ConfigError, match=r"budget-epsilon = 0.1 is less than the .* that the test scores spend"):
        plan(settings(privacy=privacy))


def test_statistics_and_scores_share_one_target(tmp_path: Path) -> None:
    done = run(settings(features={"standardise": "private"}), out=tmp_path / "run")
    assert [number for number, _ in charges_of(done.folder, "planned")] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert 3.8 < done.summary["epsilon"]["max"] <= 4.0 and verify_run(done.folder)[0] == []
    assert done.summary["released_scores"]["scores"]


def test_too_few_answers_are_charged_and_release_nothing(tmp_path: Path) -> None:
    for seed in range(1, 30):
        config = settings(simulation={"dropout-rate": 0.6}, aggregation={"min-survivors": 3}, federation={"seed": seed})
        done = run(config, out=tmp_path / str(seed))
        told = done.summary["released_scores"]
        if told["reason"]:
            assert "min-survivors = 3 are needed" in told["reason"] and not told["scores"]
            assert [number for number, _ in charges_of(done.folder, "planned")].count(3) == 3
            assert verify_run(done.folder)[0] == [] and resume(done.folder).summary == done.summary
            return
    raise AssertionError("everybody answered, always")


def test_scores_are_of_the_hospitals_that_answered(tmp_path: Path) -> None:
    config = settings(
        "central",
        simulation={"dropout-rate": 0.5},
        aggregation={"protocol": "plain", "min-survivors": 1},
        privacy={"target-epsilon": None, "noise-multiplier": 1e-6},
        federation={"seed": 5},
    )
    done = run(config, out=tmp_path / "run")
    told = done.summary["released_scores"]
    assert 1 <= told["num_hospitals"] < 3 and 20 < told["num_records"] < 100
    assert sums_of(done)[2:].sum() == pytest.approx(told["num_records"], abs=0.01)


def table_of_patients(path: Path) -> Config:
    """Return settings of a table in which every patient has three rows, or one."""
    generator = np.random.default_rng(3)
    owners = np.concatenate([np.repeat(np.arange(60), 3), np.arange(60, 120)])
    values = generator.normal(size=len(owners))
    lines = [f"c{owner % 2},p{owner},{value:.4f},{int(value > 0)}" for owner, value in zip(owners, values, strict=True)]
    path.write_text("\n".join(["clinic,patient,x,sick", *lines]) + "\n")
    table = {"dataset": "csv", "path": str(path), "target": "sick", "hospital-column": "clinic"} | {
        "patient-column": "patient",
        "partition": "natural",
        "num-hospitals": None,
        "test-fraction": 0.4,
    }
    return settings(
        federation=table,
        features={"bounds": {"x": [-4.0, 4.0]}},
        privacy={"target-epsilon": None, "noise-multiplier": 1e-6},
    )


def test_a_patient_of_several_rows_counts_once(tmp_path: Path) -> None:
    done = run(table_of_patients(tmp_path / "table.csv"), out=tmp_path / "run")
    told, sums = done.summary["released_scores"], sums_of(done)
    assert told["num_records"] == sum(each["num_test"] for each in done.summary["hospitals"]) == 48
    assert sums[2:].sum() == pytest.approx(48, abs=0.01)
    # Means over a patient's rows: not every count is a whole number.
    assert np.abs(sums[2:] * 3 - np.round(sums[2:] * 3)).max() < 0.01
    assert np.abs(sums[2:] - np.round(sums[2:])).max() > 0.2


def test_more_classes_are_released_without_an_area(tmp_path: Path) -> None:
    done = run(settings(federation={"dataset": "digits"}), out=tmp_path / "run")
    assert set(done.summary["released_scores"]["scores"]) == {"accuracy", "loss", "calibration_error"}
    assert verify_run(done.folder)[0] == []


def test_scores_are_of_the_best_model_where_that_is_kept(tmp_path: Path) -> None:
    public = (np.zeros((4, 30), np.float32), np.array([0, 1, 0, 1]))
    config = settings(evaluation={"keep": "best"}, training={"num-rounds": 3, "learning-rate": 3.0})
    done = run(config, out=tmp_path / "run", public=public)
    assert done.summary["released_scores"]["round"] == done.summary["kept_round"] < 3
    assert verify_run(done.folder)[0] == []


def test_a_run_that_stops_early_is_charged_its_rounds_and_its_release(tmp_path: Path) -> None:
    public = (np.zeros((4, 30), np.float32), np.array([0, 1, 0, 1]))
    config = settings(evaluation={"patience": 1}, training={"num-rounds": 5, "learning-rate": 3.0})
    done = run(config, out=tmp_path / "run", public=public)
    assert done.summary["status"] == "stopped-early" and done.summary["released_scores"]["scores"]
    numbers = [number for number, _ in charges_of(done.folder, "planned")]
    assert sorted(numbers) == sorted([*range(1, 7)] * 3) and verify_run(done.folder)[0] == []
    assert 3.8 < done.summary["epsilon"]["max"] <= 4.0
    assert resume(done.folder, public=public).summary == done.summary


def test_sums_that_were_changed_are_found(tmp_path: Path) -> None:
    done = run(settings(), out=tmp_path / "run")
    path = done.folder / "summary.json"
    told = json.loads(path.read_text())
    told["released_scores"]["scores"]["accuracy"] = 0.99
    path.write_text(json.dumps(told))
    (finding,) = verify_run(done.folder)[0]
    assert "released_scores scores accuracy says 0.99, the ledger gives" in finding


def test_an_audit_is_of_the_rounds_and_its_bill_has_the_release(tmp_path: Path) -> None:
    config = settings()
    folder = run(config, out=tmp_path / "run").folder
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
        account = account_from_ledger(ledger, plan(config).target_deltas)
    found = audit_run(config, account, entries, num_canaries=200, seed=1)
    with pytest.raises(ConfigError, match="that no shadow model makes"):
        settings(audit={"shadow-models": 8})
    assert not found.is_alarm and found.epsilon == pytest.approx(plan(config).epsilon_max, rel=0.01)


REFUSED: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "hospitals": (
        {"privacy": {"unit": "hospital", "target-delta": 1e-2}},
        'unit = "hospital" promises to hide a whole',
    ),
    "no-privacy": ({"privacy": {"placement": "none", "target-epsilon": None}}, "the run has none"),
    "no-noise": ({"privacy": {"noise-multiplier": 0.0, "target-epsilon": None}}, "the run has none"),
    "regression": (
        {"federation": {"dataset": "synthetic-regression"}, "privacy": {"target-delta": 1e-5}},
        "have no largest one",
    ),
    "own-statistics": ({"features": {"standardise": "hospital"}}, "hang on no other record"),
    "own-models": (
        {"personal": {"method": "mr-mtl"}, "aggregation": {"protocol": "plain"}},
        'method = "mr-mtl" gives each hospital its own',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_bound_on_a_record_is_refused_with_a_next_step(name: str) -> None:
    sections, text = REFUSED[name]
    with pytest.raises(ConfigError, match=text) as refused:
        plan(settings(**sections))
    assert '[evaluation] release): set "none"' in str(refused.value)


@pytest.mark.parametrize("release", ["private", "none"])
def test_metrics_and_studies_of_exact_scores_are_refused(release: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f'the metrics f are of .* release = "{release}" does not tell'):
        run(settings(release=release), out=tmp_path / "run", metrics={"f": lambda values, labels: 0.0})
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="studies and tunes compare runs by the exact scores"):
        Study(base=settings(release=release), placements=("local",), target_epsilons=(1.0,))


def test_no_model_is_chosen_by_scores_that_are_not_told(tmp_path: Path) -> None:
    config = settings("none", "none", privacy={"target-epsilon": None}, evaluation={"keep": "best"})
    with pytest.raises(ConfigError, match='release = "none" tells no test scores'):
        run(config, out=tmp_path / "run")


def test_what_a_share_goes_with_is_told() -> None:
    notes = plan(settings(release="none", evaluation={"release-share": 0.3})).notes
    assert any("release-share = 0.3" in note and "is not used" in note for note in notes)
    (note,) = [note for note in wr.plan(settings()).notes if "over the test records of" in note]
    assert "only then" in note and "3 hospitals" in note
