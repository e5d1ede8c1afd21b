"""What trains at a real site draws from the operating system: noise, batches and rounding, whatever it repeats."""

import copy
import math
from typing import Any

import numpy as np
import pytest
from made_up import flat_assignment
from scipy.stats import kstest
from small_runs import small_config

from wardround.clients.trainers import build_trainer, hospital_tensors
from wardround.config import Config
from wardround.datasets import load_federation
from wardround.models import parameters_of
from wardround.streams import Draw, SeededSource, SystemKey

_FEDERATION = load_federation(small_config().federation)


def trained(config: Config, *, is_real: bool, **changes: Any) -> dict[str, Any]:
    """Return what the first hospital sends in one step of a round."""
    trainer, hospital = build_trainer(config, _FEDERATION, is_real=is_real), _FEDERATION.hospitals[0]
    assignment = flat_assignment(
        **{
            "hospital_id": hospital.hospital_id,
            "round_number": 1,
            "sample_rate": 1.0,
            "expected_batch_size": float(hospital.num_records),
            "num_steps": 1,
            "noise_multiplier": 1.0,
            "max_grad_norm": 1.0,
            "weight": 0.3,
            **changes,
        }
    )
    arrays, _, _ = trainer.train(parameters_of(trainer.model), hospital_tensors(hospital, trainer.device), assignment)
    return arrays


@pytest.mark.parametrize("noise_multipliers", [(40.0, 40.0), (40.0, 80.0)])
def test_runs_in_one_process_of_a_site_share_no_noise(noise_multipliers: tuple[float, float]) -> None:
    config = small_config(model={"name": "mlp"}, training={"local-steps": 1, "sample-rate": 1.0})

    def difference(*, is_real: bool) -> Any:
        one, other = (trained(config, is_real=is_real, noise_multiplier=z) for z in noise_multipliers)
        return np.concatenate([(one[name] - other[name]).reshape(-1) for name in one])

    # All is the same, the round and the run included: two runs of a server that picks them so.
    values = difference(is_real=True)
    stddev = 0.5 / _FEDERATION.hospitals[0].num_records * math.hypot(*noise_multipliers)
    assert kstest(values / stddev, "norm").pvalue > 1e-6
    for wrong in (2 / 3, 3 / 2):
        assert kstest(values / (stddev * wrong), "norm").pvalue < 1e-8
    # Simulated hospitals repeat themselves, and only themselves.
    assert (np.abs(difference(is_real=False)).max() == 0) == (len(set(noise_multipliers)) == 1)


def test_a_sites_batches_and_rounding_are_its_own_too(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[Draw, set[float]] = {draw: set() for draw in Draw}
    real = SystemKey.generator

    def watching(self: SystemKey, draw: Draw) -> np.random.Generator:
        generator = real(self, draw)
        drawn[draw].add(float(copy.deepcopy(generator).random()))
        return generator

    monkeypatch.setattr(SystemKey, "generator", watching)
    monkeypatch.setattr(SeededSource, "key", None)
    secure = {"protocol": "secure-sum", "min-survivors": 2}
    config = small_config(privacy={"unit": "hospital", "placement": "distributed"}, aggregation=secure)
    shares = {"scaled_norm": 1000.0, "num_shares": 2, "dimension": 62, "contribution": 1.0}
    for _ in range(3):
        trained(config, is_real=True, unit="hospital", placement="distributed", sensitivity=1.0, **shares)
    assert {draw: len(values) for draw, values in drawn.items()} == dict.fromkeys(Draw, 3)
