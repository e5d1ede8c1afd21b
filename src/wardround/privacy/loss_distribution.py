"""Epsilon and privacy profile from privacy loss distributions, for all figures that are reported or held.

Tighter than Renyi divergences and slower: some milliseconds a hospital. Every value is an upper bound: losses are
rounded so that they only grow. Where the distribution can't be trusted or afforded there is no answer, which leaves the
word to the Renyi divergences. Left out on purpose: estimates that may fall short of the truth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wardround.privacy.losses import (
    Losses,
    composed,
    deltas_of,
    epsilon_of,
    largest_loss,
    losses_from_deltas,
    sampled_gaussian,
)
from wardround.privacy.profiles import EPSILONS, Profile, gaussian_deltas, gaussian_epsilon

__all__ = ["LossBound", "Segments", "composed_bound", "envelope_bound", "grid_interval"]

Segments = tuple[tuple[float, float, int], ...]
"""Kinds of steps one after another: (noise_multiplier > 0, sample_rate, num_steps >= 1), hashable."""

_EXCESS = 2e-4
_FINEST, _COARSEST = 1e-6, 1e-3
_LARGEST_EPSILON = 500.0
# exp(-loss) of the lowest loss must stay finite.
_LONGEST_REACH = 600.0
_MOST_SEGMENTS = 32
_MOST_POINTS = 4e5


def grid_interval(num_steps: int, rough_epsilon: float) -> float:
    """Return the spacing of privacy losses, in nats, that keeps the excess of rounding near 2e-4.

    Measured: rounding adds 0.1 to 1.1 times num_steps * interval^2 / min(epsilon, 1), over noise 0.2 to 100, sample
    rates 0.003 to 0.6 and 100 to 100,000 steps. So the excess stays below 2.2e-4 times epsilon for epsilons up to 1,
    below 2.2e-4 up to 20, below 1.1e-5 times epsilon beyond. Epsilons below 0.2 get 1e-5 or less. The rough epsilon is
    one of the right size (> 0).
    """
    scale = min(rough_epsilon, 1.0) ** 2 * max(1.0, rough_epsilon / 20)
    coarsest = 1e-5 if rough_epsilon < 0.2 else _COARSEST * max(1.0, rough_epsilon / 20)
    return min(max(math.sqrt(_EXCESS * scale / num_steps), _FINEST), coarsest)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossBound:
    """What a composed loss distribution proves.

    Attributes:
        epsilon: at the target delta (>= 0).
        profile: delta at every epsilon.
    """

    epsilon: float
    profile: Profile


@lru_cache(maxsize=4096)
def composed_bound(segments: Segments, target_delta: float, rough_epsilon: float) -> LossBound | None:
    """Return upper bounds for all steps together, for one record of one hospital zeroed out.

    The pair of a step is N(0, z^2) against (1 - q) N(0, z^2) + q N(1, z^2), in both directions (see `renyi`). Steps on
    whole batches are one Gaussian of the summed signal, whose bounds are closed forms. The rough epsilon, one of the
    right size, chooses the grid.

    Returns:
        None with more than 32 segments, a rough epsilon above 500, or a target_delta within 100 times the rounding
        noise of the transforms.

    Source: Doroshenko et al. 2022 (arXiv 2207.04380), as in dp-accounting; Balle, Wang 2018 for whole batches.
    """
    if all(sample_rate == 1 for _, sample_rate, _ in segments):
        mu = math.sqrt(math.fsum(steps / noise_multiplier**2 for noise_multiplier, _, steps in segments))
        profile = Profile(deltas=gaussian_deltas(mu, EPSILONS), by="pld")
        return LossBound(epsilon=gaussian_epsilon(mu, target_delta), profile=profile)
    num_steps = sum(steps for _, _, steps in segments)
    if not _affordable(len(segments), num_steps, target_delta, rough_epsilon):
        return None
    interval = _affordable_interval(grid_interval(num_steps, rough_epsilon), (segments,))
    return _bound(_composed(segments, interval), num_steps, target_delta)


@lru_cache(maxsize=64)
def envelope_bound(
    hospitals: tuple[Segments, ...], copies: int, target_delta: float, rough_epsilon: float, reach: float
) -> LossBound | None:
    """Return upper bounds for any `copies` of the hospitals together; None where they can't be afforded.

    The largest delta over the hospitals at every epsilon is itself the privacy profile of a mechanism that dominates
    each of them (a maximum of functions convex in exp(epsilon) is convex); dominating pairs compose, so `copies` of it
    dominate every choice of that many hospitals. With equal hospitals the bound is their exact composition.

    The rough epsilon is one of the right size for the whole. Losses beyond the reach in one hospital count as infinite:
    it is best where each hospital's delta is below 1e-13.

    Source: Zhu, Dong, Wang 2022 (arXiv 2106.08567), propositions 8 and 10, theorem 10.
    """
    if all(sample_rate == 1 for segments in hospitals for _, sample_rate, _ in segments):
        # The signals of whole batches add up in squares: the k strongest are the worst choice at every epsilon.
        return composed_bound(_strongest(hospitals, copies), target_delta, rough_epsilon)
    num_steps = copies * max(sum(steps for _, _, steps in segments) for segments in hospitals)
    most_segments = max(len(segments) for segments in hospitals)
    if not _affordable(most_segments, num_steps, target_delta, rough_epsilon) or reach > _LONGEST_REACH:
        return None
    interval = _affordable_interval(grid_interval(num_steps, rough_epsilon), hospitals)
    # The envelope is composed a few times only, so a coarser grid keeps the same excess.
    spacing = interval * max(1.0, math.floor(math.sqrt(num_steps / copies)))
    last = math.ceil(reach / spacing)
    epsilons = np.asarray(np.arange(-last, last + 1) * spacing, dtype=np.float64)
    deltas = np.zeros(len(epsilons))
    for segments in set(hospitals):
        for losses in _composed(segments, interval):
            deltas = np.maximum(deltas, deltas_of(losses, epsilons))
    deltas = np.minimum(np.maximum.accumulate(deltas[::-1])[::-1], 1.0)
    envelope = composed([(losses_from_deltas(deltas, -last, spacing), copies)])
    return _bound((envelope,), num_steps, target_delta)


def _strongest(hospitals: Sequence[Segments], copies: int) -> Segments:
    def signal(segments: Segments) -> float:
        return math.fsum(steps / noise_multiplier**2 for noise_multiplier, _, steps in segments)

    chosen = sorted(hospitals, key=signal, reverse=True)[:copies]
    return tuple(segment for segments in chosen for segment in segments)


def _bound(either_way: Sequence[Losses], num_steps: int, target_delta: float) -> LossBound:
    hidden = _transform_noise(num_steps)
    deltas = np.maximum.reduce([deltas_of(losses, EPSILONS) for losses in either_way])
    return LossBound(
        epsilon=max(epsilon_of(losses, target_delta - hidden) for losses in either_way),
        profile=Profile(deltas=deltas + hidden, by="pld"),
    )


def _transform_noise(num_steps: int) -> float:
    """Return a bound on the delta that rounding in the Fourier transforms may hide.

    Measured against the exact Gaussian profile: at most 3e-17 a step; held by a test.
    """
    return 1e-12 + 2.2e-16 * num_steps


def _affordable(num_segments: int, num_steps: int, target_delta: float, epsilon: float) -> bool:
    trusted = target_delta >= 100 * _transform_noise(num_steps)
    return trusted and num_segments <= _MOST_SEGMENTS and epsilon <= _LARGEST_EPSILON


def _affordable_interval(interval: float, hospitals: Sequence[Segments]) -> float:
    """Return an interval that is not so fine that one step's losses take more than _MOST_POINTS of it."""
    least_noise = min(noise_multiplier for segments in hospitals for noise_multiplier, _, _ in segments)
    return max(interval, largest_loss(least_noise) / _MOST_POINTS)


def _composed(segments: Segments, interval: float) -> tuple[Losses, Losses]:
    """Return the losses of all segments, either way; whole batches are one Gaussian of the summed signal."""
    parts = []
    for noise_multiplier, sample_rate, num_steps in segments:
        if sample_rate == 1:
            noise_multiplier, num_steps = noise_multiplier / math.sqrt(num_steps), 1
        parts.append((sampled_gaussian(noise_multiplier, sample_rate, interval), num_steps))
    one, other = ([(losses[way], count) for losses, count in parts] for way in (0, 1))
    return composed(one), composed(other)
