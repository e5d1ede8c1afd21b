"""The worker processes that runs of a study are spread over: whole runs, one after the other in each.

What is left out on purpose: which runs there are, and what comes of their rows.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wardround.config import Config
from wardround.errors import WardroundError
from wardround.simulations.engines.gpu_shares import keep_to_share, share_of_each
from wardround.simulations.engines.start import early_ray, start_ray
from wardround.simulations.studies.data_once import DataOnce
from wardround.simulations.studies.restarts import released_alike, set_aside_what_a_restart_cut_off
from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_records import RunRows
from wardround.simulations.studies.study_run import finish_run

__all__ = ["place_of", "run_all"]

_TRIES = 3


def place_of(folder: Path, item: StudyRun) -> Path:
    """Return where a run of a study is kept."""
    return folder / "runs" / item.name


def run_all(
    todo: Sequence[StudyRun],
    folder: Path,
    base: Config,
    done: Callable[[StudyRun, RunRows | None, str], None],
    *,
    num_workers: int | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run, or go on with, some runs of a study; one that fails loses none of the others.

    Args:
        todo: which (>= 1).
        folder: of the study.
        base: whose [simulation] and device say how many workers there are, and what they have of a GPU.
        done: called after each run with its rows, or with none and the reason.
        num_workers: processes (>= 1); None is [simulation] num-workers of the base, or one per processor.
        meanwhile: called while the workers are being started.

    Raises:
        WardroundError: the workers can't be started, or the folder not be written.
    """
    num_workers = min(num_workers or base.simulation.num_workers or os.cpu_count() or 1, len(todo))
    with early_ray(num_workers):
        meanwhile()
        set_aside_what_a_restart_cut_off(folder, [(item, place_of(folder, item)) for item in todo])
        _spread(todo, folder, num_workers, _gpu_share(base, num_workers), done)


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


def _spread(
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
                running[actor.finish.remote(item, place_of(folder, item).absolute())] = (item, actor)
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


def _gpu_share(base: Config, num_workers: int) -> float:
    """Return the share of a GPU that each worker has: as set, or, with device = "cuda", an equal one."""
    if base.simulation.gpus_per_worker or base.training.device != "cuda":
        return base.simulation.gpus_per_worker
    import torch

    return share_of_each(num_workers, torch.cuda.device_count())
