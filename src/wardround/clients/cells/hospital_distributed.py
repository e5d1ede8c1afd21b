"""Hospitals, a share of the noise from each: the clipped update times the hospital's part is rounded and summed."""

from dataclasses import dataclass

import numpy as np

from wardround.clients.cells.whole_updates import WholeUpdates
from wardround.clients.residues import noisy_residues
from wardround.exact_sums import Arrays
from wardround.privacy.integers import round_within
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["HospitalDistributed"]


@dataclass(frozen=True, slots=True)
class HospitalDistributed(WholeUpdates):
    """A rounded clipped update, with a share of the noise, as residues."""

    def send(self, before: Arrays, clipped: Arrays, assignment: Assignment, key: Key) -> tuple[Arrays, float | None]:
        """Return residues."""
        event = assignment.event
        flat = np.concatenate([array.reshape(1, -1) for array in clipped.values()], axis=1, dtype=np.float64)
        steps = flat * (assignment.contribution * event.scaled_norm / assignment.distance)
        bound = norm_bound_squared(event.scaled_norm, event.dimension)
        integers = round_within(steps, bound, key.generator(Draw.ROUNDING))[0]
        return noisy_residues(integers, clipped, assignment, key)
