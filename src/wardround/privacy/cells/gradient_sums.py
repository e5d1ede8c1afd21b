"""What the cells share whose hospitals send one clipped gradient sum a round, for a step that the server takes.

The sum over all hospitals is a Poisson batch's sum of clipped gradients: neighbours differ by one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.privacy.cells.cell import SummedCell
from wardround.privacy.cells.released_sums import Averaging, ReleasedSum, RoundSum, SumGrid, Sums, moved
from wardround.privacy.ranges import FLOAT32_SLACK
from wardround.rounds import Assignment

__all__ = ["GradientSums"]


@dataclass(frozen=True)
class GradientSums(SummedCell):
    """One gradient sum a round, and one noise that covers it."""

    sends_sum = True

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
                instead = (
                    "set local-steps = 1"
                    if key.startswith("local")
                    else "remove it, or use a strategy with a server optimizer"
                )
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

    def update_bound(self, *, most_records: int, sensitivity: float, noise_multiplier: float) -> float | None:
        """Return a clip for each of a hospital's records, with room for rounding to float32."""
        return sensitivity * most_records * FLOAT32_SLACK

    def averaging(self, num_train: Sequence[int], batches: Sequence[float], most_records: int) -> Averaging:
        """Return the average gradient over all expected batches, whose sum has one noise."""
        return Averaging(weights=batches, divisors=batches, largest=1.0)

    def share_of_average(self, num_expected: float, num_answered: float) -> float:
        """Return the share of the expected batch, which is divided by, that those who answered have."""
        return num_answered / num_expected

    def grid(self, num_train: Sequence[int], most_records: int) -> SumGrid:
        """Return that a sum of n is added with weight 1 / n and multiplied by n, and may be many clips long."""
        return SumGrid(stretch=len(num_train), largest_weight=1.0, sides=1.0, clips=sum(num_train))

    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return their number: weights are all the same and only keep the exact sum in range."""
        return float(len(answered))

    def reply(self, released: Sums, summed: RoundSum) -> ReleasedSum:
        """Return the model after a step on the average gradient over the batch that is expected of the whole cohort.

        Weight decay is in the gradient, as that of an L2 penalty, once the noise is: a function of the model that was
        sent and of settings, and so post-processing.
        """
        expected = sum(a.schedule.expected_batch_size for a in summed.assignments)
        gradients = released
        if summed.weight_decay:
            penalty = expected * summed.weight_decay
            gradients = {name: released[name] + penalty * array for name, array in summed.arrays.items()}
        return ReleasedSum(arrays=moved(summed.arrays, gradients, -summed.learning_rate / expected))
