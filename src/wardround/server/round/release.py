"""From the exact sum of a round to the one reply that the strategy sees, with the server's noise where it adds any.

Pure functions of the sum, the assignments and a source of random streams. What is left out on purpose: how the sum came
about (see `hospitals`), and what it costs (charged before, see `loop`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround import exact_sums
from wardround.digests import array_digest
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME, quantile_of
from wardround.privacy.integers import from_residues
from wardround.rounds import Assignment
from wardround.streams import Draw, Source

__all__ = ["Released", "noise_stddev", "release_sum"]

Arrays = dict[str, NDArray[Any]]
Sums = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Released:
    """What is left of a round's sum.

    Attributes:
        arrays: the parameters that the strategy sees as the round's one reply.
        quantile: with adaptive clipping the noisy share of updates within the clip, in [0, 1]; else None.
    """

    arrays: Arrays
    quantile: float | None = None


def release_sum(
    arrays: Arrays,
    total: exact_sums.FixedSum,
    answered: Sequence[Assignment],
    *,
    assignments: Sequence[Assignment],
    learning_rate: float,
    source: Source,
    rounding: float = 0.0,
) -> Released:
    """Return what the strategy may see of a round.

    Args:
        arrays: the current model.
        total: exact sum over those who answered: of parameters, clipped gradient sums or clipped updates times their
            weights, or of residues, as the cell says.
        answered: of those in the sum, at least one, in name order.
        assignments: of the whole cohort; denominators of gradients and of the count are theirs, whoever answered.
        learning_rate: of the server's step on a gradient sum.
        source: of the server's noise; drawn from by central cells alone, once a coordinate.
        rounding: how far rounding can have carried neighbours' sums apart in central cells (see `margins`).
    """
    first = answered[0]
    cell = cell_named(first.event.cell)
    if not cell.shares_noise:
        return Released(arrays=exact_sums.mean(total, sum(a.weight for a in answered), arrays))
    like = _like(arrays, first)
    if cell.needs_secure_sum:
        exact_sums.check_alike(total, like)
        step = first.distance / first.event.scaled_norm
        summed: Sums = {name: from_residues(total[name]) * step for name in like}
    else:
        summed = _float_sum(total, answered, like)
        # What is released is a function of all this: another sum has independent noise.
        told = json.dumps(
            [[asdict(a) for a in assignments], [a.hospital_id for a in answered], learning_rate, rounding]
        )
        key = source.key(
            array_digest(arrays),
            array_digest(summed),
            told.encode(),
            round_number=first.round_number,
            attempt=first.attempt,
            hospital_id="",
        )
        summed = _with_noise(summed, noise_stddev(answered, rounding), key.generator(Draw.NOISE))
    if cell.sends_sum:
        expected = sum(a.schedule.expected_batch_size for a in assignments)
        return Released(arrays=_moved(arrays, summed, -learning_rate / expected))
    mean = _moved(arrays, summed, 1 / _total_share(answered))
    if COUNT_NAME not in like:
        return Released(arrays=mean)
    count = float(summed[COUNT_NAME]) / _total_share(assignments)
    return Released(arrays=mean, quantile=quantile_of(count, float(first.max_grad_norm or 0.0)))


def noise_stddev(answered: Sequence[Assignment], rounding: float = 0.0) -> float:
    """Return the stddev of the noise that the server adds to every coordinate of a sum (see `release_sum`).

    noise_multiplier times the distance of neighbours. That is the sensitivity for gradient sums; for weighted updates
    that much times the largest weight among those who answered, since so far the sum moves when one of them is zeroed
    out; and with either what rounding adds, by the triangle inequality: of the cohort's grids, whoever answered.

    Args:
        answered: of those in the sum, at least one.
        rounding: see `margins.rounding_distance`.
    """
    first = answered[0]
    cell = cell_named(first.event.cell)
    largest = max(cell.share(a) for a in answered)
    return first.event.noise_multiplier * (first.distance * largest + rounding)


def _total_share(assignments: Sequence[Assignment]) -> float:
    cell = cell_named(assignments[0].event.cell)
    return math.fsum(cell.share(assignment) for assignment in assignments)


def _like(arrays: Arrays, assignment: Assignment) -> dict[str, NDArray[np.float64]]:
    like = {name: np.zeros(np.shape(array)) for name, array in arrays.items()}
    return like | ({COUNT_NAME: np.zeros(())} if assignment.adaptive_clipping else {})


def _float_sum(total: exact_sums.FixedSum, answered: Sequence[Assignment], like: Sums) -> Sums:
    """Return the sum of shares times contributions, in the terms of `Cell.share`."""
    weight = sum(assignment.weight for assignment in answered)
    # Weights of gradient sums are all the same and only keep the exact sum in range.
    factor = float(len(answered)) if cell_named(answered[0].event.cell).sends_sum else weight
    return {name: array * factor for name, array in exact_sums.mean(total, weight, like).items()}


def _with_noise(summed: Sums, stddev: float, noise: np.random.Generator) -> Sums:
    return {name: array + stddev * noise.standard_normal(array.shape) for name, array in summed.items()}


def _moved(arrays: Arrays, direction: Sums, factor: float) -> Arrays:
    return {name: np.asarray(array + factor * direction[name]).astype(array.dtype) for name, array in arrays.items()}
