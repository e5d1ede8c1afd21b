"""What a bill promises, and what it would with other noise: which of these promises are refuted by what was seen.

A lower bound on epsilon needs promises that are ordered, from those that allow less to those that allow more. Those of
the bill's own steps with ever less noise are such an order, and the bill is one of them; its rates are composed as the
bill's, so that nothing takes them to be a Gaussian's where batches are drawn. Where no loss distribution is known, of
integer noise, the same steps with Gaussian noise stand for them. Left out on purpose: what was seen (see `scores`), and
bounds that no shape of a promise has a part in (see `bounds.epsilon_in_one_run`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from wardround.privacy.accounting import headline_epsilon, headline_profile
from wardround.privacy.profiles import Profile
from wardround.step_events import StepEvent

__all__ = ["Promise"]

_STEP = 1.005
"""Between the noise of a promise and that of the next: half a per cent."""
_LESS_NOISE, _NEAR, _MORE_NOISE = -800, 25, 1600
"""Steps from the bill's own noise to a 54th of it, to an eighth more, and to 2,900 times as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What one reader may get.

    Attributes:
        events: all that is billed.
        target_delta: at which epsilon is told, in (0, 1).
    """

    events: tuple[StepEvent, ...]
    target_delta: float

    @property
    def epsilon(self) -> float:
        """The bill."""
        return headline_epsilon(self.events, self.target_delta)

    @property
    def profile(self) -> Profile:
        """What is allowed at every epsilon."""
        return headline_profile(self.events, self.target_delta)

    def largest_refuted(self, refutes: Callable[[Profile], bool]) -> float:
        """Return the largest epsilon of a promise that is refuted, as all are that allow less; 0 where none is.

        Args:
            refutes: whether what is seen is more than a profile allows.
        """
        shape = tuple(self._shape())

        def with_noise(steps: int) -> Promise:
            scale = _STEP**steps
            events = [replace(event, noise_multiplier=event.noise_multiplier * scale) for event in shape]
            return Promise(events=tuple(events), target_delta=self.target_delta)

        # Less noise than is billed is asked about only where the bill itself is refuted. Most bounds are near the bill.
        low, high = (_LESS_NOISE, 0) if refutes(with_noise(0).profile) else (0, _NEAR)
        while high and not refutes(with_noise(high).profile):
            low, high = high, 2 * high
            if low >= _MORE_NOISE:
                return 0.0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if refutes(with_noise(middle).profile) else (middle, high)
        return with_noise(high).epsilon

    def _shape(self) -> Iterable[StepEvent]:
        """Return the steps that have ever less noise."""
        if self.profile.by == "pld":
            return self.events
        return (
            StepEvent(noise_multiplier=each.noise_multiplier, sample_rate=each.sample_rate, num_steps=each.num_steps)
            for each in self.events
        )
