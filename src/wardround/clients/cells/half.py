"""What torch does for a cell: what is checked of a model, what is trained and sent, and what of it is noise.

The other half of a cell, all that needs no torch, is in `privacy.cells` under the same name. What is left out on
purpose: the steps themselves (see `clients.steps`), and any accounting.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import nn

from wardround.clients.checks import check_records_apart
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode, choose_mode
from wardround.clients.steps import Counts, Steps
from wardround.clients.tensors import HospitalTensors
from wardround.datasets import Federation
from wardround.exact_sums import Arrays
from wardround.privacy.cells import cell_named
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["TorchHalf"]


@dataclass(frozen=True)
class TorchHalf(ABC):
    """What torch does for one cell; an object without state.

    Attributes:
        name: of the cell, as `privacy.cells` has it.
    """

    __slots__ = ()
    name: ClassVar[str]

    @property
    def records_apart(self) -> bool:
        """Whether every record's gradient is clipped by itself, so that no forward may see several records at once.

        Elsewhere the model sees whole batches, and every hospital gets a copy from before any data.
        """
        return cell_named(self.name).clips_records

    def check(self, held: HeldModel, federation: Federation) -> Mode | None:
        """Refuse a model that can't be trusted; return how gradients by record are computed, None with whole batches.

        Args:
            held: the model, before any data; it is not changed.
            federation: gives the records' shape.

        Raises:
            ConfigError: the reason, and what to do.
        """
        return check_records_apart(held, federation)

    def mode_of(self, asked: str, model: nn.Module, record_shape: tuple[int, ...]) -> Mode | None:
        """Return how gradients by record are computed; None with whole batches.

        Args:
            asked: [training] grad-sample-mode.
            model: as it will be trained.
            record_shape: of one record.

        Raises:
            ConfigError: the mode that was asked for can't serve the model.
        """
        return choose_mode(asked, model, record_shape) if self.records_apart else None

    @abstractmethod
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
        """Return what the hospital sends in a round, and what was executed.

        Args:
            steps: what steps are taken with; the model has the parameters of `arrays`.
            arrays: parameters that the hospital received.
            tensors: its records.
            assignment: what it is asked to do.
            key: of the release; each purpose has a stream of its own.
            sampler: draws the batches.
            proximal_mu: strength of FedProx' pull (>= 0).
        """

    def noise_alone(self, zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
        """Return what is sent where there is nothing but noise: gradients of zero, or an update of zero.

        Args:
            zeros: in the place of the model's parameters.
            assignment: with the noise.
            key: of the release.
        """
        return dict(zeros)
