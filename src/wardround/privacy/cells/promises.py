"""What a cell is, what it promises to whom, and which settings it refuses because it can't."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from wardround.errors import ConfigError
from wardround.privacy import deltas
from wardround.privacy.cells.released_sums import NOTHING, Memory
from wardround.privacy.cells.words import HIDDEN, NOUNS, CellWords, PlainWords, of_overlap
from wardround.privacy.clipping import JOINT_NORM
from wardround.small_counts import FEWEST_SHOWN

__all__ = ["AUTOMATIC", "READERS", "Booked", "Promises"]

READERS = ("server", "hospital", "recipient")
"""Who may look: the server, another hospital of the federation, whoever receives the model."""


AUTOMATIC = "automatic"
"""Clipping that scales every record's gradient, the short ones too, to nearly the clip."""


class Booked(NamedTuple):
    """A cell as ledgers and summaries have it; the reader is whom the bill holds against."""

    unit: str
    relation: str
    placement: str
    mechanism: str
    reader: str


@dataclass(frozen=True)
class Promises:
    """The facts and promises of a cell; the defaults are those of DP-SGD at the hospital.

    Attributes:
        name: of the cell, as events and assignments have it.
        unit: what is protected, "record" or "hospital".
        placement: where the noise is added, as the settings name it.
        mechanism: as the ledger has it.
        relation: which data are neighbours; figures of different units or relations are never added.
        clips_apart: most that neighbours differ by in what is released, in clips (max_grad_norm).
        is_private: whether anything is protected.
        clips_records: whether every record's gradient is clipped by itself, which not every model can do.
        adapts_clip: whether the clip may follow a quantile of the updates' norms.
        shares_noise: whether one noise covers the sum of all hospitals, so that all have the same noise multiplier.
        releases_models: whether what each hospital sends is a model of its own that may be kept and sent again: its
            release is billed as it leaves, or nothing is.
        sends_sum: whether hospitals send one clipped gradient sum a round instead of training.
        needs_secure_sum: whether the bill holds only while the sum is all that the server sees.
        payload: what hospitals sum, as the terms of a secure sum have it: "parameters", "values" or "residues".
        accountant: by which the headline is proved, "pld" of Poisson-subsampled Gaussian steps, or "rdp" of others, of
            which privacy loss distributions prove nothing.
        clips_groups: whether the mean gradient of a group of records is clipped as one.
        noise_correlation: of the noise of different rounds, as the settings name it.
        has_canaries: whether rounds hide a record, or an update, by itself and each by its own noise, so that an audit
            knows what a canary does (see `audits.canaries`).
        plain_words: sentences for people (see `words`).
        sent: what leaves a hospital in a round, in words; "{unit}" stands for the noun of what is protected.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "record"
    placement: ClassVar[str]
    mechanism: ClassVar[str]
    relation: ClassVar[str] = "zero-out-one-record"
    clips_apart: ClassVar[float] = 1.0
    is_private: ClassVar[bool] = True
    clips_records: ClassVar[bool] = True
    adapts_clip: ClassVar[bool] = False
    shares_noise: ClassVar[bool] = False
    releases_models: ClassVar[bool] = False
    sends_sum: ClassVar[bool] = False
    needs_secure_sum: ClassVar[bool] = False
    payload: ClassVar[str] = "parameters"
    accountant: ClassVar[str] = "pld"
    clips_groups: ClassVar[bool] = False
    noise_correlation: ClassVar[str] = "none"
    has_canaries: ClassVar[bool] = True
    plain_words: ClassVar[PlainWords]
    sent: ClassVar[str]

    def meaningless(self, privacy: Any) -> Iterator[str]:
        """Yield why settings of [privacy] have no meaning in the cell, whatever the other sections say."""
        yield from ()

    def refusals(self, privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
        """Yield why the cell can't honour these sections of the settings, or has no proof for them, and a way out."""
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
        if privacy.microbatch_size > 1 and not self.clips_groups:
            yield (
                f"microbatch-size = {privacy.microbatch_size} is for records with Gaussian noise of one kind: no bound "
                f'is proved for it with unit = "{self.unit}" and placement = "{self.placement}" ([privacy] '
                'microbatch-size): set unit = "record" and placement = "local" or "central" with independent noise, or '
                "remove it"
            )
        if privacy.clipping == AUTOMATIC and not self.clips_records:
            yield (
                f'clipping = "{AUTOMATIC}" scales the gradient of every record, and with unit = "{self.unit}" whole '
                'updates are clipped ([privacy] clipping): set unit = "record", or clipping = "flat"'
            )
        if privacy.clipping == AUTOMATIC and training.grad_sample_mode == "ghost":
            yield (
                f'grad-sample-mode = "ghost" has factors of its own, and clipping = "{AUTOMATIC}" others ([training] '
                'grad-sample-mode): set "auto", or clipping = "flat"'
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

    def refusals_of_turns(self, rounds_apart: int) -> Iterator[str]:
        """Yield why the cell has no use for hospitals that are drawn for every so many rounds (>= 1), at least."""
        yield from ()

    def noise_memory(
        self, memory: Memory, *, round_number: int, attempt: int, rounds_left: int, scales: Sequence[float]
    ) -> Memory:
        """Return what the server's noise in a round goes on from; nothing where rounds are independent.

        Args:
            memory: what the release of the round before handed over; nothing before the first.
            round_number: from 1.
            attempt: at the round, from 1.
            rounds_left: this one and all after it (>= 1).
            scales: stddevs that independent noise would have on the average, relative to each other, of this round and
                those after it until its hospitals take part again (> 0).
        """
        return NOTHING

    def relative_noise(self, *, num_rounds: int, scales: Sequence[float]) -> float:
        """Return the error of the model's sums of so many rounds, relative to that of independent noise, in (0, 1]."""
        return 1.0

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return what of the billed noise is left against a reader, who subtracts what it added or sees it without.

        The reader is one of READERS; `num_shares` are the replies guaranteed (>= 1), where there are shares of noise.
        """
        return noise_multiplier

    def sensitivity(self, max_grad_norm: float, *, adaptive_clipping: bool = False, most_copies: int = 1) -> float:
        """Return the L2 distance of neighbours, before rounding: the clip times how many of it they are apart.

        With adaptive clipping a count travels along, which is charged with the update (see `privacy.clipping`). Where
        records are clipped, one may count `most_copies` times (>= 1), so that neighbours are as many clips apart (see
        `clients.clipped_sums`); a whole update is clipped after whatever its records counted.
        """
        of_records = most_copies if self.clips_records else 1
        joint = JOINT_NORM if adaptive_clipping and self.adapts_clip else 1.0
        return max_grad_norm * self.clips_apart * joint * of_records

    def dimension(self, num_parameters: int, *, adaptive_clipping: bool = False) -> int:
        """Return the coordinates of what is released: the parameters, and a count where one travels along."""
        return num_parameters + int(adaptive_clipping and self.adapts_clip)

    @cached_property
    def booked(self) -> Booked:
        """The words that stand for the cell in the ledger's rows."""
        readers = [reader for reader in READERS if self.noise_against(reader, 1.0, 2) == 1.0]
        held = "anyone" if len(readers) == len(READERS) else ",".join(readers)
        return Booked(self.unit, self.relation, self.placement, self.mechanism, held)

    def check_deltas(
        self, target_delta: float | Mapping[str, float], num_train: Mapping[str, int], num_hospitals: int
    ) -> dict[str, float]:
        """Return every hospital's delta, refusing one that is no promise to so many units.

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
        """Raise ConfigError where more hospitals have rows of one patient than the bill is for, which adds them up.

        Where no record is clipped patients are hidden with their hospital, which pays for its own, or not at all.
        """
        held = hospitals_per_patient
        if self.clips_records and held > patient_overlap:
            raise ConfigError(
                f"patient-overlap = {patient_overlap} must be >= {held}, since {held} hospitals hold rows of the same "
                f"patient ([privacy] patient-overlap): set {held}; where the same number means other people at another "
                'hospital, set [federation] patient-scope = "hospital", or give different people different numbers'
            )

    def without_bound(self, patient_overlap: int) -> str:
        """Return why there is no bound for a patient in so many hospitals; empty where there is one."""
        if patient_overlap > 1 and self.clips_records and self.shares_noise:
            return "no bound for a patient in several hospitals, whose gradients would share one noise"
        return ""

    def plan_notes(self, num_hospitals: int, honest_survivors: int, noise_ratio: float) -> Iterator[str]:
        """Yield sentences for whoever decides on a plan: where little is learned, or noise could be shared.

        `honest_survivors` are the replies that share the noise where it comes in shares, `noise_ratio` the norm of the
        noise on the average, in clips.
        """
        yield from ()

    def words(
        self, *, record_is: str = "row", protocol: str = "plain", patient_overlap: int = 1, has_own_models: bool = False
    ) -> CellWords:
        """Return what is said of the cell.

        Args:
            record_is: what a record is, "row" or "patient".
            protocol: how contributions travel: under "secagg+" the server sees their sum alone.
            patient_overlap: hospitals that may hold the same patient, >= 1.
            has_own_models: whether hospitals have models of their own, or parts ([personal]).
        """
        shared, last = ("mean", ", or a hospital's own") if has_own_models else ("shared", "")
        noun = "patient" if (self.unit, record_is) == ("record", "patient") else self.unit
        said = NOUNS[noun]
        hidden, promise = (text.format(mine=said.mine, unit=noun, units=f"{noun}s") for text in HIDDEN[self.relation])
        whom, assumes = of_overlap(noun, patient_overlap)
        plain = self.plain_words
        return CellWords(
            **asdict(plain) | asdict(said) | {"assumes": (*assumes, *said.assumes)},
            sent=self.sent.format(unit=noun),
            unit=noun,
            units=f"{noun}s",
            counted="patients" if record_is == "patient" else "records",
            relation=self.relation,
            hidden=hidden,
            promise=promise,
            whom=whom,
            sees={
                "server": plain.server_sees_sum if protocol == "secagg+" else plain.server_sees,
                "hospital": f"the {shared} model after each round",
                "recipient": f"the {'mean ' if has_own_models else ''}model after the last round{last}",
            },
        )
