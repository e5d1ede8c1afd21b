"""What trains at a real site draws from the operating system: noise, batches and rounding, whatever it repeats."""

import copy
import math
from dataclasses import dataclass, field
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
from wardround.streams import Draw, Source, SystemSource

_FEDERATION = load_federation(small_config().federation)


def trained(config: Config, *, source: Source | None = None, **changes: Any) -> dict[str, Any]:
    """Return what the first hospital sends in one step of a round."""
    trainer, hospital = build_trainer(config, _FEDERATION, source=source), _FEDERATION.hospitals[0]
    assignment = flat_assignment(
        **{
            "hospital_id": hospital.hospital_id,
            "round_number": 1,
            "sample_rate": 1.0,
            "expected_batch_size": float(hospital.num_train),
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

    def difference(source: Source | None) -> Any:
        one, other = (trained(config, source=source, noise_multiplier=z) for z in noise_multipliers)
        return np.concatenate([(one[name] - other[name]).reshape(-1) for name in one])

    # All is the same, the round and the run included: two runs of a server that picks them so.
    values = difference(SystemSource())
    stddev = 0.5 / _FEDERATION.hospitals[0].num_train * math.hypot(*noise_multipliers)
    assert kstest(values / stddev, "norm").pvalue > 1e-6
    for wrong in (2 / 3, 3 / 2):
        assert kstest(values / (stddev * wrong), "norm").pvalue < 1e-8
    # Simulated hospitals repeat themselves, and only themselves.
    assert (np.abs(difference(None)).max() == 0) == (len(set(noise_multipliers)) == 1)


@dataclass(frozen=True)
class Watched:
    """A source that keeps the first number of every stream that is drawn from."""

    drawn: dict[Draw, set[float]] = field(default_factory=lambda: {draw: set() for draw in Draw})

    def key(self, *inputs: bytes, round_number: int, attempt: int, hospital_id: str) -> "Watched":
        return self

    def about(self, digest: bytes) -> "Watched":
        return self

    def generator(self, draw: Draw) -> np.random.Generator:
        key = SystemSource().key(round_number=1, attempt=1, hospital_id="any")
        self.drawn[draw].add(float(copy.deepcopy(generator := key.generator(draw)).random()))
        return generator


def test_all_that_is_drawn_comes_from_the_source_that_a_site_gives() -> None:
    source = Watched()
    secure = {"protocol": "secure-sum", "min-survivors": 2}
    config = small_config(privacy={"unit": "hospital", "placement": "distributed"}, aggregation=secure)
    shares = {"scaled_norm": 1000.0, "num_shares": 2, "dimension": 62, "contribution": 1.0, "sample_rate": 0.5}
    for _ in range(3):
        trained(config, source=source, unit="hospital", placement="distributed", sensitivity=1.0, **shares)
    assert {draw: len(values) for draw, values in source.drawn.items()} == dict.fromkeys(Draw, 3)
