"""Twins: the mechanism and the bill of the run, in every cell; canaries move what they should, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import small_config

import wardround
from wardround.audits.audit import audit_run, mechanisms_of
from wardround.audits.canaries import Mechanism, run_twin
from wardround.errors import ConfigError
from wardround.privacy.cells import CELLS
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger

CELLS_WITH_CANARIES = [
    cell for cell in CELLS if cell.is_private and not cell.clips_groups and cell.noise_correlation == "none"
]


def config_of(cell, **privacy):
    protocol = "secure-sum" if cell.needs_secure_sum else "plain"
    return small_config(
        training={"num-rounds": 3, "local-steps": None if cell.sends_sum else 2},
        privacy={"unit": cell.unit, "placement": cell.placement, **privacy},
        aggregation={"protocol": protocol, "min-survivors": 3},
    )


@pytest.mark.parametrize("cell", CELLS_WITH_CANARIES, ids=lambda cell: cell.name)
def test_a_twin_has_the_runs_bill(cell, tmp_path):
    config = config_of(cell)
    run = wardround.run(config, out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        did = mechanisms_of(ledger.entries())
    mechanism = did["hospital-01"]
    twin = run_twin(run.config, mechanism, num_hospitals=3, num_canaries=60, seed=1)
    of_run, of_twin = run.outcome.epsilon.readers, twin.summary.epsilon.readers
    # Integer noise is billed by how many coordinates there are, of which a twin has its own number.
    close = 0.02 if cell.mechanism == "skellam" else 1e-9
    assert of_twin["recipient"] == pytest.approx(of_run["recipient"], rel=close)
    assert (of_twin["server"] == float("inf")) == (of_run["server"] == float("inf"))


@pytest.mark.parametrize("engine", ["inline", "stacked"])
@pytest.mark.parametrize("cell", CELLS_WITH_CANARIES, ids=lambda cell: cell.name)
def test_a_canary_moves_its_coordinate_by_a_clip_and_the_noise_is_as_billed(cell, engine):
    config = config_of(cell, **{"max-grad-norm": 0.37}).change(simulation={"engine": engine})
    mechanism = Mechanism(noise_multiplier=0.05, sample_rate=1.0, num_steps=1, num_rounds=4)
    twin = run_twin(config, mechanism, num_hospitals=3, num_canaries=90, seed=3)
    for seen, stddev in ((twin.own, twin.own_stddev), (twin.released, twin.released_stddev)):
        if seen is None:
            continue
        used, unused = seen[:, twin.coins], seen[:, ~twin.coins]
        error = 4 * stddev / np.sqrt(used.size)
        assert used.mean() == pytest.approx(1.0, abs=error + 2e-3)
        assert unused.mean() == pytest.approx(twin.unused, abs=error + 2e-3)
        assert unused.std() == pytest.approx(stddev, rel=0.25)
    assert (twin.own is None) == cell.shares_noise


def test_a_server_of_a_secure_sum_sees_no_hospital_by_itself():
    config = small_config(aggregation={"protocol": "secure-sum", "min-survivors": 3})
    mechanism = Mechanism(noise_multiplier=1.0, sample_rate=0.1, num_steps=1, num_rounds=2)
    assert run_twin(config, mechanism, num_hospitals=3, num_canaries=30, seed=1).own is None


@pytest.mark.parametrize(
    ("privacy", "training", "said"),
    [
        ({"microbatch-size": 2}, {}, "microbatch-size = 2 clips records in groups"),
        (
            {"unit": "hospital", "placement": "central", "noise-correlation": "banded"},
            {"cohorts": "round-robin", "fraction-train": 0.34},
            'noise-correlation = "banded" takes noise back',
        ),
        ({"placement": "none", "noise-multiplier": None}, {}, "promises nothing that an audit could refute"),
    ],
)
def test_what_has_no_twin_is_refused_with_the_reason(privacy, training, said, tmp_path):
    config = small_config(privacy=privacy, training=training)
    run = wardround.run(config.change(training={"num_rounds": 2}), out=tmp_path / "run")
    with pytest.raises(ConfigError, match=said):
        wardround.audit(run, canaries=20)


def test_a_run_whose_noise_changed_is_refused(tmp_path):
    run = wardround.run(small_config(training={"num-rounds": 2}), out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
        account = account_from_ledger(ledger, dict.fromkeys(run.outcome.epsilon.hospitals, 1e-5))
    louder = replace(entries[-1], event=replace(entries[-1].event, noise_multiplier=7.0), charge_id="other")
    with pytest.raises(ConfigError, match="noise multipliers 1 to 7"):
        audit_run(run.config, account, [*entries, louder], num_canaries=20, seed=1)
    with pytest.raises(ConfigError, match="released nothing"):
        audit_run(run.config, account, [], num_canaries=20, seed=1)
