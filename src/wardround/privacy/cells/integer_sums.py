"""What the cells share whose hospitals each add a share of integer noise to integers of which only the sum is seen.

Shares of Skellam noise add up to Skellam noise of the summed variance (Agarwal, Kairouz, Liu 2021, arXiv 2110.04995).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround import exact_sums
from wardround.errors import ConfigError, ProtocolError, UpdateError
from wardround.privacy.cells.cell import SummedCell
from wardround.privacy.cells.promises import READERS
from wardround.privacy.cells.released_sums import ReleasedSum, RoundSum
from wardround.privacy.cells.words import PlainWords
from wardround.privacy.integers import from_residues
from wardround.privacy.skellam import TAIL_DEVIATIONS, choose_scaled_norm, skellam_rdp
from wardround.rounds import Assignment
from wardround.step_events import EventShape, StepEvent

__all__ = ["IntegerSums"]


@dataclass(frozen=True)
class IntegerSums(SummedCell):
    """Skellam noise in shares, inside the sum."""

    placement = "distributed"
    shares_noise = True
    needs_secure_sum = True
    payload = "residues"
    accountant = "rdp"
    plain_words = PlainWords(
        noise="integer Skellam noise, a share from each hospital, inside the sum",
        kind="distributed",
        formula="zC / n",
        chart_order=1,
        trust="The server is trusted with nothing but the sum: each hospital adds a share of the noise, and only the "
        "securely computed sum carries enough of it. Against the server the guarantee holds as long as secure "
        "aggregation does and enough hospitals are honest and answer.",
        server_sees="the sum over hospitals, noise already inside",
        price="That is what a secure sum buys.",
        relies=(
            "Distributed noise relies on the secure sum, and on enough hospitals that answer and add their share "
            "(the setting min-survivors says how many). A hospital can take its own share out of the sum, so the "
            "epsilon against it is larger.",
        ),
    )

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return the noise multiplier that is left against a reader: another hospital subtracts its own share.

        A hospital's own share is in every sum that its data is in, so against another hospital at least one share of
        `num_shares` is left, and all but one where more are guaranteed.
        """
        if reader == READERS[1]:
            return noise_multiplier * math.sqrt(max(1, num_shares - 1) / num_shares)
        return noise_multiplier

    def surplus(self, num_replies: int, num_shares: int) -> float:
        """Return replies divided by those that carry the whole noise: each that comes beyond them brings its share."""
        return num_replies / num_shares

    def shape(self, *, dimension: int, num_shares: int, most_contributions: int, most_replies: int) -> EventShape:
        """Return what a billed step is, except for its noise and the scale that follows from it.

        Raises:
            ConfigError: nobody counted the parameters.
        """
        if dimension < 1:
            raise ConfigError(f"num-parameters = {dimension} must be >= 1 to plan integer noise: count the model's")
        event = StepEvent(
            noise_multiplier=0.0, sample_rate=1.0, cell=self.name, dimension=dimension, num_shares=num_shares
        )
        return EventShape(event=event, most_contributions=most_contributions, most_shares=most_replies)

    def step_event(self, shape: EventShape, noise_multiplier: float, num_steps: int) -> StepEvent:
        """Return so many steps with so much noise, and the scale to round at.

        Raises:
            ConfigError: a number is out of range, or the sum would not fit 32 bits.
        """
        scaled_norm = choose_scaled_norm(
            noise_multiplier,
            shape.event.dimension,
            most_contributions=shape.most_contributions,
            most_shares=shape.most_shares / shape.event.num_shares,
        )
        return replace(shape.event, noise_multiplier=noise_multiplier, num_steps=num_steps, scaled_norm=scaled_norm)

    def check_event(self, event: StepEvent) -> None:
        """Raise ProtocolError, naming what is missing, for an event whose integers are not described."""
        if not (event.scaled_norm > 0 and event.dimension >= 1 and event.num_shares >= 1):
            raise ProtocolError(
                f"an event of cell {self.name} has scaled_norm = {event.scaled_norm}, dimension = {event.dimension}, "
                f"num_shares = {event.num_shares}, and with integer noise all must be > 0"
            )

    def divergence(self, event: StepEvent, *, cached: bool = True) -> NDArray[np.float64]:
        """Return the Renyi divergence of one step (see `skellam.skellam_rdp`)."""
        divergence = skellam_rdp if cached else skellam_rdp.__wrapped__
        return divergence(event.noise_multiplier, event.scaled_norm, event.dimension, event.sample_rate)

    def event_text(self, event: StepEvent) -> str:
        """Return the event in words of ours, spelled as in every summary since the first."""
        booked = f"unit={self.unit!r}, relation={self.relation!r}, placement={self.placement!r}"
        return repr(event).replace("StepEvent(", "Phase(").replace(f"cell={self.name!r}", booked)

    def sum_weight(self, assignment: Assignment) -> float | None:
        """Return None: residues are added up as they are."""
        return None

    def check_sum(self, total: exact_sums.FixedSum, answered: Sequence[Assignment], max_update: float) -> None:
        """Refuse a sum of whole numbers that these hospitals can't have.

        Each number is at most max_update, and its share of the noise at most 16 deviations of all the noise, which one
        draw in 10^50 is not.
        """
        first = answered[0]
        most = len(answered) * (max_update + TAIL_DEVIATIONS * first.event.noise_multiplier * first.distance)
        # And a step for each number that was rounded.
        limit = most * first.event.scaled_norm / first.distance + len(answered)
        largest = max(int(np.abs(from_residues(part)).max(initial=0)) for part in total.values())
        if largest > limit:
            raise UpdateError(
                f"a number of the sum is {largest} steps, and of {len(answered)} hospitals must be <= {limit:.0f}: one "
                "of them sent something else than its vector, and nobody can tell which"
            )

    def release(self, summed: RoundSum) -> ReleasedSum:
        """Return what the integers of the sum stand for, noise inside, as the round's one reply."""
        like, first = summed.like(), summed.answered[0]
        exact_sums.check_alike(summed.total, like)
        step = first.distance / first.event.scaled_norm
        return self.reply({name: from_residues(summed.total[name]) * step for name in like}, summed)

    def plan_notes(self, num_hospitals: int, honest_survivors: int, noise_ratio: float) -> Iterator[str]:
        """Yield that noise could be shared, where every hospital adds the whole of it."""
        if honest_survivors == 1 and num_hospitals > 1:
            yield (
                "with min-survivors = 1 every hospital adds the whole noise: as many replies as you can count on "
                "([aggregation] min-survivors) share it among them"
            )
        yield from super().plan_notes(num_hospitals, honest_survivors, noise_ratio)
