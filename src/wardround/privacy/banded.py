"""Noise that cancels itself over the rounds, for hospitals that take part in every b-th round at most.

Let the rows of G be what the rounds sum, each divided by its round's noise stddev for independent noise. Independent
noise releases G + Xi, Xi with standard normal entries. Correlated noise releases G + W with C W = Xi for a lower
triangular C: it is a function of C G + Xi, for which the columns of C decide what a hospital's rounds cost. The model
moves by prefix sums of the rounds, A D (G + W) with A lower triangular of ones and D the rounds' scales, so that C is
made to shorten A D C^-1.

C is banded: C[t, s] = 0 unless 0 <= t - s < b. Then row t of C W = Xi reads

    w_t = (xi_t - sum over 0 < i < b of C[t, t - i] w_(t - i)) / C[t, t],

and the last b - 1 noises are all that is remembered.

*Cost.* Let a hospital take part in rounds t_1 < t_2 < ..., b or more apart, and move row t_j of G by d_j with |d_j| <=
1 / z_j, z_j being the round's noise multiplier. C G moves by the sum of C[:, t_j] d_j. Columns t_i and t_j have no row
in common, since the former ends at t_i + b - 1 < t_j. So row t of C G moves by C[t, t_j] d_j for one j at most, and
given all rows before, which fix what the hospitals send in row t, it is released with noise of deviation 1: a Gaussian
mechanism of noise multiplier at least z_j / C[t, t_j], whoever chose row t after seeing the rows before. These compose
adaptively, and Gaussian mechanisms compose exactly by adding 1 / z^2:

    sum over t, j of C[t, t_j]^2 / z_j^2 = sum over j of |C[:, t_j]|^2 / z_j^2 <= sum over j of 1 / z_j^2,

with columns of norm at most 1. That is what k independent releases cost, so an accountant is told of nothing else.
Rounds' scales may differ and follow from what was released before: they divide each row first, and are public.

*Beginning anew.* A factorisation may be left after any round, and the next one begun with nothing remembered: C is then
of two blocks, the first of which has lost its last rows, and no column has become longer. So a round that is done again
begins a new one. Its hospitals have a column in either block and are charged twice; those of the rounds before have
none in the second. With the memory of the first attempt their columns would have the redone row twice: 1 + C[t, s]^2.

*Same bits.* C is computed from sums, products, quotients and square roots alone, in an order that is written down, and
`math.fsum`: no logarithm, no product of matrices, nothing that a processor, a number of threads or a library may round
otherwise. And whoever remembers noises remembers the columns of C that they were drawn with.

Left out on purpose: the noise's scale and stream, and who takes part when (`agreed.cohorts`).

Source: Choquette-Choo, Ganesh, McKenna, McMahan, Rush, Thakurta, Xu 2023 (arXiv 2306.08153), theorems 2 and 4: banded
matrices and the participation that they are for; Denisov, McMahan, Rush, Smith, Thakurta 2022 (arXiv 2202.08312),
theorem 2.1: adaptive choices; Kalinin, Lampert 2024 (arXiv 2405.13763): the banded square root, which is the start.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError

__all__ = ["MOST_BAND", "MOST_COLUMNS", "Factorisation", "factorise", "prefix_error"]

Floats = NDArray[np.float64]

MOST_BAND = 32
"""Beyond it a round is as good as alone: the band is cut, which no proof minds, and so many noises are remembered."""

MOST_COLUMNS = 128
"""Beyond it columns from the middle are repeated, at a price of less than 2 % of the error."""

_MOST_STEPS, _LEAST_GAIN, _PATIENCE, _PAIRS, _SUFFICIENT = 200, 1e-5, 5, 10, 1e-4
_SHORTER = 1 - 2.0**-45
"""Columns are so much shorter than 1 that no rounding carries them beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factorisation:
    """A banded lower triangular C with columns of norm at most 1.

    Attributes:
        num_rounds: rows and columns of C (>= 1).
        columns: columns[s, i] is C[s + i, s], shape (at most MOST_COLUMNS, band), float64, read-only; where there are
            more rounds, as many as there are scales, from the middle, stand for all that are missing, in turn.
        scales: of the rounds' noise in turn, relative to each other (> 0), shape (1 to MOST_BAND,), float64, read-only.
    """

    num_rounds: int
    columns: Floats
    scales: Floats

    def __post_init__(self) -> None:
        for name in ("columns", "scales"):
            array = np.array(getattr(self, name), np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        norms = [math.fsum(entries) for entries in (self.columns * self.columns).tolist()]
        missing, period = self.num_rounds - len(self.columns), len(self.scales)
        fits = missing == 0 or (missing > 0 and missing % period == 0 and period <= len(self.columns) // 2)
        if not (norms and fits and max(norms) <= 1 and self.columns[:, 0].min() > 0 and self.scales.min() > 0):
            raise ConfigError(
                f"the {len(norms)} columns of a factorisation of {self.num_rounds} rounds must have norms in (0, 1] "
                f"and a first entry above 0, and lack a multiple of {period}: make it by factorise"
            )

    @property
    def band(self) -> int:
        """Rounds that a column spans: two that are so far apart have no row in common."""
        return int(self.columns.shape[1])

    def row(self, number: int) -> Floats:
        """Return C[t, t - i], t being the number, for i = 0, 1, ... below the band, as far as there are columns."""
        if not 0 <= number < self.num_rounds:
            raise ConfigError(f"row {number} must be >= 0 and < {self.num_rounds}, the rounds of the factorisation")
        return np.array([self._column(number - i)[i] for i in range(min(self.band, number + 1))])

    def noise(
        self, number: int, fresh: Mapping[str, Floats], earlier: Mapping[str, Sequence[Floats] | Floats]
    ) -> dict[str, Floats]:
        """Return w_t, the noise of row t, of unit scale.

        Args:
            number: t, from 0.
            fresh: xi_t, standard normal, by name.
            earlier: w_(t-1), w_(t-2), ... by the same names; what lies beyond the band is not looked at.

        Raises:
            ConfigError: too few are given.
        """
        own, *others = self.row(number).tolist()
        if any(len(earlier.get(name, ())) < len(others) for name in fresh):
            raise ConfigError(f"row {number} needs the {len(others)} noises before it: begin a new factorisation")
        noises = {}
        for name, drawn in fresh.items():
            noise = np.array(drawn, np.float64)
            for entry, before in zip(others, earlier.get(name, ()), strict=False):
                noise -= entry * before
            noises[name] = noise / own
        return noises

    def _column(self, number: int) -> Floats:
        missing, half, period = self.num_rounds - len(self.columns), len(self.columns) // 2, len(self.scales)
        if number >= half + missing:
            number -= missing
        elif number >= half:
            number = half - period + (number - half) % period
        column: Floats = self.columns[number]
        return column


@lru_cache(maxsize=8)
def factorise(num_rounds: int, separation: int, scales: tuple[float, ...] = ()) -> Factorisation:
    """Return the C whose prefix sums have the least error, for hospitals in every separation-th round at most.

    It minimises |A D C^-1| (Frobenius), A lower triangular of ones and D the scales, by L-BFGS over the entries of the
    band with columns scaled to length 1, from the banded square root of A; 20 to 100 steps.

    >>> round(prefix_error(factorise(20, 4)), 3)
    0.633

    Args:
        num_rounds: that are released (>= 1).
        separation: rounds from one participation of a hospital to its next, at least (>= 1).
        scales: noise that the rounds would have if it were independent, relative to each other (> 0), round t having
            scales[t % len(scales)]; () where it is the same for all. More than MOST_BAND are taken to be the same.

    Raises:
        ConfigError: a number is below 1, or a scale not above 0.
    """
    if min(num_rounds, separation) < 1 or not all(0 < scale < math.inf for scale in scales):
        raise ConfigError(
            f"num-rounds = {num_rounds} and separation = {separation} must be >= 1, and scales = {scales} > 0, to "
            "factorise: count the rounds that are left"
        )
    in_turn = np.array(scales) / max(scales) if 0 < len(scales) <= MOST_BAND and len({*scales}) > 1 else np.ones(1)
    # Where columns are missing, the last ones still have their own scales.
    size = min(num_rounds, MOST_COLUMNS - (MOST_COLUMNS - num_rounds) % len(in_turn))
    by_round = in_turn[np.arange(size) % len(in_turn)]
    start = _square_root(size, min(size, separation, MOST_BAND))
    free = start != 0

    def error_of(entries: Floats) -> tuple[float, Floats]:
        norms = _norms(entries)
        columns = entries / norms
        error, slope = _squared_error(columns, by_round)
        slope = slope - columns * np.array([[math.fsum(r)] for r in (slope * columns).tolist()])
        return error, np.where(free, slope / norms, 0.0)

    best = _minimised(error_of, start)
    return Factorisation(num_rounds=num_rounds, columns=_SHORTER * best / _norms(best), scales=in_turn)


def prefix_error(factorisation: Factorisation) -> float:
    """Return the root mean squared error of all prefix sums, relative to that of independent noise, in (0, 1]."""
    num_rounds, scales = factorisation.num_rounds, factorisation.scales
    by_round = scales[np.arange(num_rounds) % len(scales)]
    solved = _solved(np.array([factorisation._column(number) for number in range(num_rounds)]), by_round)
    total = independent = 0.0
    for number in reversed(range(num_rounds)):
        total += _dot(solved[:, number], solved[:, number])
        alone = np.full(num_rounds - number, by_round[number])
        independent += _dot(alone, alone)
    return math.sqrt(total / independent)


def _square_root(num_rounds: int, band: int) -> Floats:
    """Return the columns of the square root of A, cut to the band: its entries are those of (1 - x)^(-1/2)."""
    entries = [1.0]
    for i in range(1, band):
        entries.append(entries[-1] * (2 * i - 1) / (2 * i))
    rows = np.arange(num_rounds)[:, None] + np.arange(band)[None, :]
    return np.where(rows < num_rounds, np.array(entries), 0.0)


def _solved(columns: Floats, scales: Floats) -> Floats:
    """Return A D C^-1."""
    size, band = columns.shape
    solved = np.zeros((size, size))
    for s in reversed(range(size)):
        column = np.zeros(size)
        column[s:] = scales[s]
        for i in range(1, min(band, size - s)):
            column -= columns[s, i] * solved[:, s + i]
        solved[:, s] = column / columns[s, 0]
    return solved


def _squared_error(columns: Floats, scales: Floats) -> tuple[float, Floats]:
    """Return |B|^2 with B = A D C^-1, and its slope by the entries of C: -2 B^T P where P C^T = B."""
    size, band = columns.shape
    solved, twice, slope = _solved(columns, scales), np.zeros((size, size)), np.zeros((size, band))
    for t in range(size):
        column = solved[:, t].copy()
        for i in range(1, min(band, t + 1)):
            column -= columns[t - i, i] * twice[:, t - i]
        twice[:, t] = column / columns[t, 0]
    for i in range(band):
        slope[: size - i, i] = -2 * (solved[:, i:] * twice[:, : size - i]).sum(axis=0)
    return _dot(solved, solved), slope


def _minimised(value_of: Callable[[Floats], tuple[float, Floats]], start: Floats) -> Floats:
    """Return where L-BFGS ends: where _PATIENCE steps together gain less than _LEAST_GAIN.

    Source: Nocedal, Wright 2006, algorithm 7.4, with halving until the decrease is sufficient.
    """
    point, (value, slope) = start, value_of(start)
    pairs: list[tuple[Floats, Floats, float]] = []
    values = [value]
    for _ in range(_MOST_STEPS):
        direction = _direction(slope, pairs)
        length, expected = 1.0, _dot(slope, direction)
        while True:
            moved = point - length * direction
            value, new_slope = value_of(moved)
            if value <= values[-1] - _SUFFICIENT * length * expected:
                break
            length /= 2
            if length < 2.0**-30:
                return point
        step, change = moved - point, new_slope - slope
        if (product := _dot(step, change)) > 0:
            pairs = [*pairs, (step, change, product)][-_PAIRS:]
        point, slope = moved, new_slope
        values.append(value)
        if values[max(0, len(values) - 1 - _PATIENCE)] - value < _LEAST_GAIN * value and len(values) > _PATIENCE:
            return point
    return point


def _direction(slope: Floats, pairs: Sequence[tuple[Floats, Floats, float]]) -> Floats:
    """Return the slope times the inverse Hessian that the pairs of steps and changes stand for."""
    direction, factors = slope.copy(), []
    for step, change, product in reversed(pairs):
        factors.append(_dot(step, direction) / product)
        direction -= factors[-1] * change
    if pairs:
        _, change, product = pairs[-1]
        direction *= product / _dot(change, change)
    else:
        # The first step is a tenth of a column long, if all columns move alike.
        direction *= 0.1 * math.sqrt(len(slope)) / max(math.sqrt(_dot(slope, slope)), 1e-300)
    for (step, change, product), factor in zip(pairs, reversed(factors), strict=True):
        direction += (factor - _dot(change, direction) / product) * step
    return direction


def _norms(entries: Floats) -> Floats:
    return np.array([[math.sqrt(math.fsum(row))] for row in (entries * entries).tolist()])


def _dot(left: Floats, right: Floats) -> float:
    return math.fsum((left * right).ravel().tolist())
