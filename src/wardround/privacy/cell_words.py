"""A cell in plain words: the one source of what pages, tables and terminals say of unit, noise, trust and readers.

What is left out on purpose: numbers, which are quoted from a run's summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.privacy.mechanisms import MECHANISMS, hidden_words

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
        units: the same noun for many.
        counted: the noun for many of what a hospital's size is counted in.
        protected: what one unit is.
        relation: which data are neighbours, as ledgers and summaries have it; "" where nobody is protected.
        hidden: what that relation hides and what it does not.
        promise: what neighbours differ by, in a few words.
        used: what an attacker guesses, a clause after "whether".
        whom: for whom the total epsilon holds.
        clipped: what is clipped.
        noise: who adds which noise.
        noise_kind: the noise in one word, before "noise".
        averaged: of what the noise on the average is stated, when cells are compared.
        formula: its standard deviation on the average of n hospitals that are alike, by noise multiplier z and clip C.
        chart_order: its place among the cells of its unit in charts and lists, from 0: it picks colour and dash.
        sent: what leaves a hospital in a round.
        trust: who has to be trusted with what.
        shares_noise: whether one noise covers the sum of all hospitals, so that more of them need no more of it.
        price: what a clear difference from noise that each hospital adds alone is due to.
        relies: what its epsilon relies on beside the noise, in sentences.
        assumes: what must hold of records or hospitals for its epsilon to mean what it says, in sentences.
        caveats: what it does not protect, in sentences.
        sees: by reader, what it sees.
    """

    unit: str
    units: str
    counted: str
    protected: str
    relation: str
    hidden: str
    promise: str
    used: str
    whom: str
    clipped: str
    noise: str
    noise_kind: str
    averaged: str
    formula: str
    chart_order: int
    sent: str
    trust: str
    shares_noise: bool
    price: str
    relies: tuple[str, ...]
    assumes: tuple[str, ...]
    caveats: tuple[str, ...]
    sees: Mapping[str, str]

    @property
    def name(self) -> str:
        """The cell as a row of a table has it."""
        return f"{self.unit}, {self.noise_kind} noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseKind:
    """What cells of both units say alike of where the noise is added.

    Attributes:
        name: in one word.
        chart_order: see `CellWords`.
        trust: likewise.
        price: likewise.
        relies: likewise.
        server_sees: what the server sees.
        server_sees_sum: what it sees where secure aggregation leaves it the sum alone.
    """

    name: str
    chart_order: int
    trust: str
    price: str
    relies: tuple[str, ...]
    server_sees: str
    server_sees_sum: str


LOCAL = NoiseKind(
    name="local",
    chart_order=0,
    trust="Nobody outside the hospital is trusted: it clips and adds noise itself, so nothing leaves it without noise.",
    price="",
    relies=(),
    server_sees="every hospital's parameters after each round, noise already inside",
    server_sees_sum="the sum over hospitals, noise already inside",
)
"""Each hospital adds its own noise before anything leaves it."""
DISTRIBUTED = NoiseKind(
    name="distributed",
    chart_order=1,
    trust="The server is trusted with nothing but the sum: each hospital adds a share of the noise, and only the "
    "securely computed sum carries enough of it. Against the server the guarantee holds as long as secure aggregation "
    "does and enough hospitals are honest and answer.",
    price="That is what a secure sum buys.",
    relies=(
        "Distributed noise relies on the secure sum and on at least min-survivors hospitals that answer and add their "
        "share ([aggregation] min-survivors). A hospital can take its own share out of the sum, so its epsilon is "
        "larger.",
    ),
    server_sees="the sum over hospitals, noise already inside",
    server_sees_sum="the sum over hospitals, noise already inside",
)
"""Each hospital adds a share of the noise that covers their sum."""
CENTRAL = NoiseKind(
    name="central",
    chart_order=2,
    trust="The server is trusted: it sees contributions without noise and adds the noise to their sum. The guarantee "
    "holds against the other hospitals and whoever receives the model, not against the server.",
    price="That is the price of not trusting the server with what the hospitals send.",
    relies=(),
    server_sees="every hospital's contribution before the noise is added",
    server_sees_sum="the sum of the hospitals' contributions before the noise is added",
)
"""The server adds noise to the sum."""
NO_NOISE = NoiseKind(
    name="no",
    chart_order=0,
    trust="Everyone who sees the model, or what the hospitals send, is trusted with the data.",
    price="",
    relies=(),
    server_sees="every hospital's parameters after each round",
    server_sees_sum="the sum over hospitals",
)
"""Nobody adds any."""


