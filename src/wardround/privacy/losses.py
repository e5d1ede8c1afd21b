"""Privacy losses on a grid: how they are made, composed, and read, in NumPy, always rounded so that they only grow.

A step of DP-SGD is discretised by connecting the dots: each interval's probability goes to its two ends, so that both
data sets keep theirs. Composition is a power of a Fourier transform. Left out on purpose: which grid, and what the
composed losses are taken for (see `loss_distribution`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Losses", "composed", "deltas_of", "epsilon_of", "largest_loss", "losses_from_deltas", "sampled_gaussian"]

FloatArray = NDArray[np.float64]

# Beyond this many standard deviations probability counts as an infinite loss: 1e-21 a step.
_DEVIATIONS = 9.5
# Probability that a composed loss may have outside the transform's window; above it counts as infinite.
_TAIL = 1e-15
# Differences of two normal probabilities are that exact, relative to the larger.
_ROUNDING = 4e-16
_HIGHEST, _MOST_INTERVALS = 690.0, 1e7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Losses:
    """The distribution of a privacy loss.

    Attributes:
        interval: spacing of the grid, nats (> 0).
        first: the loss of the first probability, in intervals.
        probabilities: of the losses first, first + 1, ..., shape (n,), float64, >= 0.
        infinite: probability of an infinite loss.
    """

    interval: float
    first: int
    probabilities: FloatArray
    infinite: float

    @property
    def values(self) -> FloatArray:
        """The losses, nats, shape (n,)."""
        return np.asarray((self.first + np.arange(len(self.probabilities))) * self.interval)


def largest_loss(noise_multiplier: float) -> float:
    """Return the largest finite loss of a step at any sample rate, nats; the noise multiplier is > 0."""
    return min((2 * _DEVIATIONS * noise_multiplier + 1) / (2 * noise_multiplier**2), _HIGHEST)


def sampled_gaussian(noise_multiplier: float, sample_rate: float, interval: float) -> tuple[Losses, Losses]:
    """Return the losses of one Poisson-subsampled Gaussian step, of the record's data set against the other and back.

    With noise multiplier z > 0 and sample rate q in (0, 1], the output is (1 - q) N(0, z^2) + q N(1, z^2) with the
    record, and N(0, z^2) without it. The loss grows with the output,
    so that an interval of losses is one of outputs.

    Source: Doroshenko et al. 2022 (arXiv 2207.04380), section 3; Zhu, Dong, Wang 2022 (arXiv 2106.08567), for the pair.
    """
    ends = np.array([-_DEVIATIONS * noise_multiplier, 1 + _DEVIATIONS * noise_multiplier])
    growth = np.clip((2 * ends - 1) / (2 * noise_multiplier**2), -_HIGHEST, _HIGHEST)
    rest = math.log1p(-sample_rate) if sample_rate < 1 else -math.inf
    lowest, highest = np.logaddexp(rest, math.log(sample_rate) + growth).tolist()
    first, last = math.floor(lowest / interval), math.ceil(min(highest, _HIGHEST) / interval)
    edges = np.arange(first, last + 1) * interval
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = np.expm1(edges) / sample_rate
        outputs = np.where(ratios > -1, noise_multiplier**2 * np.log1p(ratios) + 0.5, -np.inf)
    outputs[np.isnan(outputs)] = -np.inf
    without, without_error, without_ends = _between(outputs / noise_multiplier)
    shifted, shifted_error, shifted_ends = _between((outputs - 1) / noise_multiplier)
    used = (1 - sample_rate) * without + sample_rate * shifted
    used_error = (1 - sample_rate) * without_error + sample_rate * shifted_error
    used_ends = (1 - sample_rate) * without_ends + sample_rate * shifted_ends
    one = _connected(used, without, used_error, without_error, edges, interval)
    other = _connected(without[::-1], used[::-1], without_error[::-1], used_error[::-1], -edges[::-1], interval)
    # What lies below the lowest loss counts as the lowest, what lies above the highest as infinite.
    one[0] += used_ends[0]
    other[0] += without_ends[1]
    return (
        Losses(interval=interval, first=first, probabilities=one, infinite=float(used_ends[1])),
        Losses(interval=interval, first=-last, probabilities=other, infinite=float(without_ends[0])),
    )


def _between(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the normal probability between neighbouring points, how wrong it can be, and what lies outside of all."""
    from scipy.special import ndtr

    below, above = ndtr(points), ndtr(-points)
    right = points[:-1] > 0
    mass = np.where(right, above[:-1] - above[1:], below[1:] - below[:-1])
    error = _ROUNDING * np.where(right, above[:-1], below[1:])
    return np.maximum(mass, 0.0), error, np.array([below[0], above[-1]])


