"""Integers with a share of integer noise, as residues: what several cells send.

What is left out on purpose: which of them sends what (see `cells`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from wardround.digests import array_digest
from wardround.exact_sums import Arrays
from wardround.privacy.integers import skellam_share, to_residues
from wardround.rounds import Assignment
from wardround.secagg.quantisation import split_like
from wardround.streams import Draw, Key

__all__ = ["noisy_residues"]


def noisy_residues(integers: NDArray[np.int64], like: Arrays, assignment: Assignment, key: Key) -> tuple[Arrays, float]:
    """Return the integers with the hospital's share of the noise as residues, and the noise multiplier it drew for.

    The integers have shape (dimension,), and names and shapes are those of `like`, in its order. The noise hangs on
    them.
    """
    event = assignment.event
    noise = key.about(array_digest({"integers": integers})).generator(Draw.NOISE)
    variance = (event.noise_multiplier * event.scaled_norm) ** 2 / event.num_shares
    residues = to_residues(integers + skellam_share(len(integers), variance, noise))
    return split_like(residues, like), math.sqrt(variance * event.num_shares) / event.scaled_norm
