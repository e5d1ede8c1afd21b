"""A whole update, clipped, and a share of integer noise: what several cells send is made of these.

What is left out on purpose: training, and which cell sends what (see `cells`).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.exact_sums import Arrays
from wardround.privacy.clipping import COUNT_NAME, centred_count, clip_update
from wardround.privacy.integers import skellam_share, to_residues
from wardround.rounds import Assignment
from wardround.secagg.quantisation import split_like

__all__ = ["clipped_update", "noisy_residues"]


def clipped_update(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], assignment: Assignment
) -> tuple[Arrays, bool]:
    """Return the clipped update, with the count of adaptive clipping where it is asked for, and whether it was finite.

    An update that is not finite becomes the zero update.

    Args:
        before: parameters the hospital received, by name, any shapes.
        after: parameters after local training.
        assignment: with the clip.
    """
    max_norm = float(assignment.max_grad_norm or 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        update = {name: np.asarray(after[name], np.float64) - before[name] for name in before}
    clipped, within, finite = clip_update(update, max_norm)
    if assignment.adaptive_clipping:
        clipped[COUNT_NAME] = centred_count(within=within, max_norm=max_norm)
    return clipped, finite


def noisy_residues(
    integers: NDArray[np.int64], like: Mapping[str, NDArray[Any]], assignment: Assignment, noise: np.random.Generator
) -> tuple[Arrays, float]:
    """Return the integers with the hospital's share of the noise as residues, and the noise multiplier it drew for.

    Args:
        integers: what is to be summed, shape (dimension,).
        like: names and shapes, in the order of the integers.
        assignment: with the scale of integers and the number of shares.
        noise: the hospital's stream for this round.
    """
    event = assignment.event
    variance = (event.noise_multiplier * event.scaled_norm) ** 2 / event.num_shares
    residues = to_residues(integers + skellam_share(len(integers), variance, noise))
    return split_like(residues, like), math.sqrt(variance * event.num_shares) / event.scaled_norm
