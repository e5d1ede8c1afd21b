"""What the cells have in common whose unit is the hospital: plain training, of which the whole update is released.

They differ in how a clipped update leaves (`send`). What is left out on purpose: how an update is clipped, which
needs no torch (see `privacy.clipping`).
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from wardround.clients.cells.half import TorchHalf
from wardround.clients.checks import check_hospitals_apart
from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode
from wardround.clients.steps import Counts, LocalRound, Steps, plain_steps
from wardround.clients.updates import clipped_update
from wardround.datasets import Federation
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["WholeUpdates"]


@dataclass(frozen=True, slots=True)
class WholeUpdates(TorchHalf):
    """A hospital's whole update, clipped."""

    def check(self, held: HeldModel, federation: Federation) -> Mode | None:
        """Refuse a model that could carry something of one hospital to the next."""
        check_hospitals_apart(held, federation)
        return None

    def train(self, steps: Steps, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return what leaves of the update that plain steps make."""
        counts = plain_steps(steps, local)
        sent, noise_multiplier, is_finite = self.release(
            local.received, parameters_of(steps.held.now), local.assignment, local.key
        )
        counts = replace(counts, num_scrubbed=counts.num_scrubbed + int(not is_finite))
        if noise_multiplier is None:
            return sent, counts
        return sent, replace(counts, num_noise_draws=1, noise_multiplier=noise_multiplier)

    def noise_alone(self, zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
        """Return what leaves of an update of zero."""
        return self.release(zeros, zeros, assignment, key)[0]

    def release(
        self, before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key
    ) -> tuple[Arrays, float | None, bool]:
        """Return what leaves of an update, for which noise multiplier noise was drawn, and whether it was finite.

        Args:
            before: parameters the hospital received, by name, any shapes.
            after: parameters after local training; where they are not finite a zero update leaves.
            assignment: with the clip and the noise.
            key: of the release.
        """
        clipped, is_finite = clipped_update(before, after, assignment)
        return *self.send(before, clipped, assignment, key), is_finite

    @abstractmethod
    def send(
        self, before: Mapping[str, NDArray[Any]], clipped: Arrays, assignment: Assignment, key: Key
    ) -> tuple[Arrays, float | None]:
        """Return what leaves the hospital, and the noise multiplier that noise was drawn for; None where none was.

        Args:
            before: parameters the hospital received.
            clipped: the update, float64, with the count of adaptive clipping where it is asked for.
            assignment: with the noise.
            key: of the release.
        """
