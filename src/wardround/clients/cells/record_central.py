"""Records, noise at the server: the clipped gradient sum of one Poisson batch is sent as it is."""

from dataclasses import dataclass

from wardround.clients.cells.half import TorchHalf
from wardround.clients.gradients import ClippedSum
from wardround.clients.held_model import HeldModel
from wardround.clients.steps import Counts, LocalRound, add_batch
from wardround.exact_sums import Arrays

__all__ = ["RECORD_CENTRAL", "RecordCentral"]


@dataclass(frozen=True, slots=True)
class RecordCentral(TorchHalf):
    """A clipped gradient sum."""

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back."""
        summed = ClippedSum(held.parameters, local.clip)
        counts = add_batch(held, local, summed)
        names = [name for name, parameter in held.model.named_parameters() if parameter.requires_grad]
        return {name: part.cpu().numpy() for name, part in zip(names, summed.values(), strict=True)}, counts


RECORD_CENTRAL = RecordCentral("record-central")
