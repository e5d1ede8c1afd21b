"""Starting, joining and leaving Ray: quiet, without dashboard, never waiting for resources that do not exist."""

import logging
import os
import socket
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround.errors import ConfigError, WardroundError
from wardround.simulations.nodes import Node
from wardround.simulations.worker import Worker

__all__ = ["Cluster", "Seat", "check_reachable", "join_cluster", "worker_capacity"]


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


def join_cluster(num_workers: int, gpus_per_worker: float) -> Cluster:
    """Return the Ray of this process, or that of RAY_ADDRESS, or a new one on this machine.

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
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _start(ray, num_workers)
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


def check_reachable(address: str, timeout_seconds: float = 5.0) -> None:
    """Refuse a "host:port" where nothing listens: Ray itself would try for minutes.

    Raises:
        WardroundError: no connection was possible within the time.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=timeout_seconds).close()
    except OSError as error:
        raise WardroundError(
            f"no Ray cluster answers at RAY_ADDRESS = {address}: {error}; start it, or unset RAY_ADDRESS to run here"
        ) from error


def _start(ray: Any, num_workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_reachable(address)
    # Ray starts as many processes ahead of time as it has processors: one for each worker is what is needed.
    where = {"address": address} if address else {"address": "local", "num_cpus": num_workers}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **where)
        except (OSError, RuntimeError, ValueError) as error:
            advice = "check that the cluster runs and has this Ray version" if address else "look into /tmp/ray"
            raise WardroundError(f"Ray did not start (RAY_ADDRESS = {address}): {error}; {advice}") from error
