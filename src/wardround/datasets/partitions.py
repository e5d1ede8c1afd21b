"""Index splits: labels in, one sorted index array per hospital out; disjoint, complete, nobody left empty.

A row here is whatever must stay together: a record, or a patient with all records. Targets of a regression have no
classes, so label-skewed partitions see the ten quantile bins of the target instead (`quantile_bins`).
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError

__all__ = [
    "partition_dirichlet",
    "partition_iid",
    "partition_natural",
    "partition_quantity",
    "partition_shards",
    "quantile_bins",
]

IndexArrays = tuple[NDArray[np.int64], ...]


def partition_iid(num_rows: int, num_hospitals: int, generator: np.random.Generator) -> IndexArrays:
    """Return a random split into parts whose sizes differ by at most one.

    >>> [len(part) for part in partition_iid(10, 3, np.random.default_rng(0))]
    [4, 3, 3]

    Args:
        num_rows: rows to split, >= num_hospitals.
        num_hospitals: parts, >= 1.
        generator: where the chance comes from.
    """
    return tuple(np.sort(part) for part in np.array_split(generator.permutation(num_rows), num_hospitals))


def partition_dirichlet(
    labels: NDArray[Any], num_hospitals: int, alpha: float, generator: np.random.Generator
) -> IndexArrays:
    """Return a label-skewed split: equal sizes, each hospital's class shares drawn from Dirichlet(alpha x prior).

    A class that runs out is taken from the hospital's shares, which are then rescaled over the classes left, so
    the last hospitals come closer to what is left over than to their draw.

    Args:
        labels: (n,) classes of any sortable kind.
        num_hospitals: parts, between 1 and n.
        alpha: concentration > 0; small is skewed, large is iid.
        generator: where the chance comes from.

    Source: Hsu, Qi, Brown 2019, arXiv 1909.06335, section 3.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    pools = [generator.permutation(np.flatnonzero(codes == code)) for code in range(len(classes))]
    left = counts.copy()
    parts = []
    for rows in np.array_split(np.arange(len(labels)), num_hospitals):
        shares = _draw_shares(alpha * (counts / counts.sum()), generator)
        taken = _draw_counts(len(rows), shares, left, generator)
        starts = counts - left
        parts.append(np.sort(np.concatenate([pools[c][starts[c] : starts[c] + taken[c]] for c in range(len(classes))])))
        left = left - taken
    return tuple(parts)


def partition_quantity(num_rows: int, num_hospitals: int, alpha: float, generator: np.random.Generator) -> IndexArrays:
    """Return a size-skewed split: one row for everyone, the others shared out in proportion to Dirichlet(alpha).

    Args:
        num_rows: rows to split, >= num_hospitals.
        num_hospitals: parts, >= 1.
        alpha: concentration > 0; small gives few large hospitals, large gives equal sizes.
        generator: where the chance comes from.

    Source: Li et al. 2022, "Federated Learning on Non-IID Data Silos", section 4.3 (quantity skew).
    """
    spare = num_rows - num_hospitals
    exact = spare * _draw_shares(np.full(num_hospitals, alpha), generator)
    sizes = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(sizes - exact, kind="stable")[: spare - sizes.sum()]
    sizes[largest_remainders] += 1
    bounds = np.cumsum(sizes + 1)[:-1]
    return tuple(np.sort(part) for part in np.split(generator.permutation(num_rows), bounds))


def partition_shards(
    labels: NDArray[Any], num_hospitals: int, shards_per_hospital: int, generator: np.random.Generator
) -> IndexArrays:
    """Return a split by shards: rows sorted by label, cut into equal shards, dealt out at random.

    Args:
        labels: (n,) classes of any sortable kind.
        num_hospitals: parts, >= 1.
        shards_per_hospital: shards for each, >= 1; num_hospitals x shards_per_hospital <= n.
        generator: where the chance comes from.

    Raises:
        ConfigError: fewer rows than shards.

    Source: McMahan et al. 2017, arXiv 1602.05629, section 3 (the pathological non-IID partition).
    """
    num_shards = num_hospitals * shards_per_hospital
    if num_shards > len(labels):
        raise ConfigError(
            f"shards-per-hospital = {shards_per_hospital} must be <= {len(labels) // num_hospitals}, the rows per "
            f"hospital ({len(labels)} rows, {num_hospitals} hospitals; [federation] shards-per-hospital)"
        )
    shuffled = generator.permutation(len(labels))
    ordered = shuffled[np.argsort(np.asarray(labels)[shuffled], kind="stable")]
    shards = np.array_split(ordered, num_shards)
    dealt = generator.permutation(num_shards).reshape(num_hospitals, shards_per_hospital)
    return tuple(np.sort(np.concatenate([shards[shard] for shard in hand])) for hand in dealt)


def partition_natural(hospitals: NDArray[Any]) -> tuple[tuple[str, ...], IndexArrays]:
    """Return the hospitals' names in the order of `hospital-2` before `hospital-10`, and each one's rows.

    >>> partition_natural(np.array(["b", "a", "b"]))[0]
    ('a', 'b')

    Args:
        hospitals: (n,) name of each row's hospital.
    """
    names, codes = np.unique(hospitals, return_inverse=True)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    order = sorted(range(len(names)), key=lambda index: _with_numbers(str(names[index])))
    return tuple(str(names[index]) for index in order), tuple(rows[index] for index in order)


def quantile_bins(targets: NDArray[Any], num_bins: int = 10) -> NDArray[np.int64]:
    """Return each target's quantile bin, from 0; ties share a bin, so that there may be fewer than num_bins.

    Args:
        targets: (n,) finite numbers.
        num_bins: bins wanted, >= 1.
    """
    edges = np.quantile(targets, np.arange(1, num_bins) / num_bins)
    return np.searchsorted(np.unique(edges), targets, side="right").astype(np.int64)


def _draw_shares(concentrations: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    # Beyond these limits the draw is one class, or the prior, to the last digit; and numpy's overflows.
    return generator.dirichlet(np.clip(concentrations, 1e-300, 1e12))


def _draw_counts(
    size: int, shares: NDArray[np.float64], left: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many rows of each class to take: multinomial by shares, never more than are left."""
    taken = np.zeros_like(left)
    while (missing := size - taken.sum()) > 0:
        room = left - taken
        weights = np.where(room > 0, shares, 0.0)
        # A hospital may have drawn only classes that are gone: it then takes what is left as it comes.
        weights = weights if weights.sum() > 0 else room.astype(np.float64)
        taken = taken + np.minimum(generator.multinomial(missing, weights / weights.sum()), room)
    return taken


def _with_numbers(name: str) -> list[int | str]:
    """Return texts and numbers in turn, a text first."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", name))]
