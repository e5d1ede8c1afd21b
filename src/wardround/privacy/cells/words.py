"""A cell in plain words: the one source of what pages, tables and terminals say of unit, noise, trust and readers.

Each cell's file has the sentences that are its own; what holds for every cell of a unit or a relation is here. What is
left out on purpose: numbers, which are quoted from a run's summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["HIDDEN", "NOUNS", "READER_NAMES", "CellWords", "PlainWords", "UnitWords", "of_overlap"]

READER_NAMES: Mapping[str, str] = {
    "server": "the server that runs the training",
    "hospital": "another hospital that takes part",
    "recipient": "whoever receives the finished model",
}
"""Who may look, in words, by reader."""


@dataclass(frozen=True, kw_only=True)
class PlainWords:
    """The words that are a cell's own; the defaults are those of hospitals that add their own noise, each for itself.

    Attributes:
        noise: who adds which noise.
        formula: its standard deviation on the average of n hospitals that are alike, by noise multiplier z and clip C.
        kind: the noise in one word, before "noise".
        chart_order: the cell's place among those of its unit in charts and lists, from 0: it picks colour and dash.
        trust: who has to be trusted with what.
        server_sees: what the server sees.
        server_sees_sum: the same where secure aggregation hides all but the sum.
        price: what a clear difference from noise that each hospital adds alone is due to.
        relies: what its epsilon relies on beside the noise, in sentences.
    """

    noise: str
    formula: str
    kind: str = "local"
    chart_order: int = 0
    trust: str = (
        "Nobody outside the hospital is trusted: it clips and adds noise itself, so nothing leaves it without noise."
    )
    server_sees: str = "every hospital's parameters after each round, noise already inside"
    server_sees_sum: str = "the sum over hospitals, noise already inside"
    price: str = ""
    relies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UnitWords:
    """The words that are a unit's own.

    Attributes:
        protected: what one unit is.
        mine: one that is somebody's.
        used: what an attacker guesses, a clause after "whether".
        clipped: what is clipped.
        averaged: what the noise on the average is stated of, where cells are compared.
        assumes: what must hold of the data for its epsilon to mean what it says, in sentences.
        caveats: what it does not protect, in sentences.
    """

    protected: str
    mine: str
    used: str
    clipped: str
    averaged: str
    assumes: tuple[str, ...]
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CellWords(PlainWords, UnitWords):
    """What is said of a cell: its own words, its unit's, and what follows from how it is used.

    Attributes:
        sent: what leaves a hospital in a round.
        unit: the noun for what is protected.
        units: the noun for many.
        counted: the noun for many of what a hospital's size is counted in.
        relation: which data are neighbours, as ledgers and summaries have it.
        hidden: what the relation hides, and what it does not.
        promise: what neighbours differ by, in a few words.
        whom: for whom the total epsilon holds.
        sees: by reader, what it sees.
    """

    sent: str
    unit: str
    units: str
    counted: str
    relation: str
    hidden: str
    promise: str
    whom: str
    sees: Mapping[str, str]

    @property
    def name(self) -> str:
        """The cell as a row of a table has it."""
        return f"{self.unit}, {self.kind} noise"


NOUNS = {
    "record": UnitWords(
        protected="one record (one row of a hospital's training data)",
        mine="a record of yours",
        used="a record was used",
        clipped="each record's gradient",
        averaged="records: noise on the average gradient of a step, after the same number of steps in every row",
        assumes=("Every step draws its records at random with the stated rate.",),
        caveats=("A patient with several rows is protected less.",),
    ),
    "patient": UnitWords(
        protected="one patient (all rows of the patient at a hospital)",
        mine="your record",
        used="a patient's record was used",
        clipped="each patient's gradient",
        averaged="patients: noise on the average gradient of a step, after the same number of steps in every row",
        assumes=("Every step draws its patients at random with the stated rate.",),
    ),
    "hospital": UnitWords(
        protected="one hospital (everything it contributes)",
        mine="a hospital's contribution",
        used="a hospital's contribution was used",
        clipped="each hospital's update",
        averaged="whole hospitals: noise on the average update of one round",
        assumes=("Which hospitals take part in a round is public.",),
    ),
}
"""What is said of a unit, by the noun for it."""
HIDDEN = {
    "zero-out-one-record": (
        "whether {mine} was used or replaced by an empty one; that the hospital has n {units} is public",
        "using a {unit} or an empty one in its place",
    ),
    "zero-out-one-hospital": (
        "whether {mine} was used or replaced by zero; that the hospital took part, and its weight, are public",
        "leaving its contribution out",
    ),
    "replace-one-update": (
        "whether a hospital sent the update it did or any other; that the hospital took part, and its weight, are "
        "public",
        "exchanging its update for any other",
    ),
    "none": ("nothing", "nothing"),
}
"""What a relation hides and what it does not, and what neighbours differ by."""


def of_overlap(noun: str, overlap: int) -> tuple[str, tuple[str, ...]]:
    """Return for whom a total over hospitals holds, and what that assumes.

    Args:
        noun: for the unit: a record is a row, of which a patient may have more than the figure is for.
        overlap: hospitals that may hold the same patient, >= 1.
    """
    if noun == "hospital":
        return "for each hospital", ()
    if overlap == 1:
        whom = "for each record" if noun == "record" else "for a patient whose records lie in one hospital only"
        return whom, (
            f"No {noun} {'is at' if noun == 'record' else 'has records in'} two hospitals, so the total is the largest "
            "of the hospitals (parallel composition).",
        )
    few = "with one record at each of" if noun == "record" else "whose records lie in"
    return f"for a patient {few} up to {overlap} hospitals", (
        f"No patient has records in more than {overlap} hospitals; the total adds up the worst {overlap}.",
    )
