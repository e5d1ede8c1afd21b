"""A cell in plain words: the one source of what pages, tables and terminals say of unit, trust and readers.

Each cell's file has the sentences that are its own. What is left out on purpose: numbers, which are quoted from a run's
summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["READER_NAMES", "CellWords", "PlainWords", "UnitWords", "words_of"]

READER_NAMES: Mapping[str, str] = {
    "server": "the server that runs the training",
    "hospital": "another hospital that takes part",
    "recipient": "whoever receives the finished model",
}
"""Who may look, in words, by reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainWords:
    """The sentences that are a cell's own.

    Attributes:
        noise: who adds which noise.
        sent: what leaves a hospital in a round.
        trust: who has to be trusted with what.
        server_sees: what the server sees.
        server_sees_sum: the same where secure aggregation hides all but the sum.
        relies_on: what must hold besides; "" for nothing.
        price: what it buys or costs against noise at the hospital; "" for that itself.
        formula: stddev of the noise on the average of n hospitals, of noise multiplier z and clip C.
        series: number of its colour in charts.
        dash: of its line in charts.
    """

    noise: str
    sent: str
    trust: str
    server_sees: str
    server_sees_sum: str
    relies_on: str = ""
    price: str = ""
    formula: str = ""
    series: int = 0
    dash: str = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitWords:
    """What is said of a unit.

    Attributes:
        one: the noun for it.
        many: the noun for many.
        counted: the noun for what a hospital has so and so many of.
        protected: what one is.
        yours: one, to whom it belongs.
        used: the clause that an attacker guesses about.
        clipped: what of it is clipped.
        averaged: what the noise is on, where placements are compared.
        caveats: what changes the claim.
        alone: for whom an epsilon holds, where patients are in one hospital only.
        several: the same for patients in up to {overlap} hospitals.
        rests_on: what must hold for it, where patients are in one hospital only.
        rests_on_several: the same for patients in up to {overlap} hospitals.
    """

    one: str
    many: str
    counted: str
    protected: str
    yours: str
    used: str
    clipped: str
    averaged: str
    caveats: tuple[str, ...]
    alone: str
    several: str
    rests_on: tuple[str, ...]
    rests_on_several: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWords:
    """What is said of a cell.

    Attributes:
        unit: the noun for what is protected.
        units: the noun for many.
        counted: the noun for what a hospital has so and so many of, "records" or "patients".
        protected: what one unit is.
        hidden: what the relation hides, and what it does not.
        used: the clause that an attacker guesses about.
        clipped: what is clipped.
        averaged: what the noise is on, where placements are compared.
        caveats: what changes the claim, beside whatever the run itself changes.
        noise: who adds which noise.
        sent: what leaves a hospital in a round.
        trust: who has to be trusted with what.
        relies_on: what must hold besides; "" for nothing.
        price: what it buys or costs against noise at the hospital; "" for that itself.
        formula: stddev of the noise on the average of n hospitals, of noise multiplier z and clip C.
        series: number of its colour in charts.
        dash: of its line in charts.
        sees: by reader, what it sees.
    """

    unit: str
    units: str
    counted: str
    protected: str
    hidden: str
    used: str
    clipped: str
    averaged: str
    caveats: tuple[str, ...]
    noise: str
    sent: str
    trust: str
    relies_on: str
    price: str
    formula: str
    series: int
    dash: str
    sees: Mapping[str, str]
    of_unit: UnitWords

    def for_whom(self, patient_overlap: int) -> str:
        """Return for whom an epsilon holds, of patients in up to so many hospitals (>= 1)."""
        return self.of_unit.alone if patient_overlap == 1 else self.of_unit.several.format(overlap=patient_overlap)

    def rests_on(self, patient_overlap: int) -> tuple[str, ...]:
        """Return what must hold for an epsilon of patients in up to so many hospitals (>= 1)."""
        lines = self.of_unit.rests_on if patient_overlap == 1 else self.of_unit.rests_on_several
        return tuple(line.format(overlap=patient_overlap) for line in lines)


_FOR_A_PATIENT = "for a patient whose records lie in"
_SAMPLED = "Every step draws its records at random with the stated rate."
_OF_RECORDS = {
    "clipped": "each record's gradient",
    "averaged": "records: noise on the average gradient of a step, after the same number of steps in every row",
    "alone": f"{_FOR_A_PATIENT} one hospital only",
    "several": f"{_FOR_A_PATIENT} up to {{overlap}} hospitals",
    "rests_on": (
        "No patient has records in two hospitals, so the total is the largest of the hospitals (parallel composition).",
        _SAMPLED,
    ),
    "rests_on_several": (
        "No patient has records in more than {overlap} hospitals; the total adds up the worst {overlap}.",
        _SAMPLED,
    ),
}
_PUBLIC_COHORT = ("Which hospitals take part in a round is public.",)
_UNITS: Mapping[str, UnitWords] = {
    "record": UnitWords(
        one="record",
        many="records",
        counted="records",
        protected="one record (one row of a hospital's training data)",
        yours="a record of yours",
        used="a record was used",
        caveats=("A patient with several rows is protected less.",),
        **_OF_RECORDS,  # type: ignore[arg-type]
    ),
    "patient": UnitWords(
        one="patient",
        many="patients",
        counted="patients",
        protected="one patient (all rows of the patient at a hospital)",
        yours="your record",
        used="a patient's record was used",
        caveats=(),
        **_OF_RECORDS,  # type: ignore[arg-type]
    ),
    "hospital": UnitWords(
        one="hospital",
        many="hospitals",
        counted="records",
        protected="one hospital (everything it contributes)",
        yours="a record of yours",
        used="a hospital's contribution was used",
        clipped="each hospital's update",
        averaged="whole hospitals: noise on the average update of one round",
        caveats=(),
        alone="for each hospital",
        several="for each hospital",
        rests_on=_PUBLIC_COHORT,
        rests_on_several=_PUBLIC_COHORT,
    ),
}
_HIDDEN = {
    "zero-out-one-record": (
        "whether {one} was used or replaced by an empty one; that the hospital has n {many} is public"
    ),
    "zero-out-one-hospital": (
        "whether a hospital's contribution was used or replaced by zero; that the hospital took part, and its "
        "weight, are public"
    ),
    "replace-one-update": (
        "whether a hospital sent the update it did or any other; that the hospital took part, and its weight, are "
        "public"
    ),
}


def words_of(plain: PlainWords, *, noun: str, relation: str, summed: bool) -> CellWords:
    """Return what is said of a cell.

    Args:
        plain: its own sentences.
        noun: for what is protected: a record that is a row is not a patient.
        relation: which data are neighbours; one that hides nothing is handed back as it is.
        summed: whether the server sees no more than the sum.
    """
    unit = _UNITS[noun]
    return CellWords(
        unit=unit.one,
        units=unit.many,
        counted=unit.counted,
        protected=unit.protected,
        hidden=_HIDDEN.get(relation, relation).format(one=unit.yours, many=unit.counted),
        used=unit.used,
        clipped=unit.clipped,
        averaged=unit.averaged,
        caveats=unit.caveats,
        noise=plain.noise,
        sent=plain.sent,
        trust=plain.trust,
        relies_on=plain.relies_on,
        price=plain.price,
        formula=plain.formula,
        series=plain.series,
        dash=plain.dash,
        sees={
            "server": plain.server_sees_sum if summed else plain.server_sees,
            "hospital": "the shared model after each round",
            "recipient": "the model after the last round",
        },
        of_unit=unit,
    )
