"""Records, noise at the server: the clipped gradient sum of one Poisson batch is sent as it is."""

from dataclasses import dataclass

from wardround.clients.cells.half import TorchHalf
from wardround.clients.gradients import ClippedSum
from wardround.clients.held_model import HeldModel
from wardround.clients.steps import Counts, LocalRound, Steps, add_batch
from wardround.exact_sums import Arrays
from wardround.models import parameters_of

__all__ = ["RecordCentral"]


@dataclass(frozen=True, slots=True)
class RecordCentral(TorchHalf):
    """A clipped gradient sum."""

    steps = Steps.SUM

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back."""
        summed = ClippedSum(held.parameters, local.clip, held.copies, is_automatic=held.clips_automatically)
        counts = add_batch(held, local, summed)
        by_name = zip(parameters_of(held.model), summed.values(), strict=True)
        return {name: part.cpu().numpy() for name, part in by_name}, counts
