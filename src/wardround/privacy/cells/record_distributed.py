"""Records, noise in shares: each hospital rounds its records' clipped gradients and adds a share of Skellam noise.

Neighbours' sums differ by one rounded gradient, whose norm is checked after rounding. The bill is that of one
Poisson-subsampled Skellam step with the noise of the replies that are guaranteed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wardround.privacy.cells.gradient_sums import GradientSums
from wardround.privacy.cells.integer_sums import IntegerSums

__all__ = ["RecordDistributed"]


@dataclass(frozen=True)
class RecordDistributed(IntegerSums, GradientSums):
    """One gradient sum a round (`GradientSums`), of integers with noise in shares (`IntegerSums`)."""

    name = "record-distributed"
    mechanism = "poisson-subsampled-skellam"
    sent = "the sum of a Poisson batch's clipped gradients, one for each {unit} and rounded"

    def _other_refusals(self, training: Any, aggregation: Any) -> Iterator[str]:
        yield from super()._other_refusals(training, aggregation)
        if training.grad_sample_mode == "ghost":
            yield (
                'grad-sample-mode = "ghost" never has single gradients, which are rounded one by one with unit = '
                f'"{self.unit}" and placement = "{self.placement}": set grad-sample-mode = "auto" ([training] '
                "grad-sample-mode)"
            )
