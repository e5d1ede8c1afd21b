"""What the cells share whose hospitals send one clipped gradient sum a round, for a step that the server takes.

The sum over all hospitals is a Poisson batch's sum of clipped gradients: neighbours differ by one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from wardround.exact_sums import Arrays
from wardround.privacy.cells.released_sums import ReleasedSum, Sums, moved
from wardround.privacy.cells.sums import SummedCell
from wardround.privacy.cells.weights import noise_together
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Assignment

__all__ = ["GradientSums"]


@dataclass(frozen=True)
class GradientSums(SummedCell):
    """One gradient sum a round, and one noise that covers it."""

    __slots__ = ()
    sends_sum: ClassVar[bool] = True

    def _other_refusals(self, training: Any, aggregation: Any) -> Iterator[str]:
        cell = f'with unit = "{self.unit}" and placement = "{self.placement}"'
        reason = "a hospital sends one gradient sum a round, and only the server takes a step"
        for key, given in (
            ("local-steps", training.local_steps not in (None, 1) and training.local_steps),
            ("local-epochs", training.local_epochs),
            ("momentum", training.momentum),
            ("optimizer", training.optimizer != "sgd" and training.optimizer),
        ):
            if given:
                instead = "set local-steps = 1" if key.startswith("local") else "use a strategy with a server optimizer"
                yield f"{key} = {given} has no meaning {cell} ([training] {key}), where {reason}: {instead}"
        if aggregation.strategy == "fedprox":
            yield (
                f'strategy = "fedprox" has no meaning {cell} ([aggregation] strategy), where {reason}, so that there '
                'is nothing to pull back: set strategy = "fedavg"'
            )

    def vector_weight(self, num_train: int) -> float:
        """Return 1: gradient sums count their records already."""
        return 1.0

    def cohort_weight(self, num_train: int, total: int, size: int) -> float:
        """Return the same for all, which only keeps the exact sum in range."""
        return 1 / size

    def share(self, assignment: Assignment) -> float:
        """Return 1."""
        return 1.0

    def update_bound(
        self, *, max_update: float, most_records: int, sensitivity: float, noise_multiplier: float
    ) -> float:
        """Return a clip for each of a hospital's records, with room for rounding to float32."""
        return sensitivity * most_records * FLOAT32_SLACK

    def stddev_on_average(
        self,
        stddevs: Sequence[float],
        num_train: Sequence[int],
        batches: Sequence[float],
        *,
        most_records: int,
        num_shares: int,
    ) -> float:
        """Return the stddev of the noise on the average gradient of the cohort's expected batch."""
        return noise_together(stddevs, batches, 1.0, self.surplus(len(batches), num_shares))

    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return their number: weights are all the same and only keep the exact sum in range."""
        return float(len(answered))

    def reply(
        self,
        arrays: Arrays,
        summed: Sums,
        answered: Sequence[Assignment],
        assignments: Sequence[Assignment],
        learning_rate: float,
    ) -> ReleasedSum:
        """Return the model after a step on the average gradient over the batch that is expected of the whole cohort."""
        expected = sum(a.schedule.expected_batch_size for a in assignments)
        return ReleasedSum(arrays=moved(arrays, summed, -learning_rate / expected))
