"""What the cells share where the server adds the noise to an exact sum.

Contributions go onto the grid of the exact sum (`exact_sums`) before the noise and, with secure aggregation, onto the
quantiser's first: so the noise also covers how far rounding can carry neighbours' sums apart.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround import exact_sums
from wardround.digests import array_digest, by_field
from wardround.privacy.cells.cell import SummedCell
from wardround.privacy.cells.promises import READERS
from wardround.privacy.cells.released_sums import NOTHING, Memory, PlannedSum, ReleasedSum, RoundSum, Sums
from wardround.privacy.cells.words import PlainWords
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["ServerNoise"]

_GRID = 2.0**-exact_sums.FRACTION_BITS
"""Step of the exact sum."""
_BLOCK = 32_768
"""Coordinates that noise is drawn for at a time."""
_MOST_ROUNDING = 0.01
"""By which the grid may take neighbours apart, in clips."""
_QUANTISER_SLACK = 1 + 2.0**-17
"""Products of up to 2^30 in double precision are off by 2^-23 steps before they are rounded to a whole number; and both
neighbours' sums, which a member can move to 2^30 steps, pass eight roundings of 2^-53 of that: 2^-19 steps in all."""
_FLOAT64_SLACK = 2.0**-49
"""Both neighbours' sums pass at most eight roundings of 2^-53 of themselves on their way from whole numbers."""


@dataclass(frozen=True)
class ServerNoise(SummedCell):
    """Noise by the server, once a round."""

    placement = "central"
    shares_noise = True
    payload = "values"
    plain_words = PlainWords(
        noise="Gaussian noise, once, by the server",
        kind="central",
        formula="zC / n",
        chart_order=2,
        trust="The server is trusted: it sees contributions without noise and adds the noise to their sum. The "
        "guarantee holds against the other hospitals and whoever receives the model, not against the server.",
        server_sees="every hospital's contribution before the noise is added",
        server_sees_sum="the sum of the hospitals' contributions before the noise is added",
        price="That is the price of not trusting the server with what the hospitals send.",
    )

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return the noise multiplier that is left against a reader: none against the server, which adds it."""
        return 0.0 if reader == READERS[0] else noise_multiplier

    def num_noise_draws(self, assignment: Assignment) -> int:
        """Return 0: hospitals draw none."""
        return 0

    def clip_range(self, *, dimension: int, num_members: int, most_records: int) -> tuple[float, float]:
        """Return the smallest clip that the grid does not drown, and one at which sums are too large for it.

        With d coordinates and n hospitals of average weight 1 / n, the grid takes neighbours up to sqrt(d) 2^-40 n
        clips of size 1 apart (see `rounding_distance`); the noise covers it, whatever it is, and this holds it to a
        hundredth. A sum of gradients beyond 2^22 would be refused before it has any noise, by which records decided on
        an outcome that everybody sees: so no hospital's can be.
        """
        least = math.sqrt(dimension) * _GRID * num_members / _MOST_ROUNDING
        return least, exact_sums.LARGEST_VALUE / self.grid([most_records], most_records).clips / FLOAT32_SLACK

    def rounding_distance(self, planned: PlannedSum) -> float:
        """Return by how much (L2) rounding can add to the distance of neighbours' sums, in the units of the sum.

        These are units of the gradient for records, and of the update times its weight for hospitals. The distance is
        that of the grids, and so of the planned cohort alone; who answers decides how far the sums are apart without
        rounding, and `noise_stddev` adds the two. So none of it is ever relative to a hospital that did not answer.

        With d coordinates, a step u of the exact sum and s of the quantiser:

        - *Exact sum.* Neighbours differ in one contribution, each coordinate of which is rounded by u / 2 at the most
          on either side (or, after secure aggregation, in their whole sums, rounded once): sqrt(d) u. A gradient sum is
          added with weight 1 / n and multiplied by n afterwards, so that there u = n 2^-40, and else 2^-40.
        - *Secure aggregation.* The quantiser takes |x| <= R at the largest weight W that is agreed on (of the cohort,
          or [federation] max-records in its units) to Q levels, so s = R W / Q, Q being smallest with the whole cohort
          as members. A record moves the sum from one rounded vector to another, sqrt(d) s; a hospital that is zeroed
          out contributes exact zeros, so that one side is rounded, sqrt(d) s / 2.
        - *Double precision* adds 2^-49 of the longest sum there can be.

        Rounding to float32 before, of an update at its hospital, stays within the room that `privacy.clipping` leaves.
        """
        grid = self.grid(planned.num_records, planned.most_records)
        step = _GRID * grid.stretch
        if planned.levels is not None:
            step += grid.sides * planned.bound * grid.largest_weight / planned.levels * _QUANTISER_SLACK
        return math.sqrt(planned.dimension) * step + _FLOAT64_SLACK * (planned.sensitivity * grid.clips)

    def noise_stddev(self, answered: Sequence[Assignment], rounding: float = 0.0) -> float:
        """Return the stddev of the noise that the server adds to every coordinate of a sum.

        noise_multiplier times the distance of neighbours. That is the sensitivity for gradient sums; for weighted
        updates that much times the largest weight among those who answered, since so far the sum moves when one of them
        is zeroed out; and with either what rounding adds, by the triangle inequality: of the cohort's grids, whoever
        answered (see `rounding_distance`).
        """
        first = answered[0]
        largest = max(self.share(a) for a in answered)
        return first.event.noise_multiplier * (first.distance * largest + rounding)

    def release(self, summed: RoundSum) -> ReleasedSum:
        """Return the sum with its noise as the round's one reply."""
        answered, memory = summed.answered, summed.memory
        factor = self.sum_factor(answered)
        mean = exact_sums.mean(summed.total, summed.weight, summed.like())
        exact: Sums = {name: np.multiply(array, factor, out=array) for name, array in mean.items()}
        # What is released is a function of all this: another sum has independent noise.
        told = [
            [by_field(a) for a in summed.assignments],
            [a.hospital_id for a in answered],
            summed.learning_rate,
            summed.weight_decay,
            summed.rounding,
        ]
        key = summed.source.key(
            array_digest(summed.arrays),
            array_digest(exact),
            json.dumps(told).encode(),
            *([array_digest(memory)] if memory else []),
            round_number=answered[0].round_number,
            attempt=answered[0].attempt,
            hospital_id="",
        )
        noisy, remembered = self.with_noise(exact, self.noise_stddev(answered, summed.rounding), key, memory)
        return replace(self.reply(noisy, summed), memory=remembered)

    def with_noise(self, summed: Sums, stddev: float, key: Key, memory: Memory) -> tuple[Sums, Memory]:
        """Return the sum with independent noise of a stddev in every coordinate, and nothing to remember.

        It is made in the sum's own memory, in parts that stay in the cache: models are large.
        """
        noise = key.generator(Draw.NOISE)
        for array in summed.values():
            flat = array.reshape(-1)
            for start in range(0, flat.size, _BLOCK):
                part = flat[start : start + _BLOCK]
                drawn = noise.standard_normal(part.size)
                drawn *= stddev
                part += drawn
        return summed, NOTHING
