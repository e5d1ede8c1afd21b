"""Faults that are planted, and by what each is caught: an audit that can't fail would show nothing.

By the audit: halved noise, gradients that are not clipped, batches that are shuffled where nearly no noise hides which
batch a record was in. By what is executed against what is billed: noise that a hospital scales by itself, other rates
and steps (`tests/privacy`). By construction: two runs with one seed, and a model that mixes records. What never clips,
or mixes records where that can be told, is refused before any data.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from small_runs import ASSIGNMENT, small_config

import wardround
from wardround.audits.audit import audit_run
from wardround.audits.bounds import lowest_area
from wardround.audits.canaries import Mechanism, run_twin
from wardround.audits.mechanisms import mechanisms_of
from wardround.clients import clipped_sums, gradients
from wardround.clients.stacked import sums
from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.executions import check_execution
from wardround.privacy.ledger import open_ledger
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.privacy.spending import account_from_ledger
from wardround.rounds import Execution

_CONFIG = small_config(
    training={"num-rounds": 4, "local-steps": 1, "sample-rate": 1.0},
    privacy={"noise-multiplier": None, "target-epsilon": 3.0, "target-delta": 1e-5},
    simulation={"engine": "stacked"},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[wardround.Run]:
    yield wardround.run(_CONFIG, out=tmp_path_factory.mktemp("sound") / "run")


def test_a_sound_run_raises_no_alarm_and_its_lower_bound_comes_near_the_bill(run):
    found = wardround.audit(run, canaries=4000)
    server = found.hospitals["hospital-01"].readers["server"]
    assert not found.is_alarm
    assert 0.7 * server.epsilon < server.epsilon_lower <= server.epsilon < 3.0001
    assert server.noise_interval[0] < 1 < server.noise_interval[1]
    assert server.epsilon_lower_any < server.epsilon_lower_one_run < server.epsilon_lower


def test_lower_bounds_are_too_large_in_one_of_twenty_audits_at_most_and_sound_runs_raise_no_alarm(run):
    """Forty audits: more than seven have a bound that is too large once in a thousand times, if one in twenty has."""
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
        account = account_from_ledger(ledger, dict.fromkeys(run.outcome.epsilon.hospitals, 1e-5))
    noise_multiplier = mechanisms_of(entries)["hospital-01"].noise_multiplier
    most = {"server": 2 / noise_multiplier, "recipient": 2 / noise_multiplier / 3**0.5}
    num_too_large = 0
    for seed in range(40):
        found = audit_run(run.config, account, entries, num_canaries=200, seed=seed)
        assert not found.is_alarm
        readers = found.hospitals["hospital-01"].readers
        num_too_large += any(readers[reader].mu_lower > mu for reader, mu in most.items())
    assert num_too_large <= stats.binom.ppf(0.999, 40, 0.05)


def test_the_confidence_is_of_all_readers_and_hospitals_together(run, tmp_path):
    readers = wardround.audit(run, canaries=400).hospitals["hospital-01"].readers
    other = _CONFIG.change(
        training={"batch_size": 20, "sample_rate": None},
        privacy={"noise_multiplier": 1.0, "target_epsilon": None},
        federation={"partition": "quantity", "num_hospitals": 2},
    )
    apart = wardround.audit(wardround.run(other, out=tmp_path / "apart"), canaries=400).hospitals
    views = [
        (readers["server"], 2),
        (readers["recipient"], 2),
        *((each.readers["server"], 4) for each in apart.values()),
    ]
    for found, num_tests in views:
        seen = found.auc, found.auc_error, found.num_used, found.num_canaries - found.num_used
        lowest = lowest_area(*seen, 0.05 / num_tests)
        assert found.mu_lower == pytest.approx(max(0.0, 2**0.5 * stats.norm.ppf(lowest)))


@pytest.fixture
def scale_noise(monkeypatch):
    fill = GaussianNoise.fill

    def scale(factor: float) -> None:
        def scaled(self: GaussianNoise, drawn: torch.Tensor, stddev: float) -> None:
            fill(self, drawn, stddev)
            drawn.mul_(factor)

        monkeypatch.setattr(GaussianNoise, "fill", scaled)

    return scale


def test_noise_below_the_bill_is_an_alarm_of_its_own(run, scale_noise):
    """A twentieth too little changes the share of right guesses by less than it hangs on chance."""
    scale_noise(0.95)
    found = wardround.audit(run, canaries=4000)
    server = found.hospitals["hospital-01"].readers["server"]
    assert found.is_alarm
    assert (server.is_refuted, server.is_noise_low) == (False, True)
    assert "the noise there is 0.9" in found.suspicions[0]
    assert "look at what draws it" in found.suspicions[0]


def test_halved_noise_is_caught_by_the_audit(run, scale_noise):
    scale_noise(0.5)
    found = wardround.audit(run, canaries=2000)
    server = found.hospitals["hospital-01"].readers["server"]
    assert found.is_alarm
    assert server.epsilon_lower > server.epsilon
    assert server.noise == pytest.approx(0.5, abs=0.05)
    assert any("look at what draws it and scales it" in each for each in found.suspicions)


@pytest.fixture
def skip_clipping(monkeypatch):
    def skip(from_records: int) -> None:
        def unclipped(parts, clips, *, is_automatic=False):
            parts, factors, is_lost = clipped_sums.clipped(parts, clips, is_automatic=is_automatic)
            return parts, torch.ones_like(factors) if factors.shape[1] >= from_records else factors, is_lost

        monkeypatch.setattr(gradients, "clipped", unclipped)
        monkeypatch.setattr(sums, "clipped", unclipped)

    return skip


@pytest.mark.parametrize("engine", ["inline", "stacked"])
def test_a_client_that_skips_clipping_is_caught_by_the_audit(engine, skip_clipping, tmp_path):
    run = wardround.run(_CONFIG.change(simulation={"engine": engine}), out=tmp_path / "run")
    skip_clipping(from_records=20)  # not in the small batches by which a model is tried
    found = wardround.audit(run, canaries=400)
    assert found.is_alarm
    assert any("is every gradient clipped" in each for each in found.suspicions)


def test_a_client_that_never_clips_is_refused_before_any_data(skip_clipping, tmp_path):
    skip_clipping(from_records=0)
    with pytest.raises(ConfigError, match="does not clip every record's gradient"):
        wardround.run(_CONFIG, out=tmp_path / "run")


def test_shuffled_batches_that_are_billed_as_poisson_are_caught_by_the_audit(monkeypatch, tmp_path):
    config = small_config(
        training={"num-rounds": 10, "local-steps": 1, "sample-rate": 0.1},
        privacy={"noise-multiplier": 0.25},
        simulation={"engine": "inline"},
    )
    run = wardround.run(config, out=tmp_path / "run")
    assert not wardround.audit(run, canaries=1000).is_alarm
    calls = itertools.count()

    def shuffled(self: PoissonSampler) -> torch.Tensor:
        self.num_draws += 1
        return torch.arange(next(calls) // 3 % 10, self._num_records, 10)  # of three hospitals, one after the other

    monkeypatch.setattr(PoissonSampler, "draw", shuffled)
    found = wardround.audit(run, canaries=999)
    assert found.is_alarm


def test_other_noise_than_is_billed_is_caught_by_what_was_executed():
    event = ASSIGNMENT.event
    did = Execution(
        hospital_id=ASSIGNMENT.hospital_id,
        round_number=ASSIGNMENT.round_number,
        sample_rate=event.sample_rate,
        num_steps=ASSIGNMENT.schedule.num_steps,
        num_noise_draws=event.num_steps,
        noise_multiplier=event.noise_multiplier / 2,
    )
    with pytest.raises(ProtocolError, match="noise_multiplier"):
        check_execution(ASSIGNMENT, did)


def test_two_runs_with_one_seed_share_no_noise_by_construction():
    """Streams hang on what is released: other coins, other noise, so that a difference of two runs has that of both."""
    mechanism = Mechanism(noise_multiplier=1.0, sample_rate=1.0, num_steps=1, num_rounds=3)
    first = run_twin(_CONFIG, mechanism, num_hospitals=3, num_canaries=300, seed=1)
    halved = _CONFIG.change(privacy={"max_grad_norm": 0.5})
    other = run_twin(halved, mechanism, num_hospitals=3, num_canaries=300, seed=1)
    assert (first.coins == other.coins).all()
    noise, others = (each.own - each.coins for each in (first, other))
    assert abs(np.corrcoef(noise.ravel(), others.ravel())[0, 1]) < 0.15
    assert (noise - others).std() == pytest.approx(np.sqrt(2), rel=0.1)


class _MeanOfTheBatch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(30, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(features)
        return outputs - outputs.mean(dim=0, keepdim=True)


def test_a_model_that_mixes_records_is_refused_before_any_data(tmp_path):
    """Others are programs of one record, by construction (`tests/clients`)."""
    with pytest.raises(ConfigError, match="mixes records"):
        wardround.run(small_config(), model=_MeanOfTheBatch(), out=tmp_path / "run")
