"""Batches and noise that are drawn for several steps at once are those of one draw after the other, bit for bit."""

import numpy as np
import pytest
import torch

from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.streams import Draw, SeededSource

KEY = SeededSource(seed=3, job=b"").key(round_number=2, attempt=1, hospital_id="north")
SHAPES = [(3, 7), (5,), (), (2, 3, 1), (1,)]


@pytest.mark.parametrize("rate", [1e-9, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("num_records", [1, 2, 37, 5_000])
def test_batches_drawn_together_are_the_batches_of_one_draw_after_the_other(num_records, rate):
    samplers = [PoissonSampler(num_records, rate, KEY.generator(Draw.SAMPLING)) for _ in range(2)]
    one_by_one = [samplers[0].draw().numpy() for _ in range(9)]
    together = np.concatenate([samplers[1].draw_together(4), 4 * num_records + samplers[1].draw_together(5)])
    assert np.array_equal(
        np.concatenate([step * num_records + batch for step, batch in enumerate(one_by_one)]), together
    )
    assert samplers[0].num_draws == samplers[1].num_draws == 9


@pytest.mark.parametrize("stddev", [0.3, 1.7, 0.0])
def test_noise_drawn_together_is_the_noise_of_one_step_after_the_other(stddev):
    parameters = [torch.zeros(shape) for shape in SHAPES]
    sources = [GaussianNoise(KEY.generator(Draw.NOISE), torch.device("cpu")) for _ in range(2)]
    one_by_one = [torch.cat([part.reshape(-1) for part in sources[0].noise_for(parameters, stddev)]) for _ in range(7)]
    drawn = np.full((7, sum(parameter.numel() for parameter in parameters)), np.nan, np.float32)
    sources[1].fill(drawn[:3], stddev)  # an odd number of coordinates, so that steps begin within a word of the stream
    sources[1].fill(drawn[3:], stddev)
    scaled = torch.from_numpy(drawn) * torch.tensor(stddev, dtype=torch.float32)
    assert torch.equal(scaled, torch.stack(one_by_one))
    assert (sources[1].num_draws, sources[1].stddev) == (7, stddev)


def test_a_scale_that_changes_between_steps_is_refused():
    noise = GaussianNoise(KEY.generator(Draw.NOISE), torch.device("cpu"))
    noise.fill(np.empty((1, 4), np.float32), 1.0)
    with pytest.raises(ValueError, match=r"changed within a round from 1\.0 to 2\.0"):
        noise.fill(np.empty((1, 4), np.float32), 2.0)
