"""Real sites release sums over their test records once, after the last round, by their own settings and limits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from safetensors.numpy import load_file
from site_files import tables_of, write_patients, write_sites
from test_site_app import completed, served

from wardround.clients.released import read_releases
from wardround.clients.scored_records import scored_records
from wardround.clients.site_app import RealSite
from wardround.clients.site_file import read_site_file
from wardround.config import Config, config_from_dict
from wardround.datasets.constants import NO_CONSTANTS
from wardround.errors import CohortError, ConfigError, Refusal
from wardround.leaves import PUBLIC
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.ledger import open_ledger
from wardround.score_sums import MOST_NORM, NUM_SUMS
from wardround.secagg import Terms
from wardround.server.record.records import Closing, read_record_text
from wardround.server.record.verify import verify_run
from wardround.server.round import score_release


def settings(placement: str = "local", **sections: Any) -> dict[str, Any]:
    """Return tables of sites that release their scores."""
    whole: dict[str, Any] = {
        "privacy": {"placement": placement, "noise-multiplier": None, "target-epsilon": 6.0, "budget-epsilon": 6.0},
        "training": {"local-steps": 2 if placement == "local" else 1},
        "evaluation": {"release": "private", "release-share": 0.3},
    }
    return tables_of(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def run(folder: Path, tables: dict[str, Any], out: str = "run") -> tuple[Path, dict[str, Path], dict[str, Any]]:
    """Return the folder of a run between sites, their files, and its summary."""
    paths = write_sites(folder, tables)
    done = served(folder, config_from_dict(tables), paths, out)
    return done, paths, json.loads((done / "summary.json").read_text())


def exact_sums(done: Path, paths: dict[str, Path]) -> tuple[int, np.ndarray]:
    """Return of how many test records the sites' sums are, and the sums without noise."""
    vectors = []
    for path in paths.values():
        site = RealSite(read_site_file(path))
        arrays = load_file(done / "model.safetensors")
        own = scored_records(site.config, site.federation.hospitals[0], site.trainer, arrays, NO_CONSTANTS)
        vectors.append(own.train_features)
    whole = np.concatenate(vectors)
    assert np.linalg.norm(whole, axis=1).max() <= MOST_NORM * (1 + 1e-6)
    return len(whole), whole.sum(axis=0)


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_sums_over_test_records_leave_once_with_the_noise_that_is_billed(placement: str, tmp_path: Path) -> None:
    done, paths, summary = run(tmp_path, settings(placement))
    assert completed(done) == [3, 3]
    assert verify_run(done)[0] == []
    with open_ledger(done / "ledger.sqlite", read_only=True) as ledger:
        sums = read_record_text(Closing, ledger.closings()[-1]).test_sums
    number, exact = exact_sums(done, paths)
    assert (sums.num_records, sums.num_hospitals, sums.reason) == (number, 3, "")
    apart = (np.array(sums.sums) - exact) / sums.stddev
    assert np.abs(apart).max() < 5
    assert 0.45 < apart.std() < 1.6  # of 42 numbers, beyond which one draw in a million is
    assert len(apart) == NUM_SUMS
    told = summary["released_scores"]
    assert {"accuracy", "calibration_error", "loss"} <= set(told["scores"]) and told["num_records"] == number
    low, high = told["intervals"]["accuracy"]
    assert low <= told["scores"]["accuracy"] <= high
    assert summary["leaves_hospital"]["num-scored"] == PUBLIC
    assert summary["measured"] is False and "num-test" not in summary["leaves_hospital"]
    for name, path in paths.items():
        noted = read_releases(path.parent / "site.key-released")
        assert [release.round_number for release in noted] == [1, 2, 3]
        events = [release.event for release in noted if release.event is not None]
        own = headline_epsilon(events, 1e-3)
        assert own == summary["epsilon"]["hospitals"][name]
        assert headline_epsilon(events[:-1], 1e-3) < 0.95 * own <= own <= 6.0


def test_rows_of_one_patient_move_the_sums_as_one_record(tmp_path: Path) -> None:
    tables = settings(federation={"patient-column": "patient", "test-fraction": 0.5})
    paths = write_sites(tmp_path, tables)
    rng = np.random.default_rng(3)
    for path in paths.values():
        rows = [
            {"patient": f"p{number // 2}", "age": int(rng.integers(20, 95)), "sex": "male", "died": str(died)}
            for number, died in enumerate(rng.choice(["no", "yes"], 60))
        ]
        write_patients(path.parent / "patients.csv", rows=rows)
    done = served(tmp_path, config_from_dict(tables), paths)
    summary = json.loads((done / "summary.json").read_text())
    sites = [RealSite(read_site_file(path)).federation.hospitals[0] for path in paths.values()]
    assert summary["released_scores"]["num_records"] == sum(site.num_test for site in sites)
    assert sum(len(site.test_labels) for site in sites) > 1.5 * summary["released_scores"]["num_records"]
    assert summary["released_scores"]["scores"]


def asking_for_less_noise(plan: Any, cohort: Any, number: int, noise: Any, **told: Any) -> Any:
    return score_release_assign(plan, cohort, number, {name: each / 2 for name, each in noise.items()}, **told)


score_release_assign = score_release.assign_round


