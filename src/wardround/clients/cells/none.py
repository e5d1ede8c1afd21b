"""No privacy: plain local training, and the parameters that come of it are sent as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from wardround.clients.cells.half import TorchHalf
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, Steps, plain_steps
from wardround.clients.tensors import HospitalTensors
from wardround.datasets import Federation
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["NONE", "NoPrivacy"]


@dataclass(frozen=True)
class NoPrivacy(TorchHalf):
    """Training without privacy, of any model."""

    __slots__ = ()
    name: ClassVar[str] = "none"

    def check(self, held: HeldModel, federation: Federation) -> Mode | None:
        """Refuse nothing."""
        return None

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
        """Return the parameters after plain steps."""
        counts = plain_steps(steps, tensors, assignment, sampler, proximal_mu)
        return parameters_of(steps.held.now), counts


NONE = NoPrivacy()
"""The one of its kind."""
