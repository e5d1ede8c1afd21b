"""Read the folder of a study: every row of its tables as a frozen record, and what its runs say of themselves.

Left out on purpose: means and intervals (see `study_statistics`), and running anything.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.errors import ProtocolError
from wardround.json_records import read_json_record
from wardround.privacy.attackers import AttackerFigures
from wardround.privacy.cells import READERS, Cell, CellWords, cell_in_words
from wardround.reports.files import NOT_KNOWN, as_written, read_json, read_number, read_summary, read_text
from wardround.reports.numbers import number_text
from wardround.server.record.summaries import Summary
from wardround.simulations.studies.study_records import StudyFacts

__all__ = ["NoiseRow", "StudyHospital", "StudyResult", "StudyRow", "read_study"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One run: a line of results.csv; nan where a cell is empty.

    Attributes:
        run: name, of its folder below runs/ too.
        baseline: its name, or "" for a run with privacy.
        unit: what is protected; "" for a baseline.
        placement: where the noise is added; "none" for a baseline.
        target_epsilon: wanted; nan where the noise was given.
        noise_multiplier: the largest of the hospitals'.
        seed: of the run.
        epsilon_max: the largest of the hospitals'.
        epsilon_total: of a patient in as many hospitals as allowed.
        epsilon_readers: by reader, "server", "hospital" and "recipient".
        accuracy: mean over hospitals by test records; r2 where the task is regression.
        auc: likewise.
        seconds: of the run's rounds.
        status: "done" or "stopped-at-budget".
        num_rounds: rounds committed.
        task: "classification" or "regression".
        target_delta: the delta that its largest and total epsilon are stated at; nan where the run did not say.
        attacker: how often one is right at most; nan where the run did not say.
    """

    run: str
    baseline: str
    unit: str
    placement: str
    target_epsilon: float
    noise_multiplier: float
    seed: int
    epsilon_max: float
    epsilon_total: float
    epsilon_readers: Mapping[str, float]
    accuracy: float
    auc: float
    seconds: float
    status: str
    num_rounds: int
    task: str
    target_delta: float
    attacker: AttackerFigures

    @property
    def level(self) -> tuple[str, float]:
        """What was held equal, and at which value: ("epsilon", 2.0) or ("noise", 1.0); of a baseline ("", 0.0)."""
        if self.baseline:
            return ("", 0.0)
        if self.target_epsilon == self.target_epsilon:
            return ("epsilon", self.target_epsilon)
        return ("noise", self.noise_multiplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHospital:
    """One hospital in one run: a line of hospitals.csv; nan where a cell is empty or may not be shown.

    `size` is the number of training records as it may be shown: a number, or "<10".
    """

    run: str
    hospital: str
    size: str
    num_examples: float
    noise_multiplier: float
    epsilon: float
    accuracy: float
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRow:
    """The noise on the average of n hospitals: a line of noise_on_average.csv."""

    unit: str
    placement: str
    num_hospitals: int
    noise_multiplier: float
    max_grad_norm: float
    num_coordinates: int
    stddev_measured: float
    stddev_theory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """A study as its folder has it, finished or not.

    Attributes:
        folder: of the study.
        facts: study.json.
        rows: results.csv, in its order.
        hospitals: hospitals.csv by run.
        failures: reason by run.
        noise: noise_on_average.csv.
        summaries: summary.json of one run per (unit, placement), by these; what is the same for all their runs.
    """

    folder: Path
    facts: StudyFacts
    rows: tuple[StudyRow, ...]
    hospitals: Mapping[str, tuple[StudyHospital, ...]]
    failures: Mapping[str, str]
    noise: tuple[NoiseRow, ...]
    summaries: Mapping[tuple[str, str], Summary]

    @property
    def num_runs(self) -> int:
        """How many runs the study has, done or not."""
        return len(self.facts.runs)

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted, so that `accuracy` is r2."""
        return any(row.task == "regression" for row in self.rows)

    @property
    def metric(self) -> tuple[str, str]:
        """The column that stands for utility, and its name: AUC, else accuracy, or r2."""
        if self.is_regression:
            return ("accuracy", "r2")
        return ("auc", "AUC") if any(row.auc == row.auc for row in self.rows) else ("accuracy", "Accuracy")

    def cell_of(self, unit: str, placement: str) -> Cell:
        """Return the cell of a row, as its runs state it."""
        summary = self.summaries.get((unit, placement))
        return cell_in_words(unit, placement, summary.protection.mechanism if summary else "")

    def words_of(self, unit: str, placement: str) -> CellWords:
        """Return what is said of the cell of a row, with what the runs state of their records."""
        # One data set for all runs, so that any of them tells.
        any_of_them = next(iter(self.summaries.values()), None)
        own = self.summaries.get((unit, placement))
        record_is = any_of_them.protection.record_is if any_of_them else "row"
        return self.cell_of(unit, placement).words(
            record_is=record_is, protocol=own.settings.protocol if own else "plain"
        )

    def words_of_noise(self, unit: str, placement: str) -> CellWords:
        """Return what is said of noise on the average, which is drawn once: not of what later rounds take back."""
        return cell_in_words(unit, placement).words()

    def cells_of(self, unit: str) -> dict[str, CellWords]:
        """Return what is said of the cells that the study compares for a unit, by placement, in the order of charts."""
        words = {placement: self.words_of(unit, placement) for placement in self.facts.placements}
        return dict(sorted(words.items(), key=lambda item: item[1].chart_order))

    @property
    def counted(self) -> str:
        """The noun for many of what a hospital's size is counted in: records, or patients."""
        return self.words_of("", "none").counted

    def noun(self, unit: str) -> str:
        """Return the noun for what a unit protects: a record may be a patient."""
        return next((words.unit for words in self.cells_of(unit).values()), unit)


def read_study(folder: Path) -> StudyResult:
    """Return the study of a folder.

    Raises:
        ProtocolError: it is not a study's folder, or a file in it is damaged.
    """
    table = read_json(folder / "study.json")
    if table is None or "runs" not in table:
        raise ProtocolError(f"{folder} is not a study's folder (no study.json in it): check the path")
    with as_written(folder):
        return _study(folder, read_json_record(StudyFacts, table, "study.json"))


def _study(folder: Path, facts: StudyFacts) -> StudyResult:
    rows = tuple(_row(cells, folder) for cells in _table(folder / "results.csv"))
    if strangers := [row.run for row in rows if row.run not in facts.runs]:
        raise ValueError(f"results.csv has the run {strangers[0]!r}, which is none of study.json")
    hospitals: dict[str, tuple[StudyHospital, ...]] = {}
    for cells in _table(folder / "hospitals.csv"):
        hospitals[cells["run"]] = (*hospitals.get(cells["run"], ()), _hospital(cells, folder))
    summaries: dict[tuple[str, str], Summary] = {}
    for row in rows:
        if (row.unit, row.placement) not in summaries and (summary := read_summary(_place(folder, row))):
            summaries[row.unit, row.placement] = summary
    return StudyResult(
        folder=folder,
        facts=facts,
        rows=rows,
        hospitals=hospitals,
        failures={cells["run"]: cells["reason"] for cells in _table(folder / "failures.csv")},
        noise=tuple(_noise(cells, folder) for cells in _table(folder / "noise_on_average.csv")),
        summaries=summaries,
    )


def _place(folder: Path, row: StudyRow) -> Path:
    return folder / "runs" / row.run


def _row(cells: Mapping[str, str], folder: Path) -> StudyRow:
    number = _reader_of(cells, folder / "results.csv")
    texts: Any = {key: cells[key] for key in ("run", "baseline", "unit", "placement", "status", "task")}
    return StudyRow(
        **texts,
        **{key: number(key) for key in ("target_epsilon", "noise_multiplier", "epsilon_max", "epsilon_total")},
        **{key: number(key) for key in ("accuracy", "auc", "seconds")},
        seed=int(cells["seed"]),
        num_rounds=int(number("num_rounds")),
        epsilon_readers={reader: number(f"epsilon_{reader}") for reader in READERS},
        target_delta=read_number(cells.get("target_delta")),
        attacker=AttackerFigures(
            coin_toss_accuracy=read_number(cells.get("coin_toss_accuracy")),
            tpr_at_fpr_1_percent=read_number(cells.get("tpr_at_fpr_0.01")),
            tpr_at_fpr_01_percent=read_number(cells.get("tpr_at_fpr_0.001")),
            gdp_mu=None,
            gdp_mu_error=NOT_KNOWN,
            by="",
        ),
    )


def _hospital(cells: Mapping[str, str], folder: Path) -> StudyHospital:
    number = _reader_of(cells, folder / "hospitals.csv")
    # A count below 10 is written as "<10": it is not drawn and not guessed, nor are scores on so few test records.
    is_scored = not cells.get("num_test", "").startswith("<")
    num_examples = number("num_examples")
    return StudyHospital(
        run=cells["run"],
        hospital=cells["hospital"],
        size=cells["num_examples"] if num_examples != num_examples else number_text(num_examples, 0),
        num_examples=num_examples,
        **{key: number(key) for key in ("noise_multiplier", "epsilon")},
        **{key: number(key) if is_scored else float("nan") for key in ("accuracy", "auc")},
    )


def _noise(cells: Mapping[str, str], folder: Path) -> NoiseRow:
    number = _reader_of(cells, folder / "noise_on_average.csv")
    return NoiseRow(
        unit=cells["unit"],
        placement=cells["placement"],
        num_hospitals=int(number("num_hospitals")),
        num_coordinates=int(number("num_coordinates")),
        **{key: number(key) for key in ("noise_multiplier", "max_grad_norm", "stddev_measured", "stddev_theory")},
    )


def _reader_of(cells: Mapping[str, str], path: Path) -> Any:
    def number(key: str) -> float:
        try:
            return read_number(cells[key])
        except ProtocolError as error:
            raise ProtocolError(f"{path}, {cells.get('run', '')} {key}: {error}") from None

    return number


def _table(path: Path) -> list[dict[str, str]]:
    text = read_text(path)
    if text is None:
        return []
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        if None in row or None in row.values():
            raise ProtocolError(
                f"{path} line {reader.line_num} does not have the columns of its header: restore the file"
            )
        rows.append(row)
    return rows
