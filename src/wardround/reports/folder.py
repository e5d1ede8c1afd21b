"""Read a run folder into frozen records, whatever stage the run reached.

Left out on purpose: the ledger and the model. Epsilon is taken as written by the run; nothing is recomputed here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.json_records import read_json_record
from wardround.privacy.cells import READERS, cell_in_words
from wardround.reports.files import (
    NOT_KNOWN,
    as_written,
    each_row,
    is_small,
    read_number,
    read_numbers,
    read_rows,
    read_summary,
    read_text,
    read_toml,
)
from wardround.reports.numbers import number_text
from wardround.reports.results import MOST_DRAWN, HospitalResult, RunResult
from wardround.reports.score_words import SCORE_WORDS, ScoreWords
from wardround.server.record.summaries import HospitalSummary, RegressionScores, Summary
from wardround.survival import SURVIVAL

__all__ = ["read_run", "run_of"]

_Settings = Mapping[str, Mapping[str, Any]]
_Row = Mapping[str, float]
_SCORES = ("loss", "accuracy", "auc")


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
    with as_written(folder):
        rounds = sorted((read_numbers(row, folder / "rounds.csv") for row in rows), key=lambda row: row["round"])
        return _run(folder, config_text, config, summary, tuple(rounds))


def _run(
    folder: Path, config_text: str, config: _Settings, stated: Summary | None, rounds: tuple[_Row, ...]
) -> RunResult:
    lines, sizes = _tables(folder / "hospitals.csv")
    summary = stated or _unfinished(config, rounds, lines)
    return run_of(folder, config_text, config, summary, rounds, _hospitals_of(lines, sizes, summary))


def run_of(
    folder: Path,
    config_text: str,
    config: _Settings,
    summary: Summary,
    rounds: tuple[_Row, ...] = (),
    hospitals: tuple[HospitalResult, ...] = (),
) -> RunResult:
    """Return the run that a summary and its settings tell of.

    Args:
        folder: of the run.
        config_text: its config.toml.
        config: the same, parsed; whatever is not in it is as if it were not set.
        summary: of the run.
        rounds: lines of rounds.csv, by round; none where they are not at hand.
        hospitals: by name; likewise.
    """
    protection = summary.protection
    cell = cell_in_words(protection.unit, protection.placement, protection.mechanism)
    spent = summary.epsilon
    delta = protection.target_delta if spent.target_delta is None else spent.target_delta
    largest = spent if cell.is_private else replace(spent, max=math.inf, total=math.inf)
    readers = {name: spent.readers.get(name, NOT_KNOWN) if cell.is_private else math.inf for name in READERS}
    settings, facts = summary.settings, summary.facts
    protocol = settings.protocol or config.get("aggregation", {}).get("protocol", "plain")
    noise = facts.noise or config.get("simulation", {}).get("noise", "seeded")
    score_words = SCORE_WORDS.get(_task(config, summary), SCORE_WORDS["classification"])
    return RunResult(
        folder=folder,
        config_text=config_text,
        config=config,
        summary=replace(
            summary, settings=replace(settings, protocol=str(protocol)), facts=replace(facts, noise=str(noise))
        ),
        score_words=score_words,
        words=cell.words(
            record_is=protection.record_is,
            protocol=settings.protocol,
            patient_overlap=summary.patient_overlap,
            has_own_models=settings.personal is not None,
        ),
        epsilon=replace(largest, target_delta=None if isinstance(delta, Mapping) else delta, readers=readers),
        scores=_scores(summary, rounds, score_words),
        rounds=rounds,
        hospitals=hospitals,
    )


def _unfinished(config: _Settings, rounds: Sequence[_Row], lines: Mapping[str, Sequence[_Row]]) -> Summary:
    """Return what the tables and settings of a run say that has no summary yet."""
    privacy, training = config.get("privacy", {}), config.get("training", {})
    unit, placement = privacy.get("unit", "record"), privacy.get("placement", "local")
    cell = cell_in_words(unit, placement)
    num_rounds = int(max((row["round"] for row in rounds), default=0))
    table = {
        "dataset": config.get("federation", {}).get("dataset", "unnamed data"),
        "num_hospitals": len(lines),
        "num_rounds": num_rounds,
        "num_rounds_planned": training.get("num-rounds", num_rounds),
        "status": "interrupted",
        "unit": unit,
        "placement": placement,
        "relation": cell.relation if cell.is_private else "",
        "mechanism": "",
        "target_delta": privacy.get("target-delta", NOT_KNOWN),
        "epsilon": {
            "max": _largest(row.get("epsilon", NOT_KNOWN) for own in lines.values() for row in own),
            "total": _largest(row.get("epsilon_total", NOT_KNOWN) for row in rounds),
        },
        "patient_overlap": privacy.get("patient-overlap", 1),
        "measured": not rounds or any(row.get("loss", NOT_KNOWN) == row.get("loss", NOT_KNOWN) for row in rounds),
        "loss": None,
        "seconds": NOT_KNOWN,
        "seed": 0,
        "model": config.get("model", {}).get("name", "logistic"),
        "left_out": [],
        "hospitals": [],
        "leaves_hospital": {},
    }
    return read_json_record(Summary, table)


def _task(config: _Settings, summary: Summary) -> str:
    data = config.get("federation", {})
    stated = summary.facts.task or data.get("task")
    if isinstance(summary.scores, RegressionScores) or str(data.get("dataset")).endswith("-regression"):
        stated = "regression"
    return SURVIVAL if "time-edges" in data else str(stated)


def _scores(summary: Summary, rounds: Sequence[_Row], words: ScoreWords) -> dict[str, float]:
    columns = {"score": "accuracy", "auc": "auc", "loss": "loss"}
    numbers = {key: _last(row.get(column, NOT_KNOWN) for row in rounds) for key, column in columns.items()}
    if summary.scores:
        stated = {"score": summary.scores.score, "auc": summary.scores.auc, "loss": summary.loss}
        numbers |= {key: value for key, value in stated.items() if value is not None}
    if not words.has_auc:
        numbers["auc"] = NOT_KNOWN
    further = ("auc_pooled", "concordance", "brier_integrated", "brier_kaplan_meier")
    return numbers | {
        **{name: read_number(getattr(summary.scores, name, None)) for name in further},
        "majority_score": read_number(summary.scores and summary.scores.majority),
    }


def _tables(path: Path) -> tuple[dict[str, list[_Row]], dict[str, str]]:
    """Return by hospital its lines as numbers, by round, and its training records as the last line has them.

    Of many hospitals the lines are not kept of rounds between two in which nothing happened to a hospital.
    """
    lines: dict[str, list[_Row]] = {}
    sizes: dict[str, str] = {}
    for row in each_row(path, is_growing=True):
        name = row.pop("hospital", "")
        own, numbers = lines.setdefault(name, []), read_numbers(row, path)
        if len(lines) > MOST_DRAWN and len(own) > 1 and _is_quiet(own[-1]) and _is_quiet(numbers):
            own.pop()
        own.append(numbers)
        sizes[name] = row.get("num_examples", "")
    return {name: sorted(own, key=lambda row: row["round"]) for name, own in lines.items()}, sizes


def _is_quiet(row: _Row) -> bool:
    """Return whether the hospital was neither asked nor tested, so that the line says what the one before did."""
    return row.get("selected") == 0 and all(row.get(score, NOT_KNOWN) != row.get(score) for score in _SCORES)


def _hospitals_of(
    lines: Mapping[str, Sequence[_Row]], sizes: Mapping[str, str], summary: Summary
) -> tuple[HospitalResult, ...]:
    is_private = cell_in_words(summary.protection.unit, summary.protection.placement).is_private
    known = {item.hospital: item for item in summary.hospitals}
    spent, deltas = summary.epsilon.hospitals, summary.protection.target_delta
    results = []
    for name in sorted({*lines, *known, *spent}):
        own = lines.get(name, [])
        live = _largest(row.get("epsilon", NOT_KNOWN) for row in own)
        # A score is a fraction of the test records, and tells how many there are: they may be few until the run says.
        unknown = HospitalSummary(hospital=name, num_train=sizes.get(name, ""), num_test="<10", majority_score=None)
        epsilon = spent.get(name, live) if is_private else math.inf
        target_delta = read_number(deltas.get(name) if isinstance(deltas, Mapping) else deltas)
        kept = math.inf if summary.kept_round is None else summary.kept_round
        results.append(
            _hospital(known.get(name, unknown), own, epsilon=epsilon, target_delta=target_delta, kept_round=kept)
        )
    return tuple(results)


def _hospital(
    known: HospitalSummary, rows: Sequence[_Row], *, epsilon: float, target_delta: float, kept_round: float
) -> HospitalResult:
    if is_small(known.num_test):
        rows = [{**row} | dict.fromkeys(("loss", "accuracy", "auc"), NOT_KNOWN) for row in rows]
    trained = [row for row in rows if row["round"] >= 1 and row.get("selected") == 1]
    size = known.num_train
    rates = _span(row.get("sample_rate", NOT_KNOWN) for row in trained)
    return HospitalResult(
        name=known.hospital,
        size=str(size) if is_small(size) else number_text(read_number(size), 0),
        num_train=read_number(size),
        rounds_selected=len(trained),
        rounds_completed=sum(row.get("completed") == 1 for row in trained),
        noise_multiplier=_span(row.get("noise_multiplier", NOT_KNOWN) for row in trained),
        sample_rate=rates if not is_small(size) or rates == (1.0, 1.0) else (NOT_KNOWN, NOT_KNOWN),
        target_delta=target_delta,
        epsilon=epsilon,
        majority_score=read_number(known.majority_score),
        intervals=known.intervals or {},
        rows=tuple(rows),
        score=_last(row.get("accuracy", NOT_KNOWN) for row in rows if row["round"] <= kept_round),
        auc=_last(row.get("auc", NOT_KNOWN) for row in rows if row["round"] <= kept_round),
    )


def _last(values: Iterable[float]) -> float:
    return next((value for value in reversed(list(values)) if value == value), NOT_KNOWN)


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if value == value), default=NOT_KNOWN)


def _span(values: Iterable[float]) -> tuple[float, float]:
    present = [value for value in values if value == value]
    return (min(present), max(present)) if present else (NOT_KNOWN, NOT_KNOWN)
