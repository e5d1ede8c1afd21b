"""Run a study: all its runs over one pool of Ray workers, resumable, one bad run losing none of the others.

Whole runs are spread over workers, each with the stacked engine: at under a second a run, starting Ray for each would
cost more than the training. Results are independent of the number of workers, since every run is.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.config import config_to_toml
from wardround.errors import WardroundError
from wardround.json_records import json_values
from wardround.simulations.studies.noise_on_average import measure_noise
from wardround.simulations.studies.study import Study, StudyRun
from wardround.simulations.studies.study_files import begin_or_check, versions_of
from wardround.simulations.studies.study_records import RunRows, StudyFacts
from wardround.simulations.studies.study_run import read_result
from wardround.simulations.studies.study_tables import StudyTables, write_noise
from wardround.simulations.studies.workers import place_of, run_all

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A study's results, as its folder has them: tables and a folder per run; why runs have no row, by run."""

    folder: Path
    num_runs: int
    failures: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints: where the tables are, and what is in results.csv."""
        with (self.folder / "results.csv").open(encoding="utf-8", newline="") as file:
            results = list(csv.DictReader(file))
        return {"folder": str(self.folder), "num_runs": self.num_runs, "failures": self.failures, "results": results}


def compare(
    study: Study,
    folder: Path,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Comparison:
    """Run what is left of a study and write results.csv and hospitals.csv.

    Args:
        study: its runs.
        folder: new, empty, or of the same study before.
        num_workers: processes (>= 1); None is [simulation] num-workers of the base, or one per processor.
        progress: called after every run with how many are done, how many there are, and the run's name.

    Raises:
        ConfigError: a run's settings contradict each other, or the folder holds another study.
        WardroundError: all runs failed.
    """
    runs = study.runs()
    begin_or_check(folder, "study.json", json_values(_description(study, runs)))
    tables = StudyTables(folder, runs)
    for item in runs:
        if (found := read_result(place_of(folder, item))) is not None:
            tables.add(item, found)
    todo = [item for item in runs if item.name not in tables.done]

    def done(item: StudyRun, result: RunRows | None, reason: str) -> None:
        tables.add(item, result, reason)
        tables.write(is_synced=False)
        if progress is not None:
            progress(tables.num_tried, len(runs), item.name)

    tables.write()
    if progress is not None and tables.done:
        progress(tables.num_tried, len(runs), "found done")

    def measure() -> None:
        if study.placements:
            measured = measure_noise(study.units, study.placements, max_grad_norm=study.base.privacy.max_grad_norm)
            write_noise(folder, measured)

    if todo:
        run_all(todo, folder, study.base, done, num_workers=num_workers, meanwhile=measure)
        tables.write()
    else:
        measure()
    if not tables.done:
        name, reason = next(iter(tables.failures.items()))
        raise WardroundError(f"all {len(runs)} runs failed; {name}: {reason}")
    return Comparison(folder=folder, num_runs=len(runs), failures=tables.failures)


def _description(study: Study, runs: Sequence[StudyRun]) -> StudyFacts:
    return StudyFacts(
        name=study.name,
        **study.varied,
        base=config_to_toml(study.base),
        versions=versions_of(study.base),
        runs={item.name: config_to_toml(item.config) for item in runs},
        vary=study.vary.texts or None,
        of_baselines=study.of_baselines.texts or None,
        of_placements=study.of_placements.texts or None,
        variants=study.variants.texts or None,
    )
