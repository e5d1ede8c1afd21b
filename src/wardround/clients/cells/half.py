"""What torch does for a cell: what is checked of a model, what is trained and sent, and what of it is noise.

The other half of a cell, all that needs no torch, is in `privacy.cells` under the same name. What is left out on
purpose: the steps themselves (see `clients.steps`), and any accounting.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wardround.clients.checks import check_records_apart
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, LocalRound, Steps
from wardround.datasets import FederatedData
from wardround.exact_sums import Arrays
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["TorchHalf"]


@dataclass(frozen=True, slots=True)
class TorchHalf(ABC):
    """What torch does for a cell; an object without state.

    Attributes:
        steps: what its hospitals do before anything leaves them.
    """

    steps: ClassVar[Steps]

    def check(self, held: HeldModel, federation: FederatedData) -> Mode | None:
        """Return how gradients by record are computed, None with whole batches; the model stays as before any data.

        Where every record's gradient is clipped by itself, no forward may see several records at once.

        Raises:
            ConfigError: it can't be trusted: the reason, and what to do.
        """
        return check_records_apart(held, federation)

    @abstractmethod
    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return what the hospital sends in a round, and what was executed."""

    def leave(self, local: LocalRound, made: Arrays, counts: Counts) -> tuple[Arrays, Counts]:
        """Return what leaves the hospital of what its steps made, and what was executed."""
        return made, counts

    def leave_together(
        self,
        received: Sequence[Tensor],
        made: Sequence[Tensor],
        locals_: Sequence[LocalRound],
        counts: Sequence[Counts],
    ) -> tuple[Sequence[Tensor], Sequence[Counts]] | None:
        """Return what `leave` returns of several hospitals, where their arrays are; None where each leaves by itself.

        Args:
            received: trained parameters that all were sent.
            made: what their steps made, of each parameter (hospitals, ...).
            locals_: the hospitals, in that order.
            counts: what each executed.
        """
        return made, counts

    def noise_alone(self, zeros: Arrays, assignment: Assignment, key: Key) -> Arrays:
        """Return what is sent where there is nothing but noise: of gradients or an update of zeros like parameters."""
        return dict(zeros)
