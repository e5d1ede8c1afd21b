"""No privacy: plain local training, and the parameters that come of it are sent as they are."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays, TorchHalf
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, Steps, plain_steps
from wardround.clients.tensors import HospitalTensors
from wardround.datasets import Federation
from wardround.models import parameters_of
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["NONE"]


def _check(held: HeldModel, federation: Federation) -> Mode | None:
    return None


def _train(
    steps: Steps,
    arrays: Mapping[str, NDArray[Any]],
    tensors: HospitalTensors,
    assignment: Assignment,
    key: Key,
    sampler: PoissonSampler,
    proximal_mu: float,
) -> tuple[Arrays, Counts]:
    counts = plain_steps(steps, tensors, assignment, sampler, proximal_mu)
    return parameters_of(steps.held.now), counts


def _noise_alone(zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
    return dict(zeros)


NONE = TorchHalf(name="none", records_apart=False, check=_check, train=_train, noise_alone=_noise_alone)
