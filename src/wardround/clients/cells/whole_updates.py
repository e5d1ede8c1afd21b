"""What the cells have in common whose unit is the hospital: plain training, of which the whole update is released.

They differ in how a clipped update leaves (`send`). What is left out on purpose: how an update is clipped, which
needs no torch (see `privacy.clipping`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from wardround.clients.cells.half import TorchHalf
from wardround.clients.checks import check_hospitals_apart
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, LocalRound, Steps, plain_steps
from wardround.datasets import FederatedData
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.privacy.clipping import COUNT_NAME, centred_count, clip_update
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["WholeUpdates"]


@dataclass(frozen=True, slots=True)
class WholeUpdates(TorchHalf):
    """A hospital's whole update, clipped."""

    steps = Steps.PLAIN

    def check(self, held: HeldModel, federation: FederatedData) -> Mode | None:
        """Refuse a model that could carry something of one hospital to the next."""
        check_hospitals_apart(held, federation)
        return None

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return what leaves of the update that plain steps make."""
        counts = plain_steps(held, local)
        # Of the parameters a difference is made, which is what is released.
        return self.leave(local, parameters_of(held.model, are_copied=False), counts)

    def leave(self, local: LocalRound, made: Arrays, counts: Counts) -> tuple[Arrays, Counts]:
        """Return what leaves of the update that the steps made."""
        sent, noise_multiplier, is_finite = self.release(local.received, made, local.assignment, local.key)
        return sent, replace(
            counts,
            num_scrubbed=counts.num_scrubbed + int(not is_finite),
            num_noise_draws=int(noise_multiplier is not None),
            noise_multiplier=noise_multiplier or 0.0,
        )

    def leave_together(
        self,
        received: Sequence[Tensor],
        made: Sequence[Tensor],
        locals_: Sequence[LocalRound],
        counts: Sequence[Counts],
    ) -> tuple[Sequence[Tensor], Sequence[Counts]] | None:
        """Return None: what is added to an update is each hospital's own."""
        return None

    def noise_alone(self, zeros: Arrays, assignment: Assignment, key: Key) -> Arrays:
        """Return what leaves of an update of zero."""
        return self.release(zeros, zeros, assignment, key)[0]

    def release(
        self, before: Arrays, after: Arrays, assignment: Assignment, key: Key
    ) -> tuple[Arrays, float | None, bool]:
        """Return what leaves of an update, for which noise multiplier noise was drawn, and whether it was finite.

        Where the parameters after local training are not finite, a zero update leaves.
        """
        max_norm = float(assignment.max_grad_norm or 0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            update = {name: np.asarray(np.subtract(after[name], before[name])) for name in before}
        clipped, within, is_finite = clip_update(update, max_norm)
        if assignment.adaptive_clipping:
            clipped[COUNT_NAME] = centred_count(within=within, max_norm=max_norm)
        return *self.send(before, clipped, assignment, key), is_finite

    @abstractmethod
    def send(self, before: Arrays, clipped: Arrays, assignment: Assignment, key: Key) -> tuple[Arrays, float | None]:
        """Return what leaves the hospital, and the noise multiplier that noise was drawn for; None where none was.

        The clipped update is of the parameters' type, and has the count of adaptive clipping where that is asked for.
        """
