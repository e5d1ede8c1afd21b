"""Streams: each argument makes another one, and nothing else does."""

import itertools

import numpy as np

from wardround.streams import SetUp, stream


def test_streams_differ_by_seed_purpose_round_and_name_and_repeat() -> None:
    keys = list(itertools.product((1, 2), SetUp, (0, 1), ("", "a", "b")))
    draws = {key: stream(*key).random(4) for key in keys}
    assert len({tuple(draw) for draw in draws.values()}) == len(keys)
    assert all(np.array_equal(stream(*key).random(4), draw) for key, draw in draws.items())


def test_streams_of_many_hospitals_and_rounds_are_uncorrelated() -> None:
    noise = np.array(
        [
            stream(7, SetUp.SPLIT, number, name).standard_normal(2_000)
            for number in range(20)
            for name in ("a", "b", "c")
        ]
    )
    correlations = np.corrcoef(noise)[np.triu_indices(len(noise), 1)]
    # 1,770 pairs of correlation N(0, 1 / 2000): the largest is below 4.5 deviations but for one case in 80.
    assert np.abs(correlations).max() < 4.5 / np.sqrt(2_000)
    assert abs(correlations.std() * np.sqrt(2_000) - 1) < 0.1


def test_seeds_beyond_32_bits_count() -> None:
    assert stream(1, SetUp.COHORT).random() != stream(1 + 2**32, SetUp.COHORT).random()
