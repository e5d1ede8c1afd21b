"""Batches and noise that are drawn for several steps at once are those of one draw after the other, bit for bit."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.streams import Draw, SeededSource

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")

KEY = SeededSource(seed=3, job=b"").key(round_number=2, attempt=1, hospital_id="north")
SHAPES = [(3, 7), (5,), (), (2, 3, 1), (1,)]


@pytest.mark.parametrize("rate", [1e-9, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("num_records", [1, 2, 37, 5_000])
def test_batches_drawn_together_are_the_batches_of_one_draw_after_the_other(num_records, rate):
    samplers = [PoissonSampler(num_records, rate, partial(KEY.generator, Draw.SAMPLING)) for _ in range(2)]
    one_by_one = [samplers[0].draw().numpy() for _ in range(9)]
    together = np.concatenate([samplers[1].draw_together(4), 4 * num_records + samplers[1].draw_together(5)])
    assert np.array_equal(
        np.concatenate([step * num_records + batch for step, batch in enumerate(one_by_one)]), together
    )
    assert samplers[0].num_draws == samplers[1].num_draws == 9


@pytest.mark.parametrize("from_counter", [False, True])
@pytest.mark.parametrize("stddev", [0.3, 1.7, 0.0])
def test_noise_drawn_together_is_the_noise_of_one_step_after_the_other(stddev, from_counter):
    parameters = [torch.zeros(shape) for shape in SHAPES]
    device = torch.device("cpu")
    sources = [GaussianNoise(KEY.generator(Draw.NOISE), device, from_counter=from_counter) for _ in range(2)]
    one_by_one = [torch.cat([part.reshape(-1) for part in sources[0].noise_for(parameters, stddev)]) for _ in range(7)]
    drawn = torch.full((7, sum(parameter.numel() for parameter in parameters)), math.nan)
    sources[1].fill(drawn[:3], stddev)  # an odd number of coordinates, so that steps begin within a word of the stream
    sources[1].fill(drawn[3:], stddev)
    scaled = drawn * torch.tensor(stddev, dtype=torch.float32)
    assert torch.equal(scaled, torch.stack(one_by_one))
    assert (sources[1].num_draws, sources[1].stddev) == (7, stddev)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])])
def test_noise_of_steps_on_a_device_is_normal_and_no_step_has_another_ones(device):
    noise = GaussianNoise(KEY.generator(Draw.NOISE), torch.device(device), from_counter=True)
    drawn = torch.full((6, 20_001), math.nan, device=device)
    noise.fill(drawn[:4], 1.7)
    noise.fill(drawn[4:], 1.7)
    values = drawn.cpu().double().numpy()
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(values)[np.triu_indices(6, 1)]).max() < 5 / np.sqrt(values.shape[1])
    assert noise.num_draws == 6
    noise.fill(drawn[:1], 1.7)
    correlations = np.corrcoef(drawn[0].cpu().double().numpy(), values)[0, 1:]
    assert np.abs(correlations).max() < 5 / np.sqrt(values.shape[1])


def test_a_scale_that_changes_between_steps_is_refused():
    noise = GaussianNoise(KEY.generator(Draw.NOISE), torch.device("cpu"))
    noise.fill(torch.empty(1, 4), 1.0)
    with pytest.raises(ValueError, match=r"changed within a round from 1\.0 to 2\.0"):
        noise.fill(torch.empty(1, 4), 2.0)
