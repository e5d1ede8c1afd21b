"""Hospitals, noise at the hospital: parameters are sent that have moved by the clipped update and noise."""

from dataclasses import dataclass

import numpy as np

from wardround.clients.cells.whole_updates import WholeUpdates
from wardround.digests import array_digest
from wardround.exact_sums import Arrays
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["HospitalLocal"]


@dataclass(frozen=True, slots=True)
class HospitalLocal(WholeUpdates):
    """Parameters with a clipped update and noise."""

    def send(self, before: Arrays, clipped: Arrays, assignment: Assignment, key: Key) -> tuple[Arrays, float | None]:
        """Return noisy parameters."""
        noise = key.about(array_digest(clipped)).generator(Draw.NOISE)
        stddev = assignment.event.noise_multiplier * assignment.distance
        # The noise first: a sum with large parameters is rounded to their steps, which may double what was clipped.
        noisy = {
            name: (before[name] + (clipped[name] + stddev * noise.standard_normal(clipped[name].shape))).astype(
                np.asarray(before[name]).dtype
            )
            for name in clipped
        }
        return noisy, stddev / assignment.distance
