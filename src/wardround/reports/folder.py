"""Read a run folder into frozen records, whatever stage the run reached.

Left out on purpose: the ledger and the model. Epsilon is taken as written by the run; nothing is recomputed here.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cells import READERS, cell_in_words
from wardround.reports.files import (
    NOT_KNOWN,
    as_written,
    read_json,
    read_number,
    read_numbers,
    read_rows,
    read_text,
    read_toml,
)
from wardround.reports.numbers import number_text
from wardround.reports.results import HospitalResult, RunResult

__all__ = ["NOT_KNOWN", "read_run"]


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
    with as_written(folder):
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
    data = config.get("federation", {})
    tasks = (facts.get("task"), data.get("task"), str(data.get("dataset")).partition("-")[2])
    is_regression = "r2" in facts or "regression" in tasks
    deltas = facts.get("target_delta", privacy.get("target-delta", NOT_KNOWN))
    epsilon = facts.get("epsilon") or {}
    unit = str(facts.get("unit", privacy.get("unit", "record")))
    cell = cell_in_words(unit, placement, str(facts.get("mechanism", "")))
    is_bare = not cell.is_private
    hospitals = _hospitals(folder, facts, deltas, is_bare=is_bare)
    overlap = int(facts.get("patient_overlap", privacy.get("patient-overlap", 1)))
    most = epsilon.get("max", _largest(hospital.epsilon for hospital in hospitals))
    return RunResult(
        folder=folder,
        config_text=config_text,
        config=config,
        facts=facts,
        is_regression=is_regression,
        placement=placement,
        unit=unit,
        words=cell.words(
            record_is=str(facts.get("record_is", "row")), protocol=str(facts.get("protocol")), patient_overlap=overlap
        ),
        epsilon_max=math.inf if is_bare else read_number(most),
        epsilon_total=math.inf
        if is_bare
        else read_number(epsilon.get("total", _largest(row.get("epsilon_total", NOT_KNOWN) for row in rounds))),
        readers={
            reader: math.inf if is_bare else read_number((epsilon.get("readers") or {}).get(reader))
            for reader in READERS
        },
        target_delta=read_number(epsilon.get("target_delta", None if isinstance(deltas, dict) else deltas)),
        patient_overlap=overlap,
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


def _hospitals(folder: Path, facts: Mapping[str, Any], deltas: Any, *, is_bare: bool) -> tuple[HospitalResult, ...]:
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
                epsilon=math.inf if is_bare else read_number(spent.get(name, live)),
                target_delta=read_number(deltas.get(name) if isinstance(deltas, dict) else deltas),
            )
        )
    return tuple(results)


def _hospital(
    name: str, rows: list[dict[str, float]], known: Mapping[str, Any], *, epsilon: float, target_delta: float
) -> HospitalResult:
    # A score is a fraction of the test records, and tells how many there are: they may be few until the run says.
    if _is_small(known.get("num_test", "<10")):
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
