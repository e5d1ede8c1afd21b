"""Records, noise at the server: the clipped gradient sum of one Poisson batch is sent as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from wardround.clients.cells.half import TorchHalf
from wardround.clients.gradient_sums import GhostSum, GradientSum
from wardround.clients.steps import Counts, Steps, by_record, summed_batch
from wardround.clients.tensors import HospitalTensors
from wardround.exact_sums import Arrays
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["RECORD_CENTRAL", "RecordCentral"]


@dataclass(frozen=True)
class RecordCentral(TorchHalf):
    """A clipped gradient sum."""

    __slots__ = ()
    name: ClassVar[str] = "record-central"

    def train(
        self,
        steps: Steps,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        key: Key,
        sampler: PoissonSampler,
        proximal_mu: float,
    ) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back."""
        module, optimizer = by_record(steps, tensors, assignment, GradientSum, GhostSum)
        return summed_batch(steps, module, optimizer, tensors, sampler)


RECORD_CENTRAL = RecordCentral()
"""The one of its kind."""
