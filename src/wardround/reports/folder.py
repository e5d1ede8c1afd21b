"""Read a run folder into frozen records, whatever stage the run reached.

Left out on purpose: the ledger and the model. Epsilon is taken as written by the run; nothing is recomputed here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cell_words import CellWords, cell_words
from wardround.privacy.mechanisms import READERS
from wardround.reports.files import NOT_KNOWN, read_json, read_number, read_numbers, read_rows, read_text, read_toml
from wardround.reports.numbers import number_text
from wardround.rounds import shown_total

__all__ = ["NOT_KNOWN", "HospitalResult", "RunResult", "read_run"]

INFINITE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalResult:
    """What one hospital did, spent and got. Numbers that the folder does not hold are nan.

    Attributes:
        name: hospital id.
        size: training records as they may be shown: a number, or "<10".
        num_train: training records; nan where they are not shown.
        num_test: test records; nan where they are not shown, and then its scores are not either.
        rounds_selected: rounds it was asked to train in.
        rounds_completed: rounds it answered in.
        noise_multiplier: smallest and largest noise stddev / clipping norm over its rounds.
        sample_rate: smallest and largest sample rate over its rounds, in (0, 1]; nan where it would tell a size that
            is not shown.
        target_delta: the delta its epsilon is stated at.
        epsilon: spent by the end, headline accountant where there is one; inf without noise.
        loss: mean test loss after the last round.
        accuracy: share right in [0, 1], or r2, after the last round.
        auc: area under the ROC curve after the last round.
        majority_accuracy: the score of always answering the most frequent class (for regression: the mean).
        rows: its lines of hospitals.csv as numbers, by round.
    """

    name: str
    size: str
    num_train: float
    num_test: float
    rounds_selected: int
    rounds_completed: int
    noise_multiplier: tuple[float, float]
    sample_rate: tuple[float, float]
    target_delta: float
    epsilon: float
    loss: float
    accuracy: float
    auc: float
    majority_accuracy: float
    rows: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run as its folder tells it. Numbers that the folder does not hold are nan.

    Attributes:
        folder: where the run is.
        config_text: config.toml as it stands there.
        config: the same, parsed: section -> key -> value.
        facts: summary.json as it stands there; empty where the run did not get so far.
        is_regression: the quality figure is r2, not accuracy.
        placement: where the noise is added: none, local, distributed or central.
        unit: what one unit of protection is: record or hospital.
        words: what is said of the cell of unit and placement.
        epsilon_max: largest epsilon of a hospital.
        epsilon_total: epsilon of a patient who may sit in `patient_overlap` hospitals.
        readers: epsilon against the server, another hospital and whoever receives the model.
        target_delta: the delta that max and total are stated at, as the summary has it.
        patient_overlap: the largest number of hospitals assumed to hold the same patient.
        scores: accuracy (or r2), auc, loss and majority_accuracy of the last model.
        rounds: lines of rounds.csv as numbers, by round.
        hospitals: by name.
    """

    folder: Path
    config_text: str
    config: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    is_regression: bool
    placement: str
    unit: str
    words: CellWords
    epsilon_max: float
    epsilon_total: float
    readers: Mapping[str, float]
    target_delta: float
    patient_overlap: int
    scores: Mapping[str, float]
    rounds: tuple[Mapping[str, float], ...]
    hospitals: tuple[HospitalResult, ...]

    @property
    def is_private(self) -> bool:
        """Whether training was meant to be private."""
        return self.placement != "none"

    @property
    def num_records(self) -> str:
        """Training records of all hospitals as they may be shown."""
        sizes = (hospital.size if _is_small(hospital.size) else hospital.num_train for hospital in self.hospitals)
        return shown_total(size for size in sizes if size == size)

    @property
    def has_baselines(self) -> bool:
        """Whether the score of the most frequent class is known of any hospital."""
        return any(hospital.majority_accuracy == hospital.majority_accuracy for hospital in self.hospitals)

    @property
    def attacker(self) -> Mapping[str, Any]:
        """How often an attacker on the total is right; empty where the run did not say."""
        return self.facts.get("attacker") or {}

    @property
    def guesses(self) -> dict[str, float]:
        """Share of coin tosses that each reader guesses right at most, in [0.5, 1]; nan where the run did not say."""
        stated = self.facts.get("attackers") or {}
        return {name: read_number((stated.get(name) or {}).get("coin_toss_accuracy")) for name in READERS}

    @property
    def dataset(self) -> str:
        """Name of the data."""
        return str(self.facts.get("dataset", self.setting("federation", "dataset", "unnamed data")))

    @property
    def status(self) -> str:
        """One of done, stopped-at-budget, interrupted."""
        return str(self.facts.get("status", "interrupted"))

    @property
    def num_rounds(self) -> int:
        """Rounds that were committed."""
        return int(self.facts.get("num_rounds", max((row["round"] for row in self.rounds), default=0)))

    @property
    def num_rounds_planned(self) -> int:
        """Rounds that were asked for."""
        return int(self.facts.get("num_rounds_planned", self.setting("training", "num-rounds", self.num_rounds)))

    def setting(self, section: str, key: str, default: Any) -> Any:
        """Return a setting of config.toml, or the default where it is not set."""
        return self.config.get(section, {}).get(key, default)

    def sentences(self, key: str) -> tuple[str, ...]:
        """Return a list of summary.json as sentences; empty where it is missing."""
        listed = self.facts.get(key) or ()
        return (listed,) if isinstance(listed, str) else tuple(str(item) for item in listed)


