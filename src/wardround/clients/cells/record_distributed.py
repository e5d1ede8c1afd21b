"""Records, a share of the noise from each hospital: every record's clipped gradient is rounded, the integers summed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clients.cells.half import TorchHalf
from wardround.clients.gradient_sums import GhostSum, RoundedSum
from wardround.clients.steps import Counts, LocalRound, Steps, by_record, summed_batch
from wardround.clients.updates import noisy_residues
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["RECORD_DISTRIBUTED", "RecordDistributed"]


@dataclass(frozen=True, slots=True)
class RecordDistributed(TorchHalf):
    """A sum of rounded clipped gradients, with a share of the noise, as residues."""

    def train(self, steps: Steps, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back.

        Raises:
            ConfigError: the mode leaves no single gradients.
        """
        module, optimizer = by_record(steps, local, RoundedSum, GhostSum)
        if not isinstance(optimizer, RoundedSum):
            raise ConfigError(
                'grad-sample-mode = "ghost" never has single gradients, which are rounded one by one here: set "auto" '
                "([training] grad-sample-mode)"
            )
        assignment, event = local.assignment, local.assignment.event
        optimizer.round_with(
            scale=event.scaled_norm / float(assignment.max_grad_norm or 0.0),
            norm_bound_squared=norm_bound_squared(event.scaled_norm, event.dimension),
            generator=local.key.generator(Draw.ROUNDING),
        )
        floats, counts = summed_batch(steps, local, module, optimizer)
        noise = local.key.generator(Draw.NOISE)
        sent, noise_multiplier = noisy_residues(optimizer.integer_sum, floats, assignment, noise)
        return sent, replace(counts, num_noise_draws=1, noise_multiplier=noise_multiplier)

    def noise_alone(self, zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
        """Return a share of the noise as residues."""
        nothing = np.zeros(sum(array.size for array in zeros.values()), np.int64)
        return noisy_residues(nothing, zeros, assignment, key.generator(Draw.NOISE))[0]


RECORD_DISTRIBUTED = RecordDistributed("record-distributed")
