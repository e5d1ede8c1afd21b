"""Joining and leaving Ray, never waiting for resources that do not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround.errors import ConfigError
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.start import EarlyStart, start_ray
from wardround.simulations.engines.worker import Worker

__all__ = ["Cluster", "Seat", "join_cluster", "worker_capacity"]


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """A worker's place: its hospitals stay when the process behind it is replaced.

    Attributes:
        nodes: the hospitals that are served here.
        actor: the Ray actor; None when there is none at the moment.
        ready: Ray reference that is there once the actor is prepared, or holds the error that prevented it.
        states: for each node that keeps something, the reference to the latest states that include it.
    """

    nodes: Sequence[Node]
    actor: Any
    ready: Any
    states: dict[int, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The Ray that a grid works on.

    Attributes:
        ray: the module, connected.
        started_here: it ends with the grid.
        gpus_per_worker: what each worker reserves.
    """

    ray: Any
    started_here: bool
    gpus_per_worker: float

    def new_worker(self, num_threads: int, search_path: Sequence[str]) -> Any:
        """Return a new actor, which may still be starting.

        It reserves no processors: a worker that had to wait for one might wait for ever.
        """
        actor_class = self.ray.remote(Worker).options(
            num_cpus=0, num_gpus=self.gpus_per_worker, max_restarts=0, scheduling_strategy="SPREAD"
        )
        return actor_class.remote(search_path, num_threads)

    def leave(self) -> None:
        """Shut Ray down if it was started here."""
        if self.started_here:
            self.ray.shutdown()


def join_cluster(num_workers: int, gpus_per_worker: float, early: EarlyStart | None = None) -> Cluster:
    """Return the Ray of this process (that of `early`, once it is there), or of RAY_ADDRESS, or a new one here.

    Raises:
        ConfigError: a number is out of range, or more GPUs are needed than there are.
        WardroundError: Ray can't be started or reached.
    """
    if num_workers < 1:
        raise ConfigError(f"num-workers = {num_workers} must be >= 1 ([simulation] num-workers)")
    if gpus_per_worker < 0 or (gpus_per_worker > 1 and gpus_per_worker != int(gpus_per_worker)):
        raise ConfigError(
            f"gpus-per-worker = {gpus_per_worker} must be 0, a fraction of one GPU, or a whole number "
            "([simulation] gpus-per-worker)"
        )
    if early is not None:
        early.wait()
    started_here = start_ray(num_workers)
    import ray

    cluster = Cluster(ray=ray, started_here=started_here, gpus_per_worker=gpus_per_worker)
    if gpus_per_worker:
        gpus = [node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]]
        capacity = worker_capacity(gpus, gpus_per_worker)
        if capacity < num_workers:
            cluster.leave()
            raise ConfigError(
                f"gpus-per-worker = {gpus_per_worker} with {num_workers} workers does not fit the {sum(gpus):g} GPUs "
                f"that Ray sees, which hold {capacity}: lower num-workers or gpus-per-worker ([simulation])"
            )
    return cluster


def worker_capacity(gpus: Sequence[float], gpus_per_worker: float) -> int:
    """Return how many workers fit machines with these numbers of GPUs; a worker never straddles two machines.

    >>> worker_capacity([2.0, 1.0], 0.5), worker_capacity([2.0, 1.0], 2), worker_capacity([], 0.1)
    (6, 1, 0)
    """
    # A fraction must fit inside one GPU; the tolerance lets a tenth fit ten times.
    if gpus_per_worker < 1:
        return sum(int(count) * int(1 / gpus_per_worker + 1e-9) for count in gpus)
    return sum(int(count / gpus_per_worker) for count in gpus)
