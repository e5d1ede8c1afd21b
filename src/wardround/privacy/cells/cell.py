"""What every cell can be asked, with the answers that most of them share.

A cell is one way to protect: one unit, one place where the noise is added, one mechanism. It is an object without
state that holds all that the cell is; whoever needs to know asks it for a behaviour, and never which cell it is. The
proofs are in docs/privacy.md. What is left out on purpose: torch (see `clients.cells`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.cells.weights import Weights
from wardround.privacy.cells.words import CellWords, PlainWords, words_of
from wardround.privacy.clipping import JOINT_NORM
from wardround.privacy.renyi import rdp
from wardround.rounds import Assignment, Schedule
from wardround.step_events import EventShape, StepEvent

__all__ = ["READERS", "Booked", "Cell"]

READERS = ("server", "hospital", "recipient")
"""Who may look: the server, another hospital of the federation, whoever receives the model."""


class Booked(NamedTuple):
    """A cell as ledgers and summaries have it."""

    unit: str
    relation: str
    placement: str
    mechanism: str
    reader: str


@dataclass(frozen=True)
class Cell(Weights):
    """One cell; the defaults are those of DP-SGD at the hospital, and each cell's file says where it differs.

    Attributes:
        name: of the cell, as events and assignments have it.
        unit: what is protected, "record" or "hospital".
        placement: where the noise is added, as the settings name it.
        mechanism: as the ledger has it.
        relation: which data are neighbours; figures of different units or relations are never added.
        clips_apart: most that neighbours differ by in what is released, in clips (max_grad_norm).
        is_private: whether anything is protected.
        shares_noise: whether one noise covers the sum of all hospitals, so that all have the same noise multiplier.
        sends_sum: whether hospitals send one clipped gradient sum a round instead of training.
        adds_noise_at_server: whether the server adds the noise, and sees what it covers without it.
        needs_secure_sum: whether the bill holds only while the sum is all that the server sees.
        payload: what hospitals sum, as the terms of a secure sum have it: "parameters", "values" or "residues".
        accountant: by which the headline is proved, "pld" or "rdp".
        plain_words: sentences for people (see `words`).
    """

    __slots__ = ()
    name: ClassVar[str]
    unit: ClassVar[str] = "record"
    placement: ClassVar[str]
    mechanism: ClassVar[str]
    relation: ClassVar[str] = "zero-out-one-record"
    clips_apart: ClassVar[float] = 1.0
    is_private: ClassVar[bool] = True
    shares_noise: ClassVar[bool] = False
    sends_sum: ClassVar[bool] = False
    adds_noise_at_server: ClassVar[bool] = False
    needs_secure_sum: ClassVar[bool] = False
    payload: ClassVar[str] = "parameters"
    accountant: ClassVar[str] = "pld"
    plain_words: ClassVar[PlainWords]

    # Which settings go with it.

    def answers_to(self, privacy: Any) -> bool:
        """Return whether the settings of [privacy] name this cell; `cells.cell_of` takes the last that they name."""
        return (privacy.unit, privacy.placement) == (self.unit, self.placement)

    def meaningless(self, privacy: Any) -> Iterator[str]:
        """Yield why settings of [privacy] have no meaning in the cell, whatever the other sections say."""
        yield from ()

    def refusals(self, privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
        """Yield why the cell can't honour the settings, or has no proof for them, and what to set instead.

        Args:
            privacy: `config.PrivacyConfig`.
            training: `config.TrainingConfig`.
            aggregation: `config.AggregationConfig`.
        """
        if self.needs_secure_sum and aggregation.protocol == "plain":
            yield (
                f'placement = "{self.placement}" protects from the server only while the sum is all it sees ([privacy] '
                'placement): set [aggregation] protocol = "secagg+", or "secure-sum" to simulate it as an ideal'
            )
        if privacy.patient_overlap > 1:
            yield from self._overlap(f"patient-overlap = {privacy.patient_overlap} ([privacy] patient-overlap)")
        yield from self._other_refusals(training, aggregation)
        if privacy.adaptive_clipping:
            yield from self._adaptive_clipping()

    def _overlap(self, setting: str) -> Iterator[str]:
        if self.shares_noise:
            # Two of the patient's gradients in one sum meet the same noise: the divergence grows with the square of the
            # overlap, which adding the hospitals up would under-count.
            yield (
                f'{setting}: with placement = "{self.placement}" a patient\'s gradients from several hospitals share '
                'one noise, and there is no bound for that here: set placement = "local", or patient-overlap = 1'
            )

    def _other_refusals(self, training: Any, aggregation: Any) -> Iterator[str]:
        yield from ()

    def _adaptive_clipping(self) -> Iterator[str]:
        yield (
            "adaptive-clipping = true needs updates that are summed before anyone sees them ([privacy] "
            'adaptive-clipping): set unit = "hospital" with placement = "central" or "distributed", or remove it'
        )

    # Whom it protects from whom.

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return the noise multiplier that is left against a reader, who subtracts what it added or sees it without.

        Args:
            reader: one of READERS.
            noise_multiplier: billed.
            num_shares: replies guaranteed (>= 1), where hospitals add shares of one noise.
        """
        return noise_multiplier

    @property
    def holds_against(self) -> str:
        """The readers that the bill holds against, as the ledger has it."""
        readers = [reader for reader in READERS if self.noise_against(reader, 1.0, 2) == 1.0]
        return "anyone" if len(readers) == len(READERS) else ",".join(readers)

    @property
    def learns(self) -> Mapping[str, str]:
        """By reader, what it learns: "bill" where the bill holds, "less" noise where a part is known, or "inf"."""
        left = {reader: self.noise_against(reader, 1.0, 2) for reader in READERS}
        return {reader: "bill" if noise == 1 else "less" if noise else "inf" for reader, noise in left.items()}

    @property
    def booked(self) -> Booked:
        """The words that stand for the cell in the ledger's rows."""
        return Booked(self.unit, self.relation, self.placement, self.mechanism, self.holds_against)

    # Sensitivity, noise and what is billed.

    def sensitivity(self, max_grad_norm: float, *, adaptive_clipping: bool = False) -> float:
        """Return the L2 distance of neighbours, before rounding: the clip times how many of it they are apart.

        With adaptive clipping a count travels along, which is charged with the update (see `privacy.clipping`).
        """
        return max_grad_norm * self.clips_apart * (JOINT_NORM if adaptive_clipping else 1.0)

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

    # What it costs.

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

    @property
    def adapts_clip(self) -> bool:
        """Whether the clip may move with what a private count says of the updates ([privacy] adaptive-clipping)."""
        return not any(self._adaptive_clipping())

    def check_shared_patients(self, hospitals_per_patient: int, patient_overlap: int) -> None:
        """Refuse more hospitals with rows of one patient than the bill is for, which adds up over hospitals.

        Args:
            hospitals_per_patient: the most that hold rows of one patient.
            patient_overlap: [privacy] patient-overlap.

        Raises:
            ConfigError: the patient would pay at more of them than is said.
        """
        held = hospitals_per_patient
        if held > patient_overlap:
            raise ConfigError(
                f"patient-overlap = {patient_overlap} must be >= {held}, since {held} hospitals hold rows of the same "
                f"patient ([privacy] patient-overlap): set {held}, or give different people different patient numbers"
            )

    def without_bound(self, patient_overlap: int) -> str:
        """Return why there is no bill for a patient in so many hospitals; empty where there is one."""
        if patient_overlap > 1 and self.shares_noise:
            return "no bound for a patient in several hospitals, whose gradients would share one noise"
        return ""

    def num_units(self, num_train: int, num_hospitals: int) -> int:
        """Return how many units a hospital's delta is shared by: its records, or all hospitals.

        Args:
            num_train: training records of the hospital (>= 1).
            num_hospitals: that cohorts are drawn from.
        """
        return num_train

    # What is said of it.

    def caution(self, num_hospitals: int, clips_of_noise: float) -> str:
        """Return a sentence for whoever decides on a plan with so much noise; empty where there is nothing to say.

        Args:
            num_hospitals: that take part.
            clips_of_noise: length of the noise on what is averaged once, in clips.
        """
        return ""

    def words(self, *, record_is: str = "row", protocol: str = "plain", patient_overlap: int = 1) -> CellWords:
        """Return what is said of the cell.

        Args:
            record_is: what a record is, "row" or "patient".
            protocol: how contributions travel: under "secagg+" the server sees their sum alone.
            patient_overlap: hospitals that may hold the same patient, >= 1.
        """
        return words_of(
            self.plain_words,
            unit=self.unit,
            relation=self.relation,
            record_is=record_is,
            summed=protocol == "secagg+",
            overlap=patient_overlap,
        )