def _connected(
    mine: FloatArray, theirs: FloatArray, my_error: FloatArray, their_error: FloatArray, edges: FloatArray, width: float
) -> FloatArray:
    """Return the probability at each edge: every interval's own, split so that the other data set keeps its own too.

    A share s of it goes to the upper end e, the rest to e - width, with mine (s exp(-e) + (1 - s) exp(width - e)) =
    theirs. The share is raised by what rounding may hide.
    """
    lower = np.exp(edges[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (mine - theirs * lower + my_error + their_error * lower) / (mine * -math.expm1(-width))
    share = np.clip(np.where(np.isnan(share), 1.0, share), 0.0, 1.0)
    probabilities = np.zeros(len(edges))
    probabilities[1:] += mine * share
    probabilities[:-1] += mine * (1 - share)
    return probabilities


def losses_from_deltas(deltas: FloatArray, first: int, interval: float) -> Losses:
    """Return losses whose delta, at every epsilon first * interval, (first + 1) * interval, ..., is the one given.

    Deltas fall, in [0, 1], shape (n,). Between them delta is a chord in exp(epsilon), above anything convex through the
    same points.

    Source: Doroshenko et al. 2022 (arXiv 2207.04380), algorithm 1.
    """
    steps = np.diff(deltas)
    probabilities = np.zeros(len(deltas))
    probabilities[1:-1] = steps[1:] / math.expm1(interval) - steps[:-1] / -math.expm1(-interval)
    probabilities[-1] = -steps[-1] / -math.expm1(-interval)
    probabilities = np.maximum(probabilities, 0.0)
    infinite = float(deltas[-1])
    probabilities[0] = max(0.0, 1 - infinite - float(probabilities[1:].sum()))
    return Losses(interval=interval, first=first, probabilities=probabilities, infinite=infinite)


def composed(parts: Sequence[tuple[Losses, int]]) -> Losses:
    """Return the losses of all parts, each taken so many times, one after the other.

    All are of one interval. The transform's window leaves out _TAIL at either side at most, by Chernoff's bound: above
    it counts as infinite, below it wraps around to where it counts as large.
    """
    interval = parts[0][0].interval
    low, high, beyond = _window(parts)
    size = _transform_size(high - low + 1)
    spectrum = np.ones(size // 2 + 1, dtype=complex)
    finite = 0.0
    for losses, count in parts:
        places = (losses.first + np.arange(len(losses.probabilities))) % size
        spectrum *= np.fft.rfft(np.bincount(places, losses.probabilities, minlength=size)) ** count
        finite += count * math.log1p(-min(losses.infinite, 0.5)) if losses.infinite < 0.5 else -math.inf
    around = np.fft.irfft(spectrum, size)
    probabilities = np.maximum(around[np.arange(low, low + size) % size], 0.0)
    kept = min(size, math.floor(_HIGHEST / interval) - low + 1)
    infinite = min(1.0, beyond - math.expm1(finite) + float(probabilities[kept:].sum()))
    return Losses(interval=interval, first=low, probabilities=probabilities[:kept], infinite=infinite)


def _window(parts: Sequence[tuple[Losses, int]]) -> tuple[int, int, float]:
    """Return the least and the largest loss worth keeping, in intervals, and a bound on what is above."""
    interval = parts[0][0].interval
    variance, lowest, highest = 0.0, 0, 0
    for losses, count in parts:
        values, weights = losses.values, losses.probabilities
        mean = weights @ values
        variance += count * float(weights @ (values - mean) ** 2)
        lowest += count * losses.first
        highest += count * (losses.first + len(weights) - 1)
    # Best near so many standard deviations for a sum of many steps, near 1 where few of them matter.
    many = np.geomspace(2.0, 32.0, 7) / math.sqrt(max(variance, interval**2))
    slopes = np.concatenate([many, np.geomspace(0.05, 16.0, 9)])
    needed = -math.log(_TAIL)
    up = np.asarray(sum(count * _log_moments(losses, slopes) for losses, count in parts))
    down = np.asarray(sum(count * _log_moments(losses, -slopes) for losses, count in parts))
    top = min(float(((up + needed) / slopes).min()), _HIGHEST)
    bottom = max(-float(((down + needed) / slopes).min()) / interval, -_MOST_INTERVALS)
    beyond = math.exp(min(0.0, float((up - slopes * top).min())))
    return max(lowest, math.floor(bottom)), min(highest, math.ceil(top / interval)), beyond


def _log_moments(losses: Losses, slopes: FloatArray) -> FloatArray:
    taken = losses.probabilities > 0
    exponents = slopes[:, None] * losses.values[taken]
    largest = exponents.max(axis=1)
    return np.asarray(largest + np.log(np.exp(exponents - largest[:, None]) @ losses.probabilities[taken]))


def _transform_size(least: int) -> int:
    """Return the smallest even number of the form 2^k, 3 * 2^k or 5 * 2^k that is not below `least`."""
    return int(min(odd * 2 ** max(1, math.ceil(math.log2(max(least, 2) / odd))) for odd in (1, 3, 5)))


def deltas_of(losses: Losses, epsilons: FloatArray) -> FloatArray:
    """Return delta at ascending epsilons."""
    above, discounted = _tails(losses)
    place = np.searchsorted(losses.values, epsilons, side="right")
    return np.asarray(losses.infinite + above[place] - np.exp(epsilons) * discounted[place])


def epsilon_of(losses: Losses, target_delta: float) -> float:
    """Return the smallest epsilon >= 0 at which delta is at most target_delta; inf where there is none."""
    if losses.infinite > target_delta:
        return math.inf
    above, discounted = _tails(losses)
    values = losses.values
    start = int(np.searchsorted(values, 0.0, side="right"))
    if losses.infinite + above[start] - discounted[start] <= target_delta:
        return 0.0
    deltas = losses.infinite + above[start + 1 :] - np.exp(values[start:]) * discounted[start + 1 :]
    # Between two losses delta is a straight line in exp(epsilon); delta falls.
    place = start + int(np.argmax(deltas <= target_delta))
    return math.log((losses.infinite + above[place] - target_delta) / discounted[place])


def _tails(losses: Losses) -> tuple[FloatArray, FloatArray]:
    """Return the sums over all losses from each one on, of the probabilities and of these times exp(-loss)."""
    weights, values = losses.probabilities, losses.values
    with np.errstate(over="ignore", invalid="ignore"):
        discounts = np.nan_to_num(weights * np.exp(-values), posinf=np.finfo(float).max)
        discounted = np.append(np.cumsum(discounts[::-1])[::-1], 0.0)
    return np.append(np.cumsum(weights[::-1])[::-1], 0.0), discounted
