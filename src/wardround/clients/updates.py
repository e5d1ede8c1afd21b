"""What leaves a hospital that is itself the unit: its whole update, clipped, with noise or as integers.

Also the last step for integers of either unit: adding the hospital's share of the noise. Left out on purpose: training,
which here is plain local training.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME, centred_count, clip_update
from wardround.privacy.integers import round_within, skellam_share, to_residues
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment

__all__ = ["noisy_residues", "release_update"]

Arrays = dict[str, NDArray[Any]]


def release_update(
    before: Mapping[str, NDArray[Any]],
    after: Mapping[str, NDArray[Any]],
    assignment: Assignment,
    *,
    noise: np.random.Generator,
    rounding: np.random.Generator,
) -> tuple[Arrays, dict[str, Any]]:
    """Return what the hospital sends for its update, and what of it the server compares with the assignment.

    Placement "local" sends noisy parameters, "central" the clipped update, "distributed" residues of the rounded update
    and the hospital's share of the noise. An update that is not finite is sent as a zero update, and counted.

    Args:
        before: parameters the hospital received, by name, any shapes.
        after: parameters after local training.
        assignment: of unit "hospital".
        noise: the hospital's stream for this round.
        rounding: another one.
    """
    max_norm, sensitivity = float(assignment.max_grad_norm or 0.0), assignment.distance
    cell, event = cell_named(assignment.event.cell), assignment.event
    with np.errstate(invalid="ignore", over="ignore"):
        update = {name: np.asarray(after[name], np.float64) - before[name] for name in before}
    clipped, within, finite = clip_update(update, max_norm)
    counts = {"num_noise_draws": 0, "noise_multiplier": 0.0, "num_replaced": int(not finite)}
    if assignment.adaptive_clipping:
        clipped[COUNT_NAME] = centred_count(within=within, max_norm=max_norm)
    if cell.adds_noise_at_server:
        return {name: array.astype(np.float32) for name, array in clipped.items()}, counts
    if cell.needs_secure_sum:
        flat = np.concatenate([array.reshape(1, -1) for array in clipped.values()], axis=1)
        steps = flat * (assignment.contribution * event.scaled_norm / sensitivity)
        bound = norm_bound_squared(event.scaled_norm, event.dimension)
        arrays, drawn = noisy_residues(round_within(steps, bound, rounding)[0], clipped, assignment, noise)
        return arrays, counts | drawn
    stddev = event.noise_multiplier * sensitivity
    # The noise first: a sum with large parameters is rounded to their steps, which may double what was clipped.
    noisy = {
        name: (before[name] + (clipped[name] + stddev * noise.standard_normal(clipped[name].shape))).astype(
            np.asarray(before[name]).dtype
        )
        for name in clipped
    }
    return noisy, counts | {"num_noise_draws": 1, "noise_multiplier": stddev / sensitivity}


def noisy_residues(
    integers: NDArray[np.int64], like: Mapping[str, NDArray[Any]], assignment: Assignment, noise: np.random.Generator
) -> tuple[Arrays, dict[str, Any]]:
    """Return the integers with the hospital's share of the noise as residues, and the noise multiplier it drew for.

    Args:
        integers: what is to be summed, shape (dimension,).
        like: names and shapes, in the order of the integers.
        assignment: of placement "distributed".
        noise: the hospital's stream for this round.
    """
    event = assignment.event
    variance = (event.noise_multiplier * event.scaled_norm) ** 2 / event.num_shares
    residues = to_residues(integers + skellam_share(len(integers), variance, noise))
    edges = np.cumsum([array.size for array in like.values()])[:-1]
    arrays = {
        name: part.reshape(array.shape)
        for (name, array), part in zip(like.items(), np.split(residues, edges), strict=True)
    }
    drawn_for = math.sqrt(variance * event.num_shares) / event.scaled_norm
    return arrays, {"num_noise_draws": 1, "noise_multiplier": drawn_for}
