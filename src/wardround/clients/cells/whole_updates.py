"""What the cells have in common whose unit is the hospital: plain training, of which the whole update is released.

They differ in how a clipped update leaves, as a function of it, of the assignment and of the release's streams. What is
left out on purpose: that function, of which each cell has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays, TorchHalf, with_noise
from wardround.clients.checks import check_hospitals_apart
from wardround.clients.steps import Counts, Steps, plain_steps
from wardround.clients.tensors import HospitalTensors
from wardround.clients.updates import clipped_update
from wardround.models import parameters_of
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["Send", "half_of_updates"]

Send = Callable[[Mapping[str, NDArray[Any]], Arrays, Assignment, Key], tuple[Arrays, float | None]]
"""(parameters received, clipped update, assignment, key) -> what leaves the hospital, and the noise multiplier of the
noise that was drawn for it; None where none was."""


def half_of_updates(name: str, send: Send) -> TorchHalf:
    """Return the half of a cell that releases whole updates.

    Args:
        name: of the cell.
        send: what leaves the hospital.
    """

    def train(
        steps: Steps,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        key: Key,
        sampler: PoissonSampler,
        proximal_mu: float,
    ) -> tuple[Arrays, Counts]:
        counts = plain_steps(steps, tensors, assignment, sampler, proximal_mu)
        clipped, is_finite = clipped_update(arrays, parameters_of(steps.held.now), assignment)
        sent, noise_multiplier = send(arrays, clipped, assignment, key)
        counts = replace(counts, num_scrubbed=counts.num_scrubbed + int(not is_finite))
        return sent, counts if noise_multiplier is None else with_noise(counts, noise_multiplier)

    def noise_alone(zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
        clipped, _ = clipped_update(zeros, zeros, assignment)
        return send(zeros, clipped, assignment, key)[0]

    return TorchHalf(name=name, records_apart=False, check=check_hospitals_apart, train=train, noise_alone=noise_alone)
