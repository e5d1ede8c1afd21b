import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from wardround.errors import ConfigError
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.streams import Draw, SeededSource

SOURCE = SeededSource(seed=1, job=b"")

CPU = torch.device("cpu")
PARAMETERS = [torch.zeros(200, 100), torch.zeros(37), torch.zeros(())]


def stream(draw, round_number=1, hospital="Basel"):
    return SOURCE.key(round_number=round_number, attempt=1, hospital_id=hospital).generator(draw)


either_way = pytest.mark.parametrize("from_counter", [False, True])
"""From NumPy's stream, and from a counter as on a device that is no processor."""


def drawn(seed=1, round_number=1, hospital="Basel", stddev=1.0, steps=1, from_counter=False):
    key = SeededSource(seed=seed, job=b"").key(round_number=round_number, attempt=1, hospital_id=hospital)
    noise = GaussianNoise(key.generator(Draw.NOISE), CPU, from_counter=from_counter)
    parts = [part for _ in range(steps) for part in noise.noise_for(PARAMETERS, stddev)]
    return torch.cat([part.reshape(-1) for part in parts]).numpy()


@either_way
@pytest.mark.parametrize("stddev", [0.02, 1.0, 7.0])
def test_the_right_scale_is_accepted_and_two_wrong_ones_are_rejected(stddev, from_counter):
    values = drawn(stddev=stddev, from_counter=from_counter)
    assert stats.kstest(values, "norm", args=(0, stddev)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(values, "norm", args=(0, stddev * wrong)).pvalue < 1e-6


@either_way
def test_has_the_parameters_shapes_and_dtypes(from_counter):
    parameters = [
        torch.zeros(3, 4),
        torch.zeros((), dtype=torch.float64),
        torch.zeros(0),
        torch.zeros(5, dtype=torch.bfloat16),
    ]
    noise = GaussianNoise(stream(Draw.NOISE), CPU, from_counter=from_counter)
    parts = noise.noise_for(parameters, 0.5)
    assert [(part.shape, part.dtype) for part in parts] == [(item.shape, item.dtype) for item in parameters]


def test_counts_steps_and_scale_and_refuses_a_change():
    noise = GaussianNoise(stream(Draw.NOISE), CPU)
    assert noise.num_draws == 0
    for step in range(1, 4):
        noise.noise_for(PARAMETERS, 0.5)
        assert (noise.num_draws, noise.stddev) == (step, 0.5)
    with pytest.raises(ValueError, match="noise scale changed"):
        noise.noise_for(PARAMETERS, 0.6)


@either_way
def test_the_same_stream_is_the_same_noise_and_any_other_is_not_correlated(from_counter):
    draw = partial(drawn, from_counter=from_counter)
    assert np.array_equal(draw(steps=2), draw(steps=2))
    streams = [
        draw(),
        draw(seed=2),
        draw(round_number=2),
        draw(hospital="Bern"),
        draw(hospital="Basel "),
        draw(steps=2)[len(draw()) :],
    ]
    for first, second in itertools.combinations(streams, 2):
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(first))


def test_ten_thousand_hospital_rounds_share_no_noise():
    first = {stream(Draw.NOISE, number // 100, f"hospital-{number % 100}").random() for number in range(10_000)}
    assert len(first) == 10_000


def test_sampling_and_noise_do_not_share_a_stream():
    assert stream(Draw.NOISE).random() != stream(Draw.SAMPLING).random()


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.97, 1.0])
def test_every_record_is_drawn_at_the_rate_that_is_billed(rate):
    sampler = PoissonSampler(500, rate, partial(stream, Draw.SAMPLING))
    counts, sizes = np.zeros(500), []
    for _ in range(400):
        batch = sampler.draw().numpy()
        counts[batch] += 1
        sizes.append(len(batch))
    assert sampler.sample_rate == rate
    assert sampler.num_draws == 400
    assert stats.binomtest(int(counts.sum()), 500 * 400, rate).pvalue > 0.001
    if rate < 1:
        # A fixed batch size would have no spread; records that are drawn together would have too much.
        spread = np.var(sizes, ddof=1) / (500 * rate * (1 - rate))
        assert stats.chi2.ppf(0.0005, 399) < 399 * spread < stats.chi2.ppf(0.9995, 399)
        each = np.var(counts, ddof=1) / (400 * rate * (1 - rate))
        assert stats.chi2.ppf(0.0005, 499) < 499 * each < stats.chi2.ppf(0.9995, 499)


def test_a_rate_of_one_takes_all_records_and_asks_for_no_stream():
    sampler = PoissonSampler(7, 1.0, partial(pytest.fail, "a stream was asked for"))
    np.testing.assert_array_equal(sampler.draw().numpy(), np.arange(7))
    np.testing.assert_array_equal(sampler.draw_together(3), np.arange(21))
    assert sampler.num_draws == 4


def test_empty_batches_are_drawn_and_counted():
    sampler = PoissonSampler(3, 0.01, partial(stream, Draw.SAMPLING))
    batches = [sampler.draw() for _ in range(50)]
    assert sum(len(batch) == 0 for batch in batches) > 40
    assert sampler.num_draws == 50
    assert all(batch.dtype == torch.int64 for batch in batches)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_refuses_a_rate_out_of_range(rate):
    with pytest.raises(ConfigError, match="sample-rate"):
        PoissonSampler(10, rate, partial(stream, Draw.SAMPLING))
