"""Records, a share of the noise from each hospital: every record's clipped gradient is rounded, the integers summed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from wardround.clients.cells.half import TorchHalf
from wardround.clients.closed_form.by_record import ByRecord, clipped_rows
from wardround.clients.gradients import ClippedSum
from wardround.clients.held_model import HeldModel
from wardround.clients.residues import noisy_residues
from wardround.clients.steps import Counts, LocalRound, Steps, add_batch
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.privacy.integers import round_within
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["RecordDistributed"]


class _RoundedSum(ClippedSum):
    """Rounds every record's clipped gradient to integers of a bounded norm, and sums those in `integers`.

    Each record is rounded by itself, so that zeroing one out takes one vector within the bound from the sum:
    a gradient of zero is rounded to zero.
    """

    def __init__(self, held: HeldModel, local: LocalRound) -> None:
        super().__init__(held.parameters, local.clip)
        event = local.assignment.event
        self._scale = event.scaled_norm / local.clip
        self._norm_bound_squared = norm_bound_squared(event.scaled_norm, event.dimension)
        self._generator = local.key.generator(Draw.ROUNDING)
        self.integers = np.zeros(held.num_parameters, np.int64)

    def add_up(self, block: Sequence[ByRecord], factors: Tensor) -> None:
        clipped = clipped_rows(block, factors)[0].cpu().numpy()
        self.integers += round_within(clipped * self._scale, self._norm_bound_squared, self._generator).sum(axis=0)


@dataclass(frozen=True, slots=True)
class RecordDistributed(TorchHalf):
    """A sum of rounded clipped gradients, with a share of the noise, as residues."""

    steps = Steps.ROUNDED_SUM

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the sum; no step is taken, so nothing pulls back.

        Raises:
            ConfigError: the mode leaves no single gradients.
        """
        if held.mode_for(local.tensors.record_shape).name == "ghost":
            raise ConfigError(
                'grad-sample-mode = "ghost" never has single gradients, which are rounded one by one here: set "auto" '
                "([training] grad-sample-mode)"
            )
        summed = _RoundedSum(held, local)
        counts = add_batch(held, local, summed)
        sent, noise_multiplier = noisy_residues(summed.integers, parameters_of(held.model), local.assignment, local.key)
        return sent, replace(counts, num_noise_draws=1, noise_multiplier=noise_multiplier)

    def noise_alone(self, zeros: Arrays, assignment: Assignment, key: Key) -> Arrays:
        """Return a share of the noise as residues."""
        nothing = np.zeros(sum(array.size for array in zeros.values()), np.int64)
        return noisy_residues(nothing, zeros, assignment, key)[0]
