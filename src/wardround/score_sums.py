"""Sums over test records from which scores follow, as they are released with noise after the last round.

A record's vector has whether it is answered right, its loss, cut at `MOST_LOSS` and divided by it, and a place for each
bin of a fixed grid of probabilities and for whether the record is a hit, of which one is 1: of two classes the
probability is that of the second, and a hit is a record of it; of more classes it is that of the answer, and a hit is
right. Bins are (b / NUM_SCORE_BINS, (b + 1) / NUM_SCORE_BINS], the first with 0, so that of two classes the upper half
is answered as the second.

**Sensitivity.** The coordinate "right" is in {0, 1}, the loss in [0, 1], and the places are a unit vector; so the
length of a record's vector is at most sqrt(1 + 1 + 1) = sqrt(3) = `MOST_NORM`, and so is that of the mean of several
rows' vectors, since a ball is convex. Of neighbours one has an empty record in a record's place, whose vector is 0; the
number of test records is public. The model was released before and is the same for both, and its output for a record
hangs on no other one (see `clients.programs`): the sums of neighbours are one vector apart, at most sqrt(3), L2.
Whatever is computed of the released sums is post-processing (Dwork and Roth 2014, proposition 2.1). An output that is
no number counts as wrong, with the largest loss, in the bin that is the farthest from what was right.

What is left out on purpose: how sums are released, which is a round like any other (see `agreed.statistics`), and the
scores that they give (see `server.record.released_scores`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_LOSS", "MOST_NORM", "NUM_SCORE_BINS", "NUM_SUMS", "ReleasedSums", "vectors_of_scores"]

NUM_SCORE_BINS = 20
"""Of equal width, over the probabilities from 0 to 1."""
MOST_LOSS = 4.0
"""In nats: a record's loss beyond that counts as that. The right class then has a probability of 0.018."""
MOST_NORM = math.sqrt(3)
"""The longest that a record's vector can be, L2."""
NUM_SUMS = 2 + 2 * NUM_SCORE_BINS
"""Right answers, losses, and records by hit and bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedSums:
    """What was released of the test records; kept in the ledger with the run's end.

    Attributes:
        num_records: test records of the hospitals whose sums are in it; public by decision.
        num_hospitals: how many these are.
        sums: with their noise: right answers, losses / MOST_LOSS, misses by bin, hits by bin; none of no release.
        stddev: of the noise in each of them (> 0).
        round: whose model they are of.
        attempt: at the release, from 1; every attempt was charged that began.
        reason: why there are no sums; "" where there are.
    """

    round: int
    num_records: int = 0
    num_hospitals: int = 0
    sums: tuple[float, ...] = ()
    stddev: float = 0.0
    attempt: int = 1
    reason: str = ""


def vectors_of_scores(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], losses: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return each record's vector, float32 (n, NUM_SUMS), of length MOST_NORM at most; each is of its row alone.

    Args:
        probabilities: (n, k) of the classes, k >= 2.
        labels: (n,) class indices.
        losses: (n,) in nats.
    """
    is_number = np.isfinite(probabilities).all(axis=1) & np.isfinite(losses)
    answers = probabilities.argmax(axis=1)
    right = (answers == labels) & is_number
    chance, hit = probabilities.max(axis=1), right
    if probabilities.shape[1] == 2:
        chance, hit = probabilities[:, 1], (labels == 1)
    chance = np.clip(np.where(is_number, chance, ~hit), 0.0, 1.0)
    bins = np.clip(np.ceil(chance * NUM_SCORE_BINS).astype(np.int64) - 1, 0, NUM_SCORE_BINS - 1)
    vectors = np.zeros((len(labels), NUM_SUMS), np.float32)
    vectors[:, 0] = right
    vectors[:, 1] = np.where(is_number, np.clip(losses, 0.0, MOST_LOSS) / MOST_LOSS, 1.0)
    vectors[np.arange(len(labels)), 2 + hit * NUM_SCORE_BINS + bins] = 1.0
    return vectors
