"""Twins: the mechanism and the bill of the run, in every cell; canaries move what they should, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from small_runs import command_line, small_config

import wardround
from wardround.audits.audit import audit_run
from wardround.audits.canaries import Mechanism, run_twin
from wardround.audits.mechanisms import groups_of, mechanisms_of
from wardround.audits.readers import seen_by
from wardround.errors import ConfigError
from wardround.privacy.cells import CELLS, cell_of
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger
from wardround.reports.files import read_audit

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


@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_hospitals_have_twins_at_any_delta_that_their_run_may_have(placement, tmp_path):
    config = small_config(
        training={"num-rounds": 1},
        privacy={"unit": "hospital", "placement": placement, "target-delta": 0.01},
        aggregation={"protocol": "secure-sum" if placement == "distributed" else "plain", "min-survivors": 3},
    )
    run = wardround.run(config, out=tmp_path / "run")
    found = wardround.audit(run, canaries=200)
    assert found.num_canaries == 200
    assert found.epsilon == pytest.approx(run.outcome.epsilon.readers["recipient"])


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
        assert stddev.shape == (4,)
        error = 4 * stddev[0] / np.sqrt(used.size)
        assert used.mean() == pytest.approx(1.0, abs=error + 2e-3)
        assert unused.mean() == pytest.approx(twin.unused, abs=error + 2e-3)
        assert unused.std() == pytest.approx(stddev[0], rel=0.25)
    assert (twin.own is None) == cell.shares_noise


@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_a_canary_moves_its_coordinate_by_a_clip_whenever_it_is_drawn(engine):
    """Of three steps at a rate of 0.3 a binomial number; the noise of as many."""
    config = small_config(simulation={"engine": engine})
    mechanism = Mechanism(noise_multiplier=0.02, sample_rate=0.3, num_steps=3, num_rounds=6)
    twin = run_twin(config, mechanism, num_hospitals=3, num_canaries=150, seed=4)
    drawn = np.rint(twin.own[:, twin.coins])
    assert np.abs(twin.own[:, twin.coins] - drawn).max() < 0.02 * np.sqrt(3) * 6
    often = [(drawn == count).sum() for count in range(4)]
    assert sum(often) == drawn.size
    assert stats.chisquare(often, drawn.size * stats.binom.pmf(np.arange(4), 3, 0.3)).pvalue > 1e-3
    assert twin.own[:, ~twin.coins].std() == pytest.approx(0.02 * np.sqrt(3), rel=0.15)


@pytest.mark.parametrize(("num_steps", "expected"), [(1, (1, 2)), (250, (1, 500)), (251, (251, 2))])
def test_every_noisy_sum_is_a_round_of_the_twin_up_to_five_hundred(num_steps, expected, tmp_path):
    run = wardround.run(small_config(training={"num-rounds": 2}), out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = [replace(each, event=replace(each.event, num_steps=num_steps)) for each in ledger.entries()]
    (group,) = groups_of(entries, {})
    assert (group.mechanism.num_steps, group.mechanism.num_rounds) == expected
    assert group.cohort_sizes == (3,) * expected[1]


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


@pytest.mark.parametrize("sizes", [(3,) * 6, (1,) * 6, (1, 2, 3, 1, 2, 3)])
def test_what_comes_out_tells_of_a_canary_as_the_cohorts_noise_lets_it(sizes):
    """Gaussians that are sqrt(1 / k) / sigma apart in a round of k hospitals, of all rounds together."""
    config = small_config(privacy={"noise-multiplier": 2.0}, simulation={"engine": "stacked"})
    mechanism = Mechanism(noise_multiplier=2.0, sample_rate=1.0, num_steps=1, num_rounds=6)
    twin = run_twin(config, mechanism, num_hospitals=3, num_canaries=3000, seed=5, cohort_sizes=sizes)
    scores = seen_by(twin, mechanism, cell_of(config.privacy))["recipient"].scores
    right = int(((scores > 0) == twin.coins).sum())
    expected = stats.norm.cdf(np.sqrt(sum(1 / size for size in sizes)) / 2.0 / 2)
    assert stats.binomtest(right, 3000, expected).pvalue > 1e-3
    assert (seen_by(twin, mechanism, cell_of(config.privacy))["recipient"].noise.chance) > 1e-3


def test_hospitals_that_take_turns_hide_behind_their_cohort_and_nobody_else(tmp_path):
    config = small_config(
        federation={"num-hospitals": 4},
        training={"num-rounds": 8, "local-steps": 1, "sample-rate": 1.0, "fraction-train": 0.5},
        privacy={"noise-multiplier": 2.0},
        simulation={"engine": "stacked"},
    )
    run = wardround.run(config, out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        did = mechanisms_of(ledger.entries())
    for name, hospital in wardround.audit(run, canaries=2000).hospitals.items():
        found = hospital.readers["recipient"]
        expected = stats.norm.cdf(np.sqrt(did[name].num_rounds / 2) / 2.0 / 2)
        assert stats.binomtest(found.num_correct, found.num_canaries, expected).pvalue > 1e-3


def test_cohorts_are_of_those_who_answered_where_that_is_known(tmp_path):
    run = wardround.run(small_config(training={"num-rounds": 2}), out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()

    def sizes(charged, present):
        (group,) = groups_of(charged, present)
        return group.cohort_sizes

    assert sizes(entries, {}) == (3, 3, 3, 3)  # two steps of each round
    assert sizes(entries, {1: 3, 2: 1}) == (1, 1, 3, 3)
    assert sizes([each for each in entries if each.hospital_id != "hospital-02"], {}) == (2, 2, 2, 2)


def test_who_was_never_in_a_cohort_is_named_with_the_reason(tmp_path, capsys, monkeypatch):
    config = small_config(
        federation={"num-hospitals": 5},
        training={"num-rounds": 2, "fraction-train": 0.2},
        privacy={"noise-multiplier": 2.0},
    )
    run = wardround.run(config, out=tmp_path / "run")
    assert command_line(monkeypatch, "audit", str(run.folder), "--canaries", "60") == 0
    found = read_audit(run.folder)
    assert len(found.unaudited) >= 3
    assert not set(found.unaudited) & set(found.hospitals)
    assert set(found.unaudited) | set(found.hospitals) == set(run.outcome.epsilon.hospitals)
    printed, page = capsys.readouterr().out, (run.folder / "report.html").read_text()
    for text in (printed, page):
        assert "Not audited" in text
        assert "no round that trained" in " ".join(text.split())


def test_what_differs_is_told_in_as_many_digits_as_it_takes(tmp_path):
    run = wardround.run(small_config(training={"num-rounds": 2}), out=tmp_path / "run")
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        *entries, last = ledger.entries()

    def refused(**values):
        with pytest.raises(ConfigError) as refusal:
            mechanisms_of([*entries, replace(last, event=replace(last.event, **values))])
        return str(refusal.value)

    assert "noise multipliers 1 to 1.0000001)" in refused(noise_multiplier=1.0000001)
    assert "sample rates 0.1 to 0.25)" in refused(sample_rate=0.25)
    assert "(noise multipliers 0.5 to 1, steps 2 to 3)" in refused(noise_multiplier=0.5, num_steps=3)


def test_shadow_models_are_refused_before_a_twin_is_trained_and_nothing_is_written(tmp_path, monkeypatch):
    run = wardround.run(
        small_config(privacy={"unit": "hospital", "target-delta": 0.01}, imbalance={"remedy": "smote"}),
        out=tmp_path / "run",
    )

    def trained(*_, **__):
        raise AssertionError("a twin was trained")

    monkeypatch.setattr("wardround.audits.watched_runs.runs.run", trained)
    with pytest.raises(ConfigError, match="makes records of others"):
        wardround.audit(run, canaries=60, shadow_models=4)
    assert not (run.folder / "audit.json").exists()


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
