"""Record x central: the clipped gradient sum of one Poisson batch is sent as it is; the server adds the noise."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays, TorchHalf
from wardround.clients.checks import check_records_apart
from wardround.clients.gradient_sums import GhostSum, GradientSum
from wardround.clients.steps import Counts, Steps, by_record, summed_batch
from wardround.clients.tensors import HospitalTensors
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["RECORD_CENTRAL"]


def _train(
    steps: Steps,
    arrays: Mapping[str, NDArray[Any]],
    tensors: HospitalTensors,
    assignment: Assignment,
    key: Key,
    sampler: PoissonSampler,
    proximal_mu: float,
) -> tuple[Arrays, Counts]:
    module, optimizer = by_record(steps, tensors, assignment, GradientSum, GhostSum)
    return summed_batch(steps, module, optimizer, tensors, sampler)


def _noise_alone(zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
    return dict(zeros)


RECORD_CENTRAL = TorchHalf(
    name="record-central", records_apart=True, check=check_records_apart, train=_train, noise_alone=_noise_alone
)
