"""A cell in plain words: the one source of what pages, tables and terminals say of unit, trust and readers.

Each cell's file has the sentences that are its own. What is left out on purpose: numbers, which are quoted from a run's
summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["READER_NAMES", "CellWords", "PlainWords", "words_of"]

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
    """

    noise: str
    sent: str
    trust: str
    server_sees: str
    server_sees_sum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWords:
    """What is said of a cell.

    Attributes:
        unit: the noun for what is protected.
        units: the noun for many.
        protected: what one unit is.
        hidden: what the relation hides, and what it does not.
        noise: who adds which noise.
        sent: what leaves a hospital in a round.
        trust: who has to be trusted with what.
        sees: by reader, what it sees.
    """

    unit: str
    units: str
    protected: str
    hidden: str
    noise: str
    sent: str
    trust: str
    sees: Mapping[str, str]


_PROTECTED = {
    "record": "one record (one row of a hospital's training data)",
    "patient": "one patient (all rows of the patient at a hospital)",
    "hospital": "one hospital (everything it contributes)",
}
_ONE_AND_MANY = {"patient": ("your record", "patients")}
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
    one, many = _ONE_AND_MANY.get(noun, ("a record of yours", "records"))
    return CellWords(
        unit=noun,
        units=f"{noun}s",
        protected=_PROTECTED[noun],
        hidden=_HIDDEN.get(relation, relation).format(one=one, many=many),
        noise=plain.noise,
        sent=plain.sent,
        trust=plain.trust,
        sees={
            "server": plain.server_sees_sum if summed else plain.server_sees,
            "hospital": "the shared model after each round",
            "recipient": "the model after the last round",
        },
    )