def read_run(run_folder: Path) -> RunResult:
    """Return what a run folder says.

    Args:
        run_folder: a folder with config.toml and at least one of summary.json and rounds.csv.

    Raises:
        ProtocolError: it is not a run folder, or a file in it is damaged.
    """
    folder = Path(run_folder)
    config_text = read_text(folder / "config.toml")
    if config_text is None:
        raise ProtocolError(
            f"{folder} is not a run folder (no config.toml): name the folder that `wardround run` wrote"
        )
    rows = read_rows(folder / "rounds.csv")
    facts = read_json(folder / "summary.json")
    if not rows and not facts:
        raise ProtocolError(f"{folder} holds no finished round yet: run `wardround resume {folder}` first")
    config = read_toml(folder / "config.toml", config_text)
    rounds = tuple(sorted((read_numbers(row, folder / "rounds.csv") for row in rows), key=lambda row: row["round"]))
    return _run(folder, config_text, config, facts, rounds)


def _run(
    folder: Path,
    config_text: str,
    config: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
    rounds: tuple[Mapping[str, float], ...],
) -> RunResult:
    privacy = config.get("privacy", {})
    placement = str(facts.get("placement", privacy.get("placement", "local")))
    federation = config.get("federation", {})
    is_regression = (
        "r2" in facts or federation.get("task") == "regression" or federation.get("dataset") == "synthetic-regression"
    )
    deltas = facts.get("target_delta", privacy.get("target-delta", NOT_KNOWN))
    hospitals = _hospitals(folder, facts, placement, deltas)
    epsilon = facts.get("epsilon") or {}
    last_total = _largest(row.get("epsilon_total", NOT_KNOWN) for row in rounds)
    unit = str(facts.get("unit", privacy.get("unit", "record")))
    is_bare = placement == "none"
    protocol = str(facts.get("protocol", "plain"))
    most = epsilon.get("max", _largest(hospital.epsilon for hospital in hospitals))
    return RunResult(
        folder=folder,
        config_text=config_text,
        config=config,
        facts=facts,
        is_regression=is_regression,
        placement=placement,
        unit=unit,
        words=cell_words(unit, placement, str(facts.get("record_is", "row")), protocol),
        epsilon_max=INFINITE if is_bare else read_number(most),
        epsilon_total=INFINITE if is_bare else read_number(epsilon.get("total", last_total)),
        readers={
            reader: INFINITE if is_bare else read_number((epsilon.get("readers") or {}).get(reader))
            for reader in READERS
        },
        target_delta=read_number(epsilon.get("target_delta", None if isinstance(deltas, dict) else deltas)),
        patient_overlap=int(facts.get("patient_overlap", privacy.get("patient-overlap", 1))),
        scores=_scores(facts, rounds, is_regression),
        rounds=rounds,
        hospitals=hospitals,
    )


