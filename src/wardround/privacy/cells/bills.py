"""What a cell bills: how far apart neighbours are, the event of a step, and what that costs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ProtocolError
from wardround.privacy.cells.traits import Traits
from wardround.privacy.clipping import JOINT_NORM
from wardround.privacy.renyi import rdp
from wardround.rounds import Assignment, Schedule
from wardround.step_events import EventShape, StepEvent

__all__ = ["Bills"]


@dataclass(frozen=True)
class Bills(Traits):
    """The bill of Poisson-subsampled Gaussian steps, which most cells share."""

    __slots__ = ()

    def sensitivity(self, max_grad_norm: float, *, adaptive_clipping: bool = False) -> float:
        """Return the L2 distance of neighbours, before rounding: the clip times how many of it they are apart.

        With adaptive clipping a count travels along, which is charged with the update (see `privacy.clipping`).
        """
        return max_grad_norm * self.clips_apart * (JOINT_NORM if adaptive_clipping and self.adapts_clip else 1.0)

    def dimension(self, num_parameters: int, *, adaptive_clipping: bool = False) -> int:
        """Return the coordinates of what is released: the parameters, and a count where one travels along."""
        return num_parameters + int(adaptive_clipping and self.adapts_clip)

    def billed(self, schedule: Schedule) -> tuple[int, float]:
        """Return how many steps are billed for a round, and their sample rate."""
        return schedule.num_steps, schedule.sample_rate

    def shape(
        self,
        *,
        sample_rate: float = 1.0,
        dimension: int = 0,
        num_shares: int = 0,
        most_contributions: int = 0,
        most_replies: int = 0,
    ) -> EventShape:
        """Return what a billed step is, except for its noise.

        Args:
            sample_rate: of the optimizer's steps, in (0, 1].
            dimension: coordinates of what is released.
            num_shares: replies guaranteed.
            most_contributions: vectors that one sum may have at most (see `most_contributions`).
            most_replies: hospitals in a round.
        """
        return EventShape(event=StepEvent(noise_multiplier=0.0, sample_rate=sample_rate, cell=self.name))

    def step_event(self, shape: EventShape, noise_multiplier: float, num_steps: int) -> StepEvent:
        """Return so many steps with so much noise.

        Raises:
            ConfigError: a number is out of range, or the sum would not fit its integers.
        """
        return replace(shape.event, noise_multiplier=noise_multiplier, num_steps=num_steps)

    def shape_of(self, event: StepEvent) -> EventShape:
        """Return the shape of an event that was charged."""
        return EventShape(event=replace(event.kind, noise_multiplier=0.0))

    def check_event(self, event: StepEvent) -> None:
        """Refuse an event that is none of the cell's.

        Raises:
            ProtocolError: naming what does not fit.
        """
        if event.scaled_norm or event.dimension or event.num_shares:
            raise ProtocolError(
                f"an event of cell {self.name} has scaled_norm = {event.scaled_norm}, dimension = {event.dimension}, "
                f"num_shares = {event.num_shares}, which are of integer noise: they must be 0"
            )

    def most_contributions(self, *, num_hospitals: int, num_records: int, max_records: int | None) -> int:
        """Return how many vectors one sum may have at most.

        Args:
            num_hospitals: that cohorts are drawn from.
            num_records: training records of all of them, as far as that is known.
            max_records: [federation] max-records; every hospital counts as if it had as many.
        """
        return num_records if max_records is None else num_hospitals * max_records

    def num_noise_draws(self, assignment: Assignment) -> int:
        """Return how often the hospital draws noise in a round: once for every billed step."""
        return assignment.event.num_steps

    def divergence(self, event: StepEvent, *, cached: bool = True) -> NDArray[np.float64]:
        """Return the Renyi divergence of one step of an event: shape (len(ORDERS),), float64, nats, read-only.

        Args:
            event: of this cell; its number of steps does not matter.
            cached: False for events that are only tried out, which would fill the cache.
        """
        return (rdp if cached else rdp.__wrapped__)(event.noise_multiplier, event.sample_rate)

    def gaussian_steps(self, event: StepEvent) -> tuple[float, float, int] | None:
        """Return the event as Poisson-subsampled Gaussian steps: noise multiplier, sample rate, steps.

        None where it is none, so that privacy loss distributions prove nothing here.
        """
        return event.noise_multiplier, event.sample_rate, event.num_steps

    def dp_event(self, event: StepEvent) -> Any:
        """Return dp-accounting's event; None where it has none.

        Read it under REPLACE_SPECIAL, dp-accounting's name for zero-out, which is the relation of records. (Its
        accountants take the same pair of distributions under ADD_OR_REMOVE_ONE.) Where hospitals are the unit the noise
        multiplier is relative to how far apart neighbours are, of whatever relation, so that the same reading holds;
        REPLACE_ONE would count that distance twice.
        """
        from dp_accounting import dp_event as events

        step: Any = events.GaussianDpEvent(event.noise_multiplier)
        if event.sample_rate < 1:
            step = events.PoissonSampledDpEvent(event.sample_rate, step)
        return events.SelfComposedDpEvent(step, event.num_steps)

    def event_text(self, event: StepEvent) -> str:
        """Return the event as dp-accounting writes it, or in words of ours where it has none."""
        return repr(self.dp_event(event))
