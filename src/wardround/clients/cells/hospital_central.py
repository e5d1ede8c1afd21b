"""Hospital x central: the clipped update is sent as it is; the server adds the noise."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays
from wardround.clients.cells.whole_updates import half_of_updates
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["HOSPITAL_CENTRAL"]


def _send(
    before: Mapping[str, NDArray[Any]], clipped: Arrays, assignment: Assignment, key: Key
) -> tuple[Arrays, float | None]:
    return {name: array.astype(np.float32) for name, array in clipped.items()}, None


HOSPITAL_CENTRAL = half_of_updates("hospital-central", _send)
