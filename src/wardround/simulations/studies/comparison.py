"""Run a study: all its runs over one pool of Ray workers, resumable, one bad run losing none of the others.

Whole runs are spread over workers, each with the stacked engine: at under a second a run, starting Ray for each would
cost more than the training. Results are independent of the number of workers, since every run is.
"""

import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.code_digests import DECISIVE, version_of
from wardround.config import config_to_toml
from wardround.digests import digest_of
from wardround.disk import file_text, make_private_folder
from wardround.errors import ConfigError, WardroundError
from wardround.json_records import json_values
from wardround.parsing import from_json
from wardround.server.record.run_folder import make_new_folder
from wardround.simulations.engines.gpu_shares import keep_to_share, share_of_each
from wardround.simulations.engines.start import early_ray, start_ray
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.noise_on_average import measure_noise
from wardround.simulations.studies.restarts import released_alike, set_aside_what_a_restart_cut_off
from wardround.simulations.studies.study import Study, StudyRun
from wardround.simulations.studies.study_files import write_text
from wardround.simulations.studies.study_records import RunRows, StudyFacts
from wardround.simulations.studies.study_run import finish_run, read_result
from wardround.simulations.studies.study_tables import StudyTables, write_noise

__all__ = ["Comparison", "compare"]

_TRIES = 3


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
    _check_folder(folder, study, runs)
    tables = StudyTables(folder, runs)
    for item in runs:
        if (found := read_result(_place(folder, item))) is not None:
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
    num_workers = min(num_workers or study.base.simulation.num_workers or os.cpu_count() or 1, len(todo))
    with early_ray(num_workers) if todo else nullcontext():
        if study.placements:
            measured = measure_noise(study.units, study.placements, max_grad_norm=study.base.privacy.max_grad_norm)
            write_noise(folder, measured)
        if todo:
            set_aside_what_a_restart_cut_off(folder, [(item, _place(folder, item)) for item in todo])
            _run_all(todo, folder, num_workers, _gpu_share(study, num_workers), done)
            tables.write()
    if not tables.done:
        name, reason = next(iter(tables.failures.items()))
        raise WardroundError(f"all {len(runs)} runs failed; {name}: {reason}")
    return Comparison(folder=folder, num_runs=len(runs), failures=tables.failures)


class _StudyWorker:
    """A Ray actor that does whole runs, one after the other; what was imported stays."""

    def __init__(self, search_path: Sequence[str], gpu_share: float) -> None:
        keep_to_share(gpu_share)
        sys.path[:] = [*search_path, *(entry for entry in sys.path if entry not in search_path)]
        self._data = DataOnce()

    def finish(self, item: StudyRun, folder: Path) -> tuple[RunRows | None, str]:
        """Return the rows, or the reason why there are none."""
        try:
            return finish_run(item, folder, data=self._data, is_synced=not released_alike(item)), ""
        except WardroundError as error:
            return None, str(error)
        except Exception as error:
            return None, f"unexpected {type(error).__name__}: {error}"


def _run_all(
    todo: Sequence[StudyRun],
    folder: Path,
    num_workers: int,
    gpus_per_worker: float,
    done: Callable[[StudyRun, RunRows | None, str], None],
) -> None:
    start_ray(num_workers)  # waits for the early start, and says why where that failed
    import ray

    # One that dies (out of memory, killed) is started anew, and takes its run up after the last committed round.
    actor_class = ray.remote(_StudyWorker).options(
        num_cpus=0, num_gpus=gpus_per_worker, max_restarts=-1, max_task_retries=_TRIES - 1
    )
    idle = [actor_class.remote(sys.path, gpus_per_worker) for _ in range(num_workers)]
    waiting = list(reversed(todo))
    running: dict[Any, tuple[StudyRun, Any]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                item, actor = waiting.pop(), idle.pop()
                running[actor.finish.remote(item, _place(folder, item).absolute())] = (item, actor)
            (reference,), _ = ray.wait(list(running), num_returns=1)
            item, actor = running.pop(reference)
            idle.append(actor)
            try:
                result, reason = ray.get(reference)
            except ray.exceptions.RayError as error:
                result, reason = None, f"its worker died {_TRIES} times ({error}): use fewer workers"
            done(item, result, reason)
    finally:
        for actor in [*idle, *(actor for _, actor in running.values())]:
            ray.kill(actor)


def _gpu_share(study: Study, num_workers: int) -> float:
    """Return the share of a GPU that each worker has: as set, or, with device = "cuda", an equal one."""
    if study.base.simulation.gpus_per_worker or study.base.training.device != "cuda":
        return study.base.simulation.gpus_per_worker
    import torch

    return share_of_each(num_workers, torch.cuda.device_count())


def _place(folder: Path, item: StudyRun) -> Path:
    return folder / "runs" / item.name


def _check_folder(folder: Path, study: Study, runs: Sequence[StudyRun]) -> None:
    """Refuse a folder of another study: its results would be mixed with this one's."""
    wanted = _description(study, runs)
    path = folder / "study.json"
    if path.is_file():
        try:
            found = from_json(file_text(path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} can't be read ({error}): restore it, or name a new folder with --out") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{path} is no study's: restore it, or name a new folder with --out")
        if found.get("runs") != wanted.runs:
            raise ConfigError(f"--out {folder} holds another study (its settings differ): name a new folder")
        if found.get("versions") != wanted.versions:
            raise ConfigError(
                f"--out {folder} was begun with other versions or objects than now ({found.get('versions')}): "
                "go on with those, or name a new folder"
            )
        return
    make_new_folder(folder, "go on with the study that is in it")
    make_private_folder(folder / "runs")
    write_text(path, json.dumps(json_values(wanted), indent=1) + "\n")


def _description(study: Study, runs: Sequence[StudyRun]) -> StudyFacts:
    return StudyFacts(
        name=study.name,
        **study.varied,
        base=config_to_toml(study.base),
        versions={name: version_of(name) for name in DECISIVE} | _objects(study),
        runs={item.name: config_to_toml(item.config) for item in runs},
        vary=study.vary.texts or None,
        of_baselines=study.of_baselines.texts or None,
        of_placements=study.of_placements.texts or None,
        variants=study.variants.texts or None,
    )


def _objects(study: Study) -> dict[str, str]:
    """Return what tells the objects of a study from others, which its settings do not."""
    base = study.base
    handed = {"data": base.federation.handed, "model": base.model.handed, "strategy": base.aggregation.handed}
    told = {what: repr(sorted(found.code.items())) for what, found in handed.items() if found is not None}
    return {what: digest_of(text.encode()).hex() for what, text in told.items()}
