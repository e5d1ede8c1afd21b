"""Read a run folder into frozen records, whatever stage the run reached.

Left out on purpose: the ledger and the model. Epsilon is taken as written by the run; nothing is recomputed here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cells import READERS, cell_in_words
from wardround.reports.files import (
    NOT_KNOWN,
    as_written,
    read_number,
    read_numbers,
    read_rows,
    read_summary,
    read_text,
    read_toml,
)
from wardround.reports.numbers import number_text
from wardround.reports.results import HospitalResult, RunResult
from wardround.server.record.summaries import (
    EpsilonSummary,
    HospitalSummary,
    Protection,
    RegressionScores,
    Summary,
)

__all__ = ["NOT_KNOWN", "read_run"]

_Settings = Mapping[str, Mapping[str, Any]]


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
    rows = read_rows(folder / "rounds.csv", is_growing=True)
    summary = read_summary(folder)
    if not rows and summary is None:
        raise ProtocolError(f"{folder} holds no finished round yet: run `wardround resume {folder}` first")
    config = read_toml(folder / "config.toml", config_text)
    rounds = tuple(sorted((read_numbers(row, folder / "rounds.csv") for row in rows), key=lambda row: row["round"]))
    with as_written(folder):
        return _run(folder, config_text, config, summary, rounds)


def _run(
    folder: Path, config_text: str, config: _Settings, summary: Summary | None, rounds: tuple[Mapping[str, float], ...]
) -> RunResult:
    protection = _protection(config, summary)
    cell = cell_in_words(protection.unit, protection.placement, protection.mechanism)
    overlap = summary.patient_overlap if summary else int(config.get("privacy", {}).get("patient-overlap", 1))
    protocol = summary.settings.protocol if summary else ""
    hospitals = _hospitals(folder, summary, protection, is_private=cell.is_private)
    spent = _spent(summary, hospitals, rounds, protection.target_delta)
    if not cell.is_private:
        spent = replace(spent, max=math.inf, total=math.inf, readers=dict.fromkeys(READERS, math.inf))
    is_regression = _is_regression(config, summary)
    return RunResult(
        folder=folder,
        config_text=config_text,
        config=config,
        summary=summary,
        is_regression=is_regression,
        placement=protection.placement,
        unit=protection.unit,
        words=cell.words(record_is=protection.record_is, protocol=protocol, patient_overlap=overlap),
        epsilon_max=spent.max,
        epsilon_total=spent.total,
        readers={reader: spent.readers.get(reader, NOT_KNOWN) for reader in READERS},
        target_delta=NOT_KNOWN if spent.target_delta is None else spent.target_delta,
        patient_overlap=overlap,
        scores=_scores(summary, rounds, is_regression),
        rounds=rounds,
        hospitals=hospitals,
    )


def _protection(config: _Settings, summary: Summary | None) -> Protection:
    """Return what the summary says is protected, and while there is none what the settings say."""
    if summary:
        return summary.protection
    privacy = config.get("privacy", {})
    deltas = privacy.get("target-delta", NOT_KNOWN)
    return Protection(
        unit=str(privacy.get("unit", "record")),
        record_is="row",
        own_statistics=None,
        placement=str(privacy.get("placement", "local")),
        relation="",
        mechanism="",
        target_delta=dict(deltas) if isinstance(deltas, dict) else read_number(deltas),
    )


def _is_regression(config: _Settings, summary: Summary | None) -> bool:
    data = config.get("federation", {})
    tasks = (summary and summary.facts.task, data.get("task"), str(data.get("dataset")).partition("-")[2])
    return (summary is not None and isinstance(summary.scores, RegressionScores)) or "regression" in tasks


def _spent(
    summary: Summary | None,
    hospitals: Sequence[HospitalResult],
    rounds: Sequence[Mapping[str, float]],
    target_delta: float | Mapping[str, float],
) -> EpsilonSummary:
    """Return what the summary says was spent, and while there is none what the tables say."""
    common = target_delta if isinstance(target_delta, float | int) else None
    if summary:
        stated = summary.epsilon.target_delta
        return replace(summary.epsilon, target_delta=common if stated is None else stated)
    return EpsilonSummary(
        max=_largest(hospital.epsilon for hospital in hospitals),
        total=_largest(row.get("epsilon_total", NOT_KNOWN) for row in rounds),
        hospitals={},
        target_delta=common,
        readers={},
    )


def _scores(summary: Summary | None, rounds: Sequence[Mapping[str, float]], is_regression: bool) -> dict[str, float]:
    last = rounds[-1] if rounds else {}
    numbers = {key: last.get(key, NOT_KNOWN) for key in ("accuracy", "auc", "loss")}
    if summary and summary.scores:
        stated = {"accuracy": summary.scores.score, "auc": summary.scores.auc, "loss": summary.loss}
        numbers |= {key: value for key, value in stated.items() if value is not None}
    if is_regression:
        numbers["auc"] = NOT_KNOWN
    return numbers | {"majority_accuracy": read_number(summary and summary.scores and summary.scores.majority)}


def _hospitals(
    folder: Path, summary: Summary | None, protection: Protection, *, is_private: bool
) -> tuple[HospitalResult, ...]:
    path = folder / "hospitals.csv"
    rows: dict[str, list[dict[str, float]]] = {}
    sizes: dict[str, str] = {}
    for row in read_rows(path, is_growing=True):
        name = row.get("hospital", "")
        numbers = read_numbers({key: value for key, value in row.items() if key != "hospital"}, path)
        rows.setdefault(name, []).append(numbers)
        sizes[name] = row.get("num_examples", "")
    known = {item.hospital: item for item in summary.hospitals} if summary else {}
    spent = summary.epsilon.hospitals if summary else {}
    deltas = protection.target_delta
    results = []
    for name in sorted({*rows, *known, *spent}):
        own = sorted(rows.get(name, []), key=lambda row: row["round"])
        live = _largest(row.get("epsilon", NOT_KNOWN) for row in own)
        results.append(
            _hospital(
                known.get(name) or _not_yet_known(name, sizes.get(name, "")),
                own,
                epsilon=spent.get(name, live) if is_private else math.inf,
                target_delta=read_number(deltas.get(name) if isinstance(deltas, Mapping) else deltas),
            )
        )
    return tuple(results)


def _not_yet_known(name: str, size: str) -> HospitalSummary:
    # A score is a fraction of the test records, and tells how many there are: they may be few until the run says.
    return HospitalSummary(hospital=name, num_train=size, num_test="<10", majority_score=None)


def _hospital(
    known: HospitalSummary, rows: list[dict[str, float]], *, epsilon: float, target_delta: float
) -> HospitalResult:
    if _is_small(known.num_test):
        rows = [row | dict.fromkeys(("loss", "accuracy", "auc"), NOT_KNOWN) for row in rows]
    trained = [row for row in rows if row["round"] >= 1 and row.get("selected") == 1]
    size = known.num_train
    rates = _span(row.get("sample_rate", NOT_KNOWN) for row in trained)
    return HospitalResult(
        name=known.hospital,
        size=str(size) if _is_small(size) else number_text(read_number(size), 0),
        num_train=read_number(size),
        num_test=read_number(known.num_test),
        rounds_selected=len(trained),
        rounds_completed=sum(row.get("completed") == 1 for row in trained),
        noise_multiplier=_span(row.get("noise_multiplier", NOT_KNOWN) for row in trained),
        sample_rate=rates if not _is_small(size) or rates == (1.0, 1.0) else (NOT_KNOWN, NOT_KNOWN),
        target_delta=target_delta,
        epsilon=epsilon,
        majority_accuracy=read_number(known.majority_score),
        rows=tuple(rows),
        **{key: _last(row.get(key, NOT_KNOWN) for row in rows) for key in ("loss", "accuracy", "auc")},
    )


def _is_small(count: int | str | None) -> bool:
    return isinstance(count, str) and count.startswith("<")


def _last(values: Iterable[float]) -> float:
    return next((value for value in reversed(list(values)) if value == value), NOT_KNOWN)


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if value == value), default=NOT_KNOWN)


def _span(values: Iterable[float]) -> tuple[float, float]:
    present = [value for value in values if value == value]
    return (min(present), max(present)) if present else (NOT_KNOWN, NOT_KNOWN)
