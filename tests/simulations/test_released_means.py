"""A mean that is released as a round, of the hospitals that answered: in every cell at the record, and its noise."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config

from wardround.datasets import load_federation
from wardround.datasets.moments import averaged_federation
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.simulations.prepared import plan_of
from wardround.simulations.released_means import mean_config, release_mean

NUM_VALUES = 1024


@pytest.mark.parametrize("dropout_rate", [0.0, 0.7])
@pytest.mark.parametrize("unit", ["record", "hospital"])
@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_a_mean_of_some_is_no_part_of_that_of_all(
    unit: str, placement: str, dropout_rate: float, tmp_path: Path
) -> None:
    """Of records that are all alike the mean is each of them, whoever answers, and noise is as wide as is said."""
    config = small_config(
        federation={"num-hospitals": 8},
        privacy={
            "unit": unit,
            "placement": placement,
            "noise-multiplier": 1.0,
            "target-delta": 1e-4 if unit == "record" else 1e-2,
        },
        training={"local-steps": None},
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
        simulation={"dropout-rate": dropout_rate},
    )
    vector = np.full(NUM_VALUES, NUM_VALUES**-0.5, np.float32)
    federation = averaged_federation(
        load_federation(config.federation), lambda one: np.tile(vector, (len(one.train_labels), 1)), NUM_VALUES
    )
    job = mean_config(config, config.privacy, most_norm=1.0, num_values=NUM_VALUES)
    released = release_mean(job, federation, tmp_path / "run")
    assert (len(released.answered) == 8) is (dropout_rate == 0)
    off = (released.values - vector) / own_stddev_on_average(plan_of(job, federation, NUM_VALUES), released.answered)
    assert 0.85 < np.sqrt(np.mean(off**2)) < 1.15
