"""Epsilon from privacy loss distributions (dp-accounting's, pessimistic), for headline figures.

Tighter than Renyi divergences and slower: 0.05 to 0.3 s a hospital. Every value is an upper bound: losses are rounded
so that they only grow. Where the distribution can't be trusted or afforded the answer is inf, which is an upper bound
too and leaves the word to the Renyi divergences. Left out on purpose: estimates that may fall short of the truth.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "composed_epsilon", "envelope_epsilon", "grid_interval"]

Segments = tuple[tuple[float, float, int], ...]
"""Kinds of steps one after another: (noise_multiplier > 0, sample_rate, num_steps >= 1), hashable."""

_EXCESS = 2e-4
_FINEST, _COARSEST = 1e-6, 1e-3
_LARGEST_EPSILON = 1000.0
# exp(-loss) of the lowest loss must stay finite.
_LONGEST_REACH = 600.0
_MOST_SEGMENTS = 32


def grid_interval(num_steps: int, rough_epsilon: float) -> float:
    """Return the spacing of privacy losses, in nats, that keeps the excess of rounding near 2e-4.

    Measured: rounding adds 0.1 to 1.1 times num_steps * interval^2 / min(epsilon, 1), over noise 0.2 to 100, sample
    rates 0.003 to 0.6 and 100 to 100,000 steps. So the excess stays below 2.2e-4 times epsilon for epsilons up to 1,
    below 2.2e-4 up to 20, below 1.1e-5 times epsilon beyond. Epsilons below 0.2 get 1e-5 or less.

    Args:
        num_steps: steps composed (>= 1).
        rough_epsilon: an epsilon of the right size (> 0).
    """
    scale = min(rough_epsilon, 1.0) ** 2 * max(1.0, rough_epsilon / 20)
    coarsest = 1e-5 if rough_epsilon < 0.2 else _COARSEST * max(1.0, rough_epsilon / 20)
    return min(max(math.sqrt(_EXCESS * scale / num_steps), _FINEST), coarsest)


@lru_cache(maxsize=4096)
def composed_epsilon(segments: Segments, target_delta: float, rough_epsilon: float) -> float:
    """Return an upper bound on the epsilon of all steps together, for one record zeroed out.

    The pair of a step is N(0, z^2) against (1 - q) N(0, z^2) + q N(1, z^2), in both directions (see `renyi`).

    Args:
        segments: what was done; at least one.
        target_delta: in (0, 1).
        rough_epsilon: an epsilon of the right size, to choose the grid with.

    Returns:
        Epsilon >= 0; inf with more than 32 segments, a rough epsilon above 1000, or a target_delta within 100 times
        the rounding noise of the transforms.

    Source: Doroshenko et al. 2022 (arXiv 2207.04380), as in dp-accounting.
    """
    num_steps = sum(steps for _, _, steps in segments)
    usable_delta = target_delta - _transform_noise(num_steps)
    if not _affordable(len(segments), num_steps, target_delta, rough_epsilon):
        return math.inf
    distribution = _composed(segments, grid_interval(num_steps, rough_epsilon))
    return float(distribution.get_epsilon_for_delta(usable_delta))


def envelope_epsilon(
    hospitals: Sequence[Segments], copies: int, target_delta: float, rough_epsilon: float, reach: float
) -> float:
    """Return an upper bound on the epsilon of any `copies` of the hospitals together.

    The largest delta over the hospitals at every epsilon is itself the privacy profile of a mechanism that dominates
    each of them (a maximum of functions convex in exp(epsilon) is convex); dominating pairs compose, so `copies` of it
    dominate every choice of that many hospitals. With equal hospitals the bound is their exact composition.

    Args:
        hospitals: what each did; at least one.
        copies: hospitals that may hold the same patient (>= 1).
        target_delta: in (0, 1).
        rough_epsilon: an epsilon of the right size for the whole, to choose the grid with.
        reach: losses beyond it in one hospital count as infinite; best where each hospital's delta is below 1e-13.

    Source: Zhu, Dong, Wang 2022 (arXiv 2106.08567), propositions 8 and 10, theorem 10.
    """
    num_steps = copies * max(sum(steps for _, _, steps in segments) for segments in hospitals)
    most_segments = max(len(segments) for segments in hospitals)
    if not _affordable(most_segments, num_steps, target_delta, rough_epsilon) or reach > _LONGEST_REACH:
        return math.inf
    interval = grid_interval(num_steps, rough_epsilon)
    # The envelope is composed a few times only, so a coarser grid keeps the same excess.
    spacing = interval * max(1.0, math.floor(math.sqrt(num_steps / copies)))
    last = math.ceil(reach / spacing)
    epsilons = np.asarray(np.arange(-last, last + 1) * spacing, dtype=np.float64)
    deltas = np.zeros(len(epsilons))
    for segments in set(hospitals):
        deltas = np.maximum(deltas, _profile(_composed(segments, interval), epsilons))
    deltas = np.minimum(np.maximum.accumulate(deltas[::-1])[::-1], 1.0)
    pld, pmf = _dp_accounting()
    envelope = pld.PrivacyLossDistribution(
        pmf.create_pmf_pessimistic_connect_dots_fixed_gap(spacing, -last, last, deltas)
    )
    composed = envelope.self_compose(copies) if copies > 1 else envelope
    return float(composed.get_epsilon_for_delta(target_delta - _transform_noise(num_steps)))


def _transform_noise(num_steps: int) -> float:
    """Return a bound on the delta that rounding in the Fourier transforms may hide.

    Measured against the exact Gaussian profile: at most 3e-17 a step; held by a test.
    """
    return 1e-12 + 2.2e-16 * num_steps


def _affordable(num_segments: int, num_steps: int, target_delta: float, epsilon: float) -> bool:
    trusted = target_delta >= 100 * _transform_noise(num_steps)
    return trusted and num_segments <= _MOST_SEGMENTS and epsilon <= _LARGEST_EPSILON


def _composed(segments: Segments, interval: float) -> Any:
    """Return dp-accounting's privacy loss distribution of all segments; q = 1 is one Gaussian of the summed signal."""
    pld, _ = _dp_accounting()
    whole = None
    for noise_multiplier, sample_rate, num_steps in segments:
        if sample_rate == 1:
            part = pld.from_gaussian_mechanism(
                noise_multiplier / math.sqrt(num_steps), value_discretization_interval=interval
            )
        else:
            step = pld.from_gaussian_mechanism(
                noise_multiplier, sampling_prob=sample_rate, value_discretization_interval=interval
            )
            part = step.self_compose(num_steps)
        whole = part if whole is None else whole.compose(part)
    return whole


def _profile(distribution: Any, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the delta of a distribution at ascending epsilons, the larger of adding and removing.

    dp-accounting's own does the same in a Python loop, a hundred times slower, which is why its parts are read here.
    """
    curves = []
    for pmf in (distribution._pmf_remove.to_dense_pmf(), distribution._pmf_add.to_dense_pmf()):
        losses = (np.arange(pmf.size) + pmf._lower_loss) * pmf._discretization
        first = np.searchsorted(losses, epsilons, side="right")
        with np.errstate(over="ignore", invalid="ignore"):
            below = np.append(np.cumsum((pmf._probs * np.exp(-losses))[::-1])[::-1], 0.0)
        above = np.append(np.cumsum(pmf._probs[::-1])[::-1], 0.0)
        curves.append(pmf._infinity_mass + above[first] - np.exp(epsilons) * below[first])
    return np.asarray(np.maximum(*curves))


def _dp_accounting() -> tuple[Any, Any]:
    """Import dp-accounting late: it brings SciPy's signal package, which `wardround --help` can do without."""
    from dp_accounting.pld import pld_pmf, privacy_loss_distribution

    return privacy_loss_distribution, pld_pmf