def _scores(facts: Mapping[str, Any], rounds: tuple[Mapping[str, float], ...], is_regression: bool) -> dict[str, float]:
    last = rounds[-1] if rounds else {}
    score, baseline = ("r2", "majority_r2") if is_regression else ("accuracy", "majority_accuracy")
    return {
        "accuracy": read_number(facts.get(score, last.get("accuracy", NOT_KNOWN))),
        "auc": NOT_KNOWN if is_regression else read_number(facts.get("auc", last.get("auc", NOT_KNOWN))),
        "loss": read_number(facts.get("loss", last.get("loss", NOT_KNOWN))),
        "majority_accuracy": read_number(facts.get(baseline, NOT_KNOWN)),
    }


def _hospitals(folder: Path, facts: Mapping[str, Any], placement: str, deltas: Any) -> tuple[HospitalResult, ...]:
    path = folder / "hospitals.csv"
    rows: dict[str, list[dict[str, float]]] = {}
    sizes: dict[str, str] = {}
    for row in read_rows(path):
        name = row.get("hospital", "")
        numbers = read_numbers({key: value for key, value in row.items() if key != "hospital"}, path)
        rows.setdefault(name, []).append(numbers)
        sizes[name] = row.get("num_examples", "")
    known = {str(item.get("hospital")): item for item in facts.get("hospitals") or ()}
    spent = (facts.get("epsilon") or {}).get("hospitals") or {}
    results = []
    for name in sorted({*rows, *known, *spent}):
        own = sorted(rows.get(name, []), key=lambda row: row["round"])
        live = _largest(row.get("epsilon", NOT_KNOWN) for row in own)
        results.append(
            _hospital(
                name,
                own,
                {"num_train": sizes.get(name), **known.get(name, {})},
                epsilon=INFINITE if placement == "none" else read_number(spent.get(name, live)),
                target_delta=read_number(deltas.get(name) if isinstance(deltas, dict) else deltas),
            )
        )
    return tuple(results)


def _hospital(
    name: str, rows: list[dict[str, float]], known: Mapping[str, Any], *, epsilon: float, target_delta: float
) -> HospitalResult:
    if _is_small(known.get("num_test")):  # a score is a fraction of the test records, and tells how many there are
        rows = [row | dict.fromkeys(("loss", "accuracy", "auc"), NOT_KNOWN) for row in rows]
    trained = [row for row in rows if row["round"] >= 1 and row.get("selected") == 1]
    size = known.get("num_train")
    rates = _span(row.get("sample_rate", NOT_KNOWN) for row in trained)
    return HospitalResult(
        name=name,
        size=str(size) if _is_small(size) else number_text(read_number(size), 0),
        num_train=read_number(size),
        num_test=read_number(known.get("num_test", NOT_KNOWN)),
        rounds_selected=len(trained),
        rounds_completed=sum(row.get("completed") == 1 for row in trained),
        noise_multiplier=_span(row.get("noise_multiplier", NOT_KNOWN) for row in trained),
        sample_rate=rates if not _is_small(size) or rates == (1.0, 1.0) else (NOT_KNOWN, NOT_KNOWN),
        target_delta=target_delta,
        epsilon=epsilon,
        majority_accuracy=read_number(known.get("majority_accuracy", known.get("majority_r2", NOT_KNOWN))),
        rows=tuple(rows),
        **{key: _last(row.get(key, NOT_KNOWN) for row in rows) for key in ("loss", "accuracy", "auc")},
    )


def _is_small(count: Any) -> bool:
    return isinstance(count, str) and count.startswith("<")


def _last(values: Iterable[float]) -> float:
    return next((value for value in reversed(list(values)) if value == value), NOT_KNOWN)


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if value == value), default=NOT_KNOWN)


def _span(values: Iterable[float]) -> tuple[float, float]:
    present = [value for value in values if value == value]
    return (min(present), max(present)) if present else (NOT_KNOWN, NOT_KNOWN)