@pytest.mark.parametrize(
    ("limit", "privacy"),
    [
        ("target-epsilon", {"budget-epsilon": None}),
        ("budget-epsilon", {"target-epsilon": None, "noise-multiplier": 1.0}),
    ],
)
def test_sites_refuse_a_release_with_less_noise_than_their_limit_leaves(
    limit: str, privacy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_release, "assign_round", asking_for_less_noise)
    monkeypatch.setattr(score_release, "overspends", lambda plan, account: "")
    _, paths, summary = run(tmp_path, settings(privacy=privacy))
    assert f"{limit} = 6" in json.dumps(summary)
    assert not summary["released_scores"]["scores"] and summary["released_scores"]["reason"]
    assert all(len(read_releases(path.parent / "site.key-released")) == 2 for path in paths.values())


@pytest.mark.parametrize("told", [{}, {"weight": b"1234"}, {"layer.weight": b"", "layer.bias": b""}])
def test_sites_refuse_to_score_another_model(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_release, "model_record", lambda arrays: dict(ConfigRecord(told)))
    done, paths, summary = run(tmp_path, settings())
    assert not summary["released_scores"]["scores"] and summary["released_scores"]["reason"]
    assert completed(done) == [3, 3]
    assert all(len(read_releases(path.parent / "site.key-released")) == 2 for path in paths.values())


def test_a_release_that_was_interrupted_is_paid_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    tables = settings()
    config, paths = config_from_dict(tables), write_sites(tmp_path, tables)
    with monkeypatch.context() as patch:
        patch.setattr(score_release, "noisy_mean", interrupted)
        with pytest.raises(KeyboardInterrupt):
            served(tmp_path, config, paths)
    done = served(tmp_path, config, paths)
    summary = json.loads((done / "summary.json").read_text())
    assert "sites do not release twice" in summary["released_scores"]["reason"]
    assert verify_run(done)[0] == []
    noted = read_releases(paths["north"].parent / "site.key-released")
    spent = headline_epsilon([release.event for release in noted if release.event], 1e-3)
    assert spent < 0.95 * summary["epsilon"]["hospitals"]["north"]


def test_a_site_that_does_not_release_scores_is_not_asked_for_them(tmp_path: Path) -> None:
    tables = settings()
    paths = write_sites(tmp_path, {name: table for name, table in tables.items() if name != "evaluation"})
    with pytest.raises(CohortError, match="sites can take part"):
        served(tmp_path, config_from_dict(tables), paths)


def test_without_a_target_or_a_budget_sites_release_no_scores(tmp_path: Path) -> None:
    tables = settings(privacy={"noise-multiplier": 1.0, "target-epsilon": None, "budget-epsilon": None})
    paths = write_sites(tmp_path, tables)
    with pytest.raises(ConfigError, match="needs a bound that every site holds it to"):
        served(tmp_path, config_from_dict(tables), paths)


def test_scores_of_numbers_are_refused_by_every_site(tmp_path: Path) -> None:
    schema = {"age": {"range": [18, 110]}, "sex": {"levels": ["female", "male"]}, "died": {"range": [0, 1]}}
    paths = write_sites(tmp_path, settings(federation={"schema": schema}))
    with pytest.raises(ConfigError, match="is of classes"):
        read_site_file(paths["north"])


def test_more_test_records_than_max_records_are_refused(tmp_path: Path) -> None:
    tables = settings(federation={"max-records": 10, "test-fraction": 0.8})
    with pytest.raises(CohortError, match="test records, which must be <= 10"):
        run(tmp_path, tables)


@pytest.mark.parametrize(("number", "most"), [(0, 50), (32, 10)])
def test_a_site_itself_refuses_no_and_too_many_test_records(number: int, most: int, tmp_path: Path) -> None:
    tables = settings(federation={"test-fraction": 0.5})
    site = RealSite(read_site_file(write_sites(tmp_path, tables)["north"]))
    site.config = replace(site.config, federation=replace(site.config.federation, max_records=most))
    own = site.federation.hospitals[0]
    place = np.arange(number) % len(own.test_labels)
    hospital = replace(own, test_features=own.test_features[place], test_labels=own.test_labels[place])
    site.federation = replace(site.federation, hospitals=(hospital,))
    terms = Terms(
        federation="test",
        run_id="run",
        round_number=3,
        min_survivors=2,
        max_colluding=0,
        payload="parameters",
        max_update=64.0,
        max_weight=float(most),
        model_digest=bytes(32),
        settings_digest=site.agreed,
    )
    with pytest.raises(Refusal, match=rf"north has {number} test records.* must be >= 1 and <= {most} "):
        site.check_terms(terms, None)


def test_the_scoring_site_takes_its_settings_from_the_run(tmp_path: Path) -> None:
    site = RealSite(read_site_file(write_sites(tmp_path, settings())["north"]))
    scoring = site.for_round(3)
    assert site.for_round(2) is site
    assert scoring.limits == site.config.privacy
    assert (scoring.first_round, scoring.config.privacy.max_grad_norm) == (3, MOST_NORM)
    assert scoring.agreed == site.agreed
    without: Config = replace(site.config, evaluation=replace(site.config.evaluation, release="none"))
    site.config = without
    assert site.for_round(3) is site
