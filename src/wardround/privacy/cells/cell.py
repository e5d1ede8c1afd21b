"""What every cell can be asked, with the answers that most of them share.

A cell is one way to protect: one unit, one place where the noise is added, one mechanism. It is an object without
state that holds all that the cell is; whoever needs to know asks it for a behaviour, and never which cell it is. The
proofs are in docs/privacy.md. What it is, refuses and promises stands in `promises`; here is what it bills, how
hospitals weigh, and what comes out of a round. What is left out on purpose: torch (see `clients.cells`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround import exact_sums
from wardround.errors import ProtocolError
from wardround.privacy.cells.promises import Promises
from wardround.privacy.cells.released_sums import Averaging, PlannedSum, ReleasedSum, RoundSum, SumGrid, Sums
from wardround.privacy.renyi import rdp
from wardround.rounds import Assignment, Schedule
from wardround.step_events import EventShape, StepEvent

__all__ = ["Cell", "SummedCell"]


@dataclass(frozen=True)
class Cell(Promises):
    """One cell; the defaults are those of DP-SGD at the hospital, and each cell's file says where it differs.

    Of what it is given, `num_train` are a hospital's training records (>= 1), or those of each; `most_records` are what
    any hospital of the round has at most; `dimension` are the coordinates of what is released; `num_shares` are the
    replies that are guaranteed, where hospitals add shares of one noise; sensitivities are L2 (> 0).
    """

    def billed(self, schedule: Schedule) -> tuple[int, float]:
        """Return how many steps are billed for a round, and their sample rate."""
        return schedule.num_steps, schedule.sample_rate

    def most_contributions(self, *, num_hospitals: int, num_records: int, max_records: int | None) -> int:
        """Return how many vectors one sum may have at most: one of each record.

        Cohorts are drawn from so many hospitals, which have so many records together as far as that is known; with
        [federation] max-records every hospital counts as if it had as many.
        """
        return num_records if max_records is None else num_hospitals * max_records

    def shape(self, *, dimension: int, num_shares: int, most_contributions: int, most_replies: int) -> EventShape:
        """Return what a billed step is, except for its noise, at sample rate 1 (see `EventShape.at_rate`)."""
        return EventShape(event=StepEvent(noise_multiplier=0.0, sample_rate=1.0, cell=self.name))

    def step_event(self, shape: EventShape, noise_multiplier: float, num_steps: int) -> StepEvent:
        """Return so many steps with so much noise.

        Raises:
            ConfigError: a number is out of range, or the sum would not fit its integers.
        """
        return replace(shape.event, noise_multiplier=noise_multiplier, num_steps=num_steps)

    def check_event(self, event: StepEvent) -> None:
        """Raise ProtocolError, naming what does not fit, for an event that is none of the cell's."""
        if event.scaled_norm or event.dimension or event.num_shares:
            raise ProtocolError(
                f"an event of cell {self.name} has scaled_norm = {event.scaled_norm}, dimension = {event.dimension}, "
                f"num_shares = {event.num_shares}, which are of integer noise: they must be 0"
            )

    def num_noise_draws(self, assignment: Assignment) -> int:
        """Return how often the hospital draws noise in a round: once for every billed step."""
        return assignment.event.num_steps

    def divergence(self, event: StepEvent, *, cached: bool = True) -> NDArray[np.float64]:
        """Return the Renyi divergence of one step of an event: shape (len(ORDERS),), float64, nats, read-only.

        Events that are only tried out would fill the cache: they are not to be `cached`.
        """
        return (rdp if cached else rdp.__wrapped__)(event.noise_multiplier, event.sample_rate)

    def dp_event(self, event: StepEvent) -> Any:
        """Return dp-accounting's event; None where it has none.

        Read it under REPLACE_SPECIAL, dp-accounting's name for zero-out, which is the relation of records. (Its
        accountants take the same pair of distributions under ADD_OR_REMOVE_ONE.) Where hospitals are the unit the noise
        multiplier is relative to how far apart neighbours are, of whatever relation, so that the same reading holds;
        REPLACE_ONE would count that distance twice.
        """
        from dp_accounting import dp_event as events

        if self.accountant != "pld":
            return None
        step: Any = events.GaussianDpEvent(event.noise_multiplier)
        if event.sample_rate < 1:
            step = events.PoissonSampledDpEvent(event.sample_rate, step)
        return events.SelfComposedDpEvent(step, event.num_steps)

    def event_text(self, event: StepEvent) -> str:
        """Return the event as dp-accounting writes it, or in words of ours where it has none.

        It is written here, and not by `dp_event`: to import dp-accounting takes longer than several rounds.
        """
        step = f"GaussianDpEvent(noise_multiplier={event.noise_multiplier!r})"
        if event.sample_rate < 1:
            step = f"PoissonSampledDpEvent(sampling_probability={event.sample_rate!r}, event={step})"
        return f"SelfComposedDpEvent(event={step}, count={event.num_steps!r})"

    def vector_weight(self, num_train: int) -> float:
        """Return what a hospital's vector weighs in a secure sum (> 0): its records."""
        return float(num_train)

    def cohort_weight(self, num_train: int, total: int, size: int) -> float:
        """Return a hospital's share in the average over a cohort of `size` with `total` records, in (0, 1]."""
        return num_train / total

    def contribution(self, num_train: int, most_records: float) -> float:
        """Return what a clipped update is multiplied with before a sum of integers, in (0, 1]."""
        return 1.0

    def sum_weight(self, assignment: Assignment) -> float | None:
        """Return what a reply is multiplied with in the round's exact sum; None where residues are added up."""
        return assignment.weight

    def add(self, total: exact_sums.FixedSum, sent: exact_sums.Arrays, assignment: Assignment) -> None:
        """Add what a hospital sent to the round's exact sum."""
        exact_sums.accumulate(total, sent, self.sum_weight(assignment))

    def share(self, assignment: Assignment) -> float:
        """Return what a hospital's contribution is multiplied with in the released sum."""
        return assignment.weight

    def clip_range(self, *, dimension: int, num_members: int, most_records: int) -> tuple[float, float]:
        """Return the smallest clip that a sum over so many hospitals can hold, and one that is too large for it."""
        return 0.0, math.inf

    def update_bound(self, *, most_records: int, sensitivity: float, noise_multiplier: float) -> float | None:
        """Return the largest magnitude that a coordinate of what a hospital sends can have, by the clip.

        None where no clip bounds it, so that [aggregation] max-update has to; sensitivity and noise multiplier are the
        largest in the round.
        """
        return None

    def bound_beside(self, own_bound: float, asked: float) -> float:
        """Return the bound of a secure sum that a hospital accepts, given its own and the one that is asked for."""
        return own_bound

    def check_sum(self, total: exact_sums.FixedSum, answered: Sequence[Assignment], max_update: float) -> None:
        """Refuse a sum of residues, which carry no weights to be checked, that those who answered can't have.

        Args:
            total: the sum.
            answered: of those in it, at least one.
            max_update: largest magnitude of a number without its noise (> 0).

        Raises:
            UpdateError: one of them sent something else than its vector.
        """

    def rounding_distance(self, planned: PlannedSum) -> float:
        """Return by how much (L2) rounding can add to the distance of neighbours' sums before their noise.

        Local noise is in what is rounded, which makes the rounding post-processing; noise in shares is added to whole
        numbers whose norm was checked. So it is 0 but where the server adds the noise (see `server_noise`).
        """
        return 0.0

    def averaging(self, num_train: Sequence[int], batches: Sequence[float], most_records: int) -> Averaging:
        """Return how hospitals are averaged (see `stddev_on_average`)."""
        return Averaging(weights=num_train, divisors=batches, largest=1.0)

    def share_of_average(self, num_expected: float, num_answered: float) -> float:
        """Return what a released average is of the average over those who answered, in (0, 1].

        Records are those that are expected of the whole cohort, and of those who answered.
        """
        return 1.0

    def surplus(self, num_replies: int, num_shares: int) -> float:
        """Return replies divided by those that are guaranteed to carry the whole noise: 1 where nobody has a share."""
        return 1.0

    def stddev_on_average(
        self,
        stddevs: Sequence[float],
        num_train: Sequence[int],
        batches: Sequence[float],
        *,
        most_records: int,
        num_shares: int,
        answered: Sequence[bool] | None = None,
    ) -> float:
        """Return the stddev, in every coordinate, of the noise on the average update, or gradient of one step.

        `stddevs` are those of the noise in what each hospital releases, or in the sum of all; `batches` are the records
        that each expects in a batch. The average is over those who `answered`; None are all.
        """
        weights, divisors, largest = self.averaging(num_train, batches, most_records)
        if answered is not None:
            weights, divisors, stddevs = (list(compress(each, answered)) for each in (weights, divisors, stddevs))
        if self.shares_noise:
            surplus = self.surplus(len(weights), num_shares)
            return max(stddevs) * largest * math.sqrt(surplus) / math.fsum(weights)
        parts = [weight * stddev / over for weight, stddev, over in zip(weights, stddevs, divisors, strict=True)]
        return math.hypot(*parts) / math.fsum(weights)

    def release(self, summed: RoundSum) -> ReleasedSum:
        """Return what the strategy may see of a round: the mean of what was sent, whose noise is in it already."""
        return ReleasedSum(arrays=exact_sums.mean(summed.total, summed.weight, summed.arrays))


@dataclass(frozen=True)
class SummedCell(Cell, ABC):
    """A cell whose contributions are of use as a sum: what `server_noise` and `integer_sums` ask of what is summed."""

    @abstractmethod
    def sum_factor(self, answered: Sequence[Assignment]) -> float:
        """Return what the mean over those who answered is multiplied with to be the sum of `share` x contribution."""

    @abstractmethod
    def reply(self, released: Sums, summed: RoundSum) -> ReleasedSum:
        """Return the one reply that a strategy sees of a sum with its noise; no data are left in anything but that."""

    @abstractmethod
    def grid(self, num_train: Sequence[int], most_records: int) -> SumGrid:
        """Return how the contributions of hospitals with so many records lie on the grids that they are rounded to."""
