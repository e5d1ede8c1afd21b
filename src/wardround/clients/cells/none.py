"""No privacy: plain local training, and the parameters that come of it are sent as they are."""

from dataclasses import dataclass

from wardround.clients.cells.half import TorchHalf
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, LocalRound, Steps, plain_steps
from wardround.datasets import FederatedData
from wardround.exact_sums import Arrays
from wardround.models import parameters_of

__all__ = ["NoPrivacy"]


@dataclass(frozen=True, slots=True)
class NoPrivacy(TorchHalf):
    """Training without privacy, of any model."""

    steps = Steps.PLAIN

    def check(self, held: HeldModel, federation: FederatedData) -> Mode | None:
        """Refuse none."""
        return None

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the parameters after plain steps."""
        counts = plain_steps(held, local)
        return parameters_of(held.model), counts