def record_words(
    *,
    kind: NoiseKind,
    relation: str,
    noise: str,
    formula: str,
    sent: str,
    record_is: str,
    protocol: str,
    patient_overlap: int,
) -> CellWords:
    """Return what is said of a cell of unit "record".

    Args:
        kind: where the noise is added.
        relation: see `CellWords`, as noise and formula.
        noise: who adds which.
        formula: of its standard deviation on the average.
        sent: what leaves a hospital in a round; "{unit}" is replaced by the noun.
        record_is: what a record is, "row" or "patient".
        protocol: how contributions travel: under "secagg+" the server sees their sum alone.
        patient_overlap: hospitals that may hold the same patient, >= 1.
    """
    unit, protected, used, caveats = _RECORDS[record_is == "patient"]
    return CellWords(
        unit=unit,
        units=f"{unit}s",
        counted=f"{unit}s",
        protected=protected,
        relation=relation,
        hidden=hidden_words(relation, unit),
        promise=f"using a {unit} or an empty one in its place",
        used=used,
        whom=_whom(patient_overlap),
        clipped=f"each {unit}'s gradient",
        noise=noise,
        noise_kind=kind.name,
        averaged=f"{unit}s: noise on the average gradient of a step, after the same number of steps in every row",
        formula=formula,
        chart_order=kind.chart_order,
        sent=sent.format(unit=unit),
        trust=kind.trust,
        shares_noise=bool(kind.price),
        price=kind.price,
        relies=kind.relies,
        assumes=(_overlap(patient_overlap), f"Every step draws its {unit}s at random with the stated rate."),
        caveats=caveats,
        sees=_sees(kind, protocol),
    )


def hospital_words(
    *, kind: NoiseKind, relation: str, promise: str, noise: str, formula: str, sent: str, record_is: str, protocol: str
) -> CellWords:
    """Return what is said of a cell of unit "hospital".

    Args:
        kind: where the noise is added.
        relation: see `CellWords`, as promise, noise and formula.
        promise: what neighbours differ by.
        noise: who adds which.
        formula: of its standard deviation on the average.
        sent: what leaves a hospital in a round.
        record_is: what a record is, "row" or "patient".
        protocol: how contributions travel.
    """
    return CellWords(
        unit="hospital",
        units="hospitals",
        counted=f"{_RECORDS[record_is == 'patient'][0]}s",
        protected="one hospital (everything it contributes)",
        relation=relation,
        hidden=hidden_words(relation, "hospital"),
        promise=promise,
        used="a hospital's contribution was used",
        whom="for each hospital",
        clipped="each hospital's update",
        noise=noise,
        noise_kind=kind.name,
        averaged="whole hospitals: noise on the average update of one round",
        formula=formula,
        chart_order=kind.chart_order,
        sent=sent,
        trust=kind.trust,
        shares_noise=bool(kind.price),
        price=kind.price,
        relies=kind.relies,
        assumes=("Which hospitals take part in a round is public.",),
        caveats=(),
        sees=_sees(kind, protocol),
    )


_RECORDS = (
    (
        "record",
        "one record (one row of a hospital's training data)",
        "a record was used",
        ("A patient with several rows is protected less.",),
    ),
    ("patient", "one patient (all rows of the patient at a hospital)", "a patient's record was used", ()),
)
# By whether a record is a patient: noun, what it is, what is guessed, what is not protected.


def _whom(patient_overlap: int) -> str:
    if patient_overlap == 1:
        return "for a patient whose records lie in one hospital only"
    return f"for a patient whose records lie in up to {patient_overlap} hospitals"


def _overlap(patient_overlap: int) -> str:
    if patient_overlap == 1:
        return (
            "No patient has records in two hospitals, so the total is the largest of the hospitals (parallel "
            "composition)."
        )
    return (
        f"No patient has records in more than {patient_overlap} hospitals; the total adds up the worst "
        f"{patient_overlap}."
    )


def _sees(kind: NoiseKind, protocol: str) -> Mapping[str, str]:
    return {
        "server": kind.server_sees_sum if protocol == "secagg+" else kind.server_sees,
        "hospital": "the shared model after each round",
        "recipient": "the model after the last round",
    }


def cell_words(
    unit: str, placement: str, record_is: str = "row", protocol: str = "plain", patient_overlap: int = 1
) -> CellWords:
    """Return what is said of a cell, or of training without privacy.

    Args:
        unit: "record" or "hospital".
        placement: "local", "distributed", "central" or "none".
        record_is: what a record is, "row" or "patient".
        protocol: how contributions travel: under "secagg+" the server sees their sum alone.
        patient_overlap: hospitals that may hold the same patient, >= 1.
    """
    cell = MECHANISMS.get((unit, placement))
    if cell is None:
        return record_words(
            kind=NO_NOISE,
            relation="",
            noise="none",
            formula="",
            sent="the model after local training",
            record_is=record_is,
            protocol=protocol,
            patient_overlap=patient_overlap,
        )
    kind = {"local": LOCAL, "distributed": DISTRIBUTED, "central": CENTRAL}[placement]
    if unit == "record":
        return record_words(
            kind=kind,
            relation=cell.relation,
            noise=cell.noise,
            formula="zC / sqrt(n)" if placement == "local" else "zC / n",
            sent=cell.released.replace("each record", "each {unit}"),
            record_is=record_is,
            protocol=protocol,
            patient_overlap=patient_overlap,
        )
    return hospital_words(
        kind=kind,
        relation=cell.relation,
        promise="exchanging its update for any other" if placement == "local" else "leaving its contribution out",
        noise=cell.noise,
        formula="2zC / sqrt(n)" if placement == "local" else "zC / n",
        sent=cell.released,
        record_is=record_is,
        protocol=protocol,
    )
