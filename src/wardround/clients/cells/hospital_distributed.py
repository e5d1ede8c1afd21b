"""Hospital x distributed: the clipped update times the hospital's part, rounded, with a share of the integer noise."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays
from wardround.clients.cells.whole_updates import half_of_updates
from wardround.clients.updates import noisy_residues
from wardround.privacy.integers import round_within
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["HOSPITAL_DISTRIBUTED"]


def _send(
    before: Mapping[str, NDArray[Any]], clipped: Arrays, assignment: Assignment, key: Key
) -> tuple[Arrays, float | None]:
    event = assignment.event
    flat = np.concatenate([array.reshape(1, -1) for array in clipped.values()], axis=1)
    steps = flat * (assignment.contribution * event.scaled_norm / assignment.distance)
    bound = norm_bound_squared(event.scaled_norm, event.dimension)
    integers = round_within(steps, bound, key.generator(Draw.ROUNDING))[0]
    return noisy_residues(integers, clipped, assignment, key.generator(Draw.NOISE))


HOSPITAL_DISTRIBUTED = half_of_updates("hospital-distributed", _send)
