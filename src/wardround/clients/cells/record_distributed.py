"""Records, a share of the noise from each hospital: every record's clipped gradient is rounded, the integers summed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from wardround.clients.cells.half import TorchHalf
from wardround.clients.closed_form.by_record import ByRecord
from wardround.clients.gradients import ClippedSum
from wardround.clients.held_model import HeldModel
from wardround.clients.residues import noisy_residues
from wardround.clients.rounded_records import RoundedRecords
from wardround.clients.steps import Counts, LocalRound, Steps, add_batch
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.rounds import Assignment
from wardround.secagg.quantisation import split_like
from wardround.streams import Key

__all__ = ["RecordDistributed"]


class _RoundedSum(ClippedSum):
    """Rounds every record's clipped gradient."""

    def __init__(self, held: HeldModel, local: LocalRound) -> None:
        super().__init__(held.parameters, local.clip, held.copies, is_automatic=held.clips_automatically)
        self.rounded = RoundedRecords(local, held.num_parameters)

    def add_up(self, block: Sequence[ByRecord], factors: Tensor) -> None:
        self.rounded.add(block, factors)


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
        return self.leave(local, split_like(summed.rounded.total(), parameters_of(held.model)), counts)

    def leave(self, local: LocalRound, made: Arrays, counts: Counts) -> tuple[Arrays, Counts]:
        """Return the sum of integers with a share of the noise, as residues."""
        integers = np.concatenate([array.reshape(-1) for array in made.values()])
        sent, noise_multiplier = noisy_residues(integers, made, local.assignment, local.key)
        return sent, replace(counts, num_noise_draws=1, noise_multiplier=noise_multiplier)

    def leave_together(
        self,
        received: Sequence[Tensor],
        made: Sequence[Tensor],
        locals_: Sequence[LocalRound],
        counts: Sequence[Counts],
    ) -> tuple[Sequence[Tensor], Sequence[Counts]] | None:
        """Return None: each adds its own share of the noise."""
        return None

    def noise_alone(self, zeros: Arrays, assignment: Assignment, key: Key) -> Arrays:
        """Return a share of the noise as residues."""
        nothing = np.zeros(sum(array.size for array in zeros.values()), np.int64)
        return noisy_residues(nothing, zeros, assignment, key)[0]
