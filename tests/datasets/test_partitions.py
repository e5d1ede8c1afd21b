"""Partitions: disjoint, complete, nobody empty, and skewed as the papers say."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.datasets.partitions import (
    partition_dirichlet,
    partition_iid,
    partition_natural,
    partition_quantity,
    partition_shards,
    quantile_bins,
)
from wardround.errors import ConfigError

Split = Callable[[NDArray[np.int64], int, int], tuple[NDArray[np.int64], ...]]

SPLITS: dict[str, Split] = {
    "iid": lambda labels, count, seed: partition_iid(len(labels), count, np.random.default_rng(seed)),
    "dirichlet 0.05": lambda labels, count, seed: partition_dirichlet(labels, count, 0.05, np.random.default_rng(seed)),
    "dirichlet 1e-320": lambda labels, count, seed: partition_dirichlet(
        labels, count, 1e-320, np.random.default_rng(seed)
    ),
    "dirichlet 1e308": lambda labels, count, seed: partition_dirichlet(
        labels, count, 1e308, np.random.default_rng(seed)
    ),
    "quantity 1e308": lambda labels, count, seed: partition_quantity(
        len(labels), count, 1e308, np.random.default_rng(seed)
    ),
    "quantity 0.1": lambda labels, count, seed: partition_quantity(
        len(labels), count, 0.1, np.random.default_rng(seed)
    ),
    "quantity 1e-320": lambda labels, count, seed: partition_quantity(
        len(labels), count, 1e-320, np.random.default_rng(seed)
    ),
    "shards 1": lambda labels, count, seed: partition_shards(labels, count, 1, np.random.default_rng(seed)),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_partition_is_disjoint_complete_sorted_and_leaves_nobody_empty(
    split: Split, labels: list[int], share: float, seed: int
) -> None:
    count = 1 + int(share * (len(labels) - 1))
    parts = split(np.array(labels), count, seed)
    assert len(parts) == count
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_the_same_seed_gives_the_same_partition_and_another_seed_another(split: Split) -> None:
    labels = np.arange(200) % 4
    first, again, other = split(labels, 8, 1), split(labels, 8, 1), split(labels, 8, 2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_more_shards_than_rows_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"shards-per-hospital = 3 must be <= 2"):
        partition_shards(np.zeros(10), 5, 3, np.random.default_rng(0))


def test_iid_sizes_differ_by_at_most_one() -> None:
    sizes = [len(part) for part in partition_iid(1003, 10, np.random.default_rng(0))]
    assert max(sizes) - min(sizes) == 1


def _mean_largest_share(alpha: float) -> float:
    labels = np.arange(20_000) % 10
    parts = partition_dirichlet(labels, 20, alpha, np.random.default_rng(3))
    return float(np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]))


def test_dirichlet_sizes_are_equal_and_skew_falls_with_alpha() -> None:
    parts = partition_dirichlet(np.arange(1000) % 10, 7, 0.1, np.random.default_rng(0))
    assert {len(part) for part in parts} == {142, 143}
    skews = [_mean_largest_share(alpha) for alpha in (0.1, 1.0, 10.0, 1e6)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.5
    assert skews[-1] < 0.15


def test_the_first_dirichlet_hospital_has_the_spread_of_the_distribution() -> None:
    # Share of class 0 at the first hospital, which meets no shortage: Beta(a, a) with a = alpha / 2, whose variance
    # is 1 / (4 (2a + 1)); multinomial sampling of 500 rows adds p (1 - p) / 500 on average.
    alpha, labels = 1.0, np.arange(20_000) % 2
    shares = [
        float(np.mean(labels[partition_dirichlet(labels, 40, alpha, np.random.default_rng(seed))[0]] == 0))
        for seed in range(300)
    ]
    expected = 1 / (4 * (alpha + 1))
    expected += (0.25 - expected) / 500
    assert np.var(shares) == pytest.approx(expected, rel=0.2)


def test_quantity_spreads_sizes_and_not_classes() -> None:
    even = [len(part) for part in partition_quantity(1000, 10, 1e308, np.random.default_rng(0))]
    skewed = [len(part) for part in partition_quantity(1000, 10, 0.2, np.random.default_rng(0))]
    assert even == [100] * 10
    assert max(skewed) > 300
    assert sum(skewed) == 1000


def test_shards_give_each_hospital_few_classes() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    parts = partition_shards(labels, 10, 2, np.random.default_rng(1))
    assert {len(part) for part in parts} == {100}
    assert all(len(np.unique(labels[part])) <= 2 for part in parts)


def test_natural_keeps_names_in_the_order_of_their_numbers() -> None:
    hospitals = np.array(["hospital-10", "hospital-2", "annex", "hospital-10", "hospital-1"])
    names, parts = partition_natural(hospitals)
    assert names == ("annex", "hospital-1", "hospital-2", "hospital-10")
    assert [part.tolist() for part in parts] == [[2], [4], [1], [0, 3]]


def test_quantile_bins_are_tenths_and_ties_share_one() -> None:
    assert np.bincount(quantile_bins(np.random.default_rng(0).normal(size=1000))).tolist() == [100] * 10
    assert quantile_bins(np.array([1.0] * 99 + [2.0])).tolist() == [1] * 100
    halves = quantile_bins(np.array([0.0] * 50 + [1.0] * 50))
    assert len(set(halves[:50])) == len(set(halves[50:])) == 1
    assert halves[0] < halves[-1]
