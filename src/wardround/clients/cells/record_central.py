"""Records, noise at the server: the clipped gradient sum of one Poisson batch is sent as it is."""

from dataclasses import dataclass

from wardround.clients.cells.half import TorchHalf
from wardround.clients.gradient_sums import GhostSum, GradientSum
from wardround.clients.steps import Counts, LocalRound, Steps, by_record, summed_batch
from wardround.exact_sums import Arrays

__all__ = ["RECORD_CENTRAL", "RecordCentral"]


@dataclass(frozen=True, slots=True)
class RecordCentral(TorchHalf):
    """A clipped gradient sum."""

    def train(self, steps: Steps, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back."""
        module, optimizer = by_record(steps, local, GradientSum, GhostSum)
        return summed_batch(steps, local, module, optimizer)


RECORD_CENTRAL = RecordCentral("record-central")
