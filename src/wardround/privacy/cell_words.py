"""A cell in plain words: the one source of what pages, tables and terminals say of unit, trust and readers.

What the relation hides is said by `mechanisms.hidden_words`. What is left out on purpose: numbers, which are quoted
from a run's summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.privacy.mechanisms import MECHANISMS

__all__ = ["READER_NAMES", "CellWords", "cell_words"]

READER_NAMES: Mapping[str, str] = {
    "server": "the server that runs the training",
    "hospital": "another hospital that takes part",
    "recipient": "whoever receives the finished model",
}
"""Who may look, in words, by reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWords:
    """What is said of a cell.

    Attributes:
        unit: the noun for what is protected.
        protected: what one unit is.
        noise: who adds which noise.
        sent: what leaves a hospital in a round.
        trust: who has to be trusted with what.
        sees: by reader, what it sees.
    """

    unit: str
    protected: str
    noise: str
    sent: str
    trust: str
    sees: Mapping[str, str]


_PROTECTED = {
    "record": "one record (one row of a hospital's training data)",
    "patient": "one patient (all rows of the patient at a hospital)",
    "hospital": "one hospital (everything it contributes)",
}
_TRUST = {
    "local": "Nobody outside the hospital is trusted: it clips and adds noise itself, so nothing leaves it without "
    "noise.",
    "distributed": "The server is trusted with nothing but the sum: each hospital adds a share of the noise, and only "
    "the securely computed sum carries enough of it. Against the server the guarantee holds as long as secure "
    "aggregation does and enough hospitals are honest and answer.",
    "central": "The server is trusted: it sees contributions without noise and adds the noise to their sum. The "
    "guarantee holds against the other hospitals and whoever receives the model, not against the server.",
    "none": "Everyone who sees the model, or what the hospitals send, is trusted with the data.",
}
_SERVER_SEES = {
    "local": "every hospital's parameters after each round, noise already inside",
    "distributed": "the sum over hospitals, noise already inside",
    "central": "every hospital's contribution before the noise is added",
    "none": "every hospital's parameters after each round",
}


def cell_words(unit: str, placement: str, record_is: str = "row", protocol: str = "plain") -> CellWords:
    """Return what is said of a cell, or of training without privacy.

    Args:
        unit: "record" or "hospital".
        placement: "local", "distributed", "central" or "none".
        record_is: what a record is, "row" or "patient".
        protocol: how contributions travel: under "secagg+" the server sees their sum alone.
    """
    noun = "patient" if (unit, record_is) == ("record", "patient") else unit
    cell = MECHANISMS.get((unit, placement))
    server = _SERVER_SEES.get(placement, "what hospitals send")
    if protocol == "secagg+" and placement == "central":
        server = "the sum of the hospitals' contributions before the noise is added"
    elif protocol == "secagg+":
        server = "the sum over hospitals" + (", noise already inside" if cell else "")
    return CellWords(
        unit=noun,
        protected=_PROTECTED.get(noun, noun),
        noise=cell.noise if cell else "none",
        sent=cell.released if cell else "the model after local training",
        trust=_TRUST.get(placement, ""),
        sees={
            "server": server,
            "hospital": "the shared model after each round",
            "recipient": "the model after the last round",
        },
    )
