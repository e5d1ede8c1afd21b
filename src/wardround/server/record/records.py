"""What the ledger keeps of a run beside its charges: how it began, each committed round, and how it ended.

Their JSON is part of the ledger's chain of digests: it stays as it is, so that old ledgers verify. What is left out on
purpose: the charges themselves (see `privacy.entries`), and what follows from all of these (see `summaries`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wardround.datasets.constants import Balance, Constants
from wardround.datasets.moments import MomentLayout
from wardround.datasets.scaling import OwnUnits, Scaling
from wardround.json_records import json_field, json_values, read_json_record
from wardround.parsing import from_json
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.run_facts import RunFacts
from wardround.score_sums import ReleasedSums
from wardround.scores import ClassCounts

__all__ = [
    "Closing",
    "HospitalFigures",
    "Opening",
    "Outcome",
    "RoundFigures",
    "RoundRecord",
    "Saved",
    "further_columns",
    "noise_after",
    "read_record_text",
    "record_text",
]

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFigures:
    """A row of rounds.csv.

    Attributes:
        round: its number; 0 is before training.
        num_selected: hospitals that were asked.
        num_completed: hospitals that answered.
        loss: mean test loss over all test records; None where nothing is measured, or the model was not evaluated after
            the round.
        score: likewise, the share right in [0, 1], the r2 (of earlier versions: the mean of the hospitals' r2), or
            Harrell's C; the column is called accuracy.
        auc: mean over hospitals, weighted by their test records; nan where it is not defined.
        epsilon_max: largest epsilon of a hospital so far, by Renyi divergences.
        epsilon_total: of a patient in as many hospitals as the patient overlap says.
        seconds: that the round took.
        further: scores by the columns of the run's opening; None in a run that earlier versions began.
    """

    round: int
    num_selected: int
    num_completed: int
    loss: float | None
    score: float | None = json_field(key="accuracy")
    auc: float | None
    epsilon_max: float
    epsilon_total: float
    seconds: float
    further: tuple[float | None, ...] | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalFigures:
    """A row of hospitals.csv.

    Attributes:
        selected: 1 where it was asked, else 0.
        completed: 1 where it answered, else 0.
        num_train: training records, as they may be shown: a number, or "<10".
        num_steps: steps that were charged, answered or not.
        sample_rate: that was charged, in (0, 1]; None where it was not asked, or where the rate would tell its size.
        noise_multiplier: that was charged; None where it was not asked.
        epsilon: spent so far, at its own delta.
        loss: on its test records; None where these are few, or are not measured, or not after the round.
        score: likewise.
        auc: likewise.
        further: likewise, by those of the opening's columns that hospitals have.
    """

    round: int
    hospital: str
    selected: int
    completed: int
    num_train: int | str = json_field(key="num_examples")
    num_steps: int
    sample_rate: float | None
    noise_multiplier: float | None
    epsilon: float
    loss: float | None = None
    score: float | None = json_field(key="accuracy", default=None)
    auc: float | None = None
    further: tuple[float | None, ...] | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a run began with: what its plan is made of, and what must not change between its parts.

    Attributes:
        config: all settings, as TOML.
        profiles: what the hospitals said of themselves.
        measures: what was measured of each; of no real site.
        num_parameters: the model's.
        drawn_from: names that cohorts are drawn from.
        packages: lines "package version" of what was installed.
        settings: digest of the decisive ones.
        fingerprints: of each hospital's training data; "" of a real site.
        absent: who was expected and did not come, and why.
        columns: further scores of every round, a user's metrics among them; None in a run that earlier versions began,
            whose r2 is a mean over hospitals.
        public: digest of the public records that models are tried on; None of none.
        moments: that were released before round 1; None of none.
        scaling: of features, which that gave; likewise.
        balance: of classes, likewise.
    """

    config: str
    profiles: tuple[HospitalProfile, ...]
    measures: Mapping[str, ProfileMeasures]
    num_parameters: int
    drawn_from: tuple[str, ...]
    packages: tuple[str, ...]
    settings: str
    fingerprints: Mapping[str, str]
    absent: Mapping[str, str] = json_field(lacking={})
    columns: tuple[str, ...] | None = json_field(default=None, is_left_out=True)
    public: str | None = json_field(default=None, is_left_out=True)
    moments: MomentLayout | None = json_field(default=None, is_left_out=True)
    scaling: Scaling | None = json_field(default=None, is_left_out=True)
    balance: Balance | None = json_field(default=None, is_left_out=True)

    @property
    def own_units(self) -> OwnUnits | None:
        """What turns features in their own unit into the model's; None where nothing of them was released."""
        numbers, scaling = self.moments, self.scaling
        if numbers is None or scaling is None:
            return None
        return OwnUnits(
            numbers=numbers.numbers,
            low=numbers.low,
            high=numbers.high,
            centre=scaling.centre,
            scale=scaling.scale,
        )

    @property
    def model_metadata(self) -> dict[str, str] | None:
        """What goes along in the model's file: as "features" JSON of the same, so that who has the file has all."""
        # One text alone: the format does not keep the order of several, and equal models have equal files.
        units = self.own_units
        return None if units is None else {"features": json.dumps(json_values(units))}

    @property
    def constants(self) -> Constants:
        """What hospitals are told of it."""
        return Constants(scaling=self.scaling, balance=self.balance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a round's training, beside the model.

    Attributes:
        abandoned: why the model stays as it was; "" where it doesn't.
        dropped: by real site, why it was left out of the round or did not help to its end.
        num_scrubbed: gradients or updates that were not finite, by hospital that had any.
    """

    abandoned: str
    dropped: Mapping[str, str] = json_field(lacking={})
    num_scrubbed: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What is on disk before a round counts.

    Attributes:
        strategy_forgets: attributes of the strategy that can't be kept.
        model: digest of its parameters.
        checkpoint: name of the file.
        sha256: of that file.
        noise_memory: sha256 of the file that the next round's noise goes on from; None where there is none.
        personal: digest of what is each hospital's own; None where nothing is.
    """

    strategy_forgets: tuple[str, ...]
    model: str
    checkpoint: str
    sha256: str
    noise_memory: str | None = json_field(default=None, is_left_out=True)
    personal: str | None = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What is committed of a round beside its charges.

    Attributes:
        attempt: that was committed, from 1; more than one are charged.
        round_row: its row of rounds.csv.
        hospital_rows: its rows of hospitals.csv, of those to whom something happened (see `tables`).
        noise_multipliers: of the rounds from here on, by hospital where it is not what it was; of all in round 0.
        max_grad_norm: the clip from here on.
        left: who is left out from here on, and why.
        other_versions: lines "package version" of packages that are not what they were when the run began.
        target_deltas: by hospital, of round 0; empty of others. Earlier versions gave all of each in every round.
        outcome: of its training.
        saved: what a resumed run goes on from.
        class_counts: of the model on all test records; None without classes, and where it is not evaluated.
        standard_errors: of scores over them, by the names of intervals, as these are made of them (see `score_errors`);
            None where there are none.
        hospital_errors: likewise of hospitals' areas, r2 or C; None where nothing was measured, and of earlier
            versions.
        opening: of round 0 only.
    """

    run_id: str
    attempt: int
    round_row: RoundFigures
    hospital_rows: tuple[HospitalFigures, ...]
    noise_multipliers: Mapping[str, float]
    max_grad_norm: float
    left: Mapping[str, str]
    other_versions: tuple[str, ...]
    target_deltas: Mapping[str, float]
    outcome: Outcome = json_field(is_inline=True)
    saved: Saved = json_field(is_inline=True)
    class_counts: ClassCounts | None = json_field(default=None, is_left_out=True)
    standard_errors: Mapping[str, float] | None = json_field(default=None, is_left_out=True)
    hospital_errors: Mapping[str, float] | None = json_field(default=None, is_left_out=True)
    opening: Opening | None = json_field(default=None, is_inline=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a run ended, for now or for good: "done", "stopped-at-budget", "stopped-early" or "interrupted".

    With what was released of the test records; None where nothing was, for now or for good.
    """

    status: str
    facts: RunFacts
    test_sums: ReleasedSums | None = json_field(default=None, is_left_out=True)


def further_columns(records: Sequence[RoundRecord]) -> tuple[str, ...]:
    """Return the further columns of a run's tables, as round 0, the first of its records, has them."""
    opening = records[0].opening if records else None
    return (opening and opening.columns) or ()


def noise_after(records: Iterable[RoundRecord]) -> dict[str, float]:
    """Return every hospital's noise multiplier after these rounds, round 0 first."""
    noise: dict[str, float] = {}
    for record in records:
        noise.update(record.noise_multipliers)
    return noise


def record_text(record: RoundRecord | Closing) -> str:
    """Return the JSON text that the ledger keeps, its keys sorted."""
    return json.dumps(json_values(record), sort_keys=True)


def read_record_text(kind: type[_Record], text: str) -> _Record:
    """Return the record that `record_text` made the text of.

    Raises:
        ValueError: it is none.
    """
    return read_json_record(kind, from_json(text))
