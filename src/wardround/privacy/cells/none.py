"""No privacy: hospitals train as they like, and nothing is clipped, hidden or promised."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.promises import Booked
from wardround.privacy.cells.words import PlainWords
from wardround.rounds import Assignment
from wardround.step_events import StepEvent

__all__ = ["NoPrivacy"]


@dataclass(frozen=True)
class NoPrivacy(Cell):
    """Training without privacy, which the ledger has all the same, at an infinite epsilon."""

    name = "none"
    placement = "none"
    mechanism = "none"
    relation = "none"
    is_private = False
    clips_records = False
    releases_models = True
    plain_words = PlainWords(
        noise="none",
        kind="no",
        formula="",
        chart_order=0,
        trust="Everyone who sees the model, or what the hospitals send, is trusted with the data.",
        server_sees="every hospital's parameters after each round",
        server_sees_sum="the sum over hospitals",
    )
    sent = "the model after local training"

    def meaningless(self, privacy: Any) -> Iterator[str]:
        """Yield settings that ask for noise, or for a limit to what can't be limited."""
        for key in ("noise_multiplier", "target_epsilon", "budget_epsilon", "adaptive_clipping", "noise_correlation"):
            value = getattr(privacy, key)
            # By identity: a noise multiplier of 0.0 equals False, and asks for something all the same.
            if not (value is None or value is False or value == self.noise_correlation):
                yield (
                    f"{key.replace('_', '-')} = {value} has no meaning without privacy ([privacy] placement = "
                    f'"none"): remove it, or set placement = "local"'
                )

        clips = [f'clipping = "{privacy.clipping}"'] if privacy.clipping is not None else []
        clips += [f"microbatch-size = {privacy.microbatch_size}"] if privacy.microbatch_size > 1 else []
        for said in clips:
            yield (
                f'{said} has no meaning without privacy, which clips nothing ([privacy] placement = "none"): remove '
                'it, or set placement = "local"'
            )

    def refusals(self, privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
        """Yield nothing: nothing is promised."""
        yield from ()

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return 0: there is no noise."""
        return 0.0

    @property
    def booked(self) -> Booked:
        """A release without privacy is booked as local training of records, without a mechanism."""
        return Booked("record", "zero-out-one-record", "local", self.mechanism, "anyone")

    def check_event(self, event: StepEvent) -> None:
        """Raise ProtocolError for noise, which would have no clip to be relative to."""
        super().check_event(event)
        if event.noise_multiplier:
            raise ProtocolError(
                f"noise_multiplier = {event.noise_multiplier} needs clipping: give a finite sensitivity and a cell "
                'other than "none"'
            )

    def num_noise_draws(self, assignment: Assignment) -> int:
        """Return 0."""
        return 0
