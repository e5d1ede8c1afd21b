"""What a cell promises to whom, and which settings it refuses because it can't."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from wardround.errors import ConfigError
from wardround.privacy import deltas
from wardround.privacy.cells.traits import READERS, Traits
from wardround.small_counts import FEWEST_SHOWN

__all__ = ["Booked", "Promises"]


class Booked(NamedTuple):
    """A cell as ledgers and summaries have it."""

    unit: str
    relation: str
    placement: str
    mechanism: str
    reader: str


@dataclass(frozen=True)
class Promises(Traits):
    """The promises that most cells share."""

    __slots__ = ()

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
        if privacy.noise_correlation != self.noise_correlation:
            yield (
                f'noise-correlation = "{privacy.noise_correlation}" is for noise that the server adds to whole updates '
                '([privacy] noise-correlation): set unit = "hospital" and placement = "central", or remove it'
            )
        if privacy.patient_overlap > 1:
            yield from self._overlap(f"patient-overlap = {privacy.patient_overlap} ([privacy] patient-overlap)")
        yield from self._other_refusals(training, aggregation)
        if privacy.adaptive_clipping and not self.adapts_clip:
            yield (
                "adaptive-clipping = true needs updates that are summed before anyone sees them ([privacy] "
                'adaptive-clipping): set unit = "hospital" with placement = "central" or "distributed", or remove it'
            )

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

    def check_deltas(
        self, target_delta: float | Mapping[str, float], num_train: Mapping[str, int], num_hospitals: int
    ) -> dict[str, float]:
        """Return every hospital's delta, refusing one that is no promise to so many units.

        Args:
            target_delta: one for all, or one by hospital_id.
            num_train: training records by hospital_id (>= 1).
            num_hospitals: that cohorts are drawn from.

        Raises:
            ConfigError: a delta is too large for a hospital, out of range, missing, or for one that doesn't exist.
        """
        return deltas.check_record_deltas(target_delta, num_train)

    def delta_warning(self, target_deltas: Mapping[str, float], num_train: Mapping[str, int]) -> str:
        """Return a sentence where a delta is larger than is customary; empty where none is.

        Hospitals with fewer than ten records count as if they had ten, so that nothing follows about how many they
        have.
        """
        counted = {name: max(FEWEST_SHOWN, number) for name, number in num_train.items()}
        return deltas.delta_warning(target_deltas, counted, unit=self.unit)

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
        """Return why there is no bound for a patient in so many hospitals; empty where there is one."""
        if patient_overlap > 1 and self.shares_noise:
            return "no bound for a patient in several hospitals, whose gradients would share one noise"
        return ""

    def plan_notes(self, *, num_hospitals: int, honest_survivors: int, noise_ratio: float) -> Iterator[str]:
        """Yield sentences for whoever decides on a plan: where little is learned, or noise could be shared.

        Args:
            num_hospitals: in the plan.
            honest_survivors: replies that share the noise where it comes in shares.
            noise_ratio: norm of the noise on the average, in clips.
        """
        yield from ()
