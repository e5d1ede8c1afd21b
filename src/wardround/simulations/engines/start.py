"""Starting Ray: quiet, without dashboard, and if wished in the background while the caller loads its data.

Ray takes three seconds to start, most of them waiting for its own processes. This file imports nothing but the standard
library until then.
"""

import logging
import os
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from wardround.errors import ConfigError, WardroundError
from wardround.simulations.engines.ray_internals import (
    few_processes,
    of_our_own,
    reread_authentication,
    same_end,
    take_back_sigterm,
)

__all__ = ["check_capacity", "check_gpus", "check_reachable", "early_ray", "start_ray", "worker_capacity"]

_ONE_START_AT_A_TIME = threading.Lock()

# In a notebook Ray misses packages for tables that nobody looks at, as soon as it is imported.
logging.getLogger("ray.widgets.util").setLevel(logging.ERROR)


def start_ray(num_workers: int) -> bool:
    """Connect to the Ray of RAY_ADDRESS, or start one here; return False if this process has one already.

    Args:
        num_workers: processes to start ahead of time, where Ray is started here.

    Raises:
        WardroundError: Ray can't be started or reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # About what a later Ray will do with GPUs that workers do not ask for: they get none, now and then.
    warnings.filterwarnings("ignore", message="Tip: In future versions of Ray", category=FutureWarning)
    import ray

    address = os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = {"address": address}
    try:
        with _ONE_START_AT_A_TIME, ExitStack() as stack:
            if ray.is_initialized():
                take_back_sigterm()
                return False
            if address:
                check_reachable(address)
                reread_authentication()
            else:
                # Ray starts as many processes ahead of time as it has processors: one for each worker is what is
                # needed. They start with the node, not when `ray.init` connects to it: it looks for the node once a
                # second only.
                settings = {"enable_worker_prestart": True}
                where = {"address": "local", "num_cpus": num_workers, "_system_config": settings}
                stack.enter_context(few_processes())
                stack.enter_context(of_our_own())
            stack.enter_context(same_end())
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **where)
            take_back_sigterm()
    except (OSError, RuntimeError, ValueError) as error:
        advice = "check that the cluster runs and has this Ray version" if address else "look into /tmp/ray"
        raise WardroundError(f"Ray did not start (RAY_ADDRESS = {address}): {error}; {advice}") from error
    return True


@contextmanager
def early_ray(num_workers: int) -> Iterator[None]:
    """Start Ray in the background while this is entered, and shut it down at the end if it was started here.

    Whoever needs Ray calls `start_ray`, which waits for this start and, where it failed, says why by failing again.
    """
    # Before the thread: it would share the interpreter with the caller's imports, and start its processes later.
    import ray

    # The kernel kills Ray's processes when the thread that started them ends: it stays until this is left.
    with ThreadPoolExecutor(1, "ray-start") as thread:
        started_here = thread.submit(start_ray, num_workers)
        try:
            yield
        finally:
            if started_here.exception() is None and started_here.result():
                ray.shutdown()


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


def check_gpus(**wanted: Any) -> None:
    """Refuse workers that would wait for ever for GPUs that are not in the Ray of this process (see `check_capacity`).

    Raises:
        ConfigError: more GPUs are needed than there are.
    """
    import ray

    check_capacity([node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]], **wanted)


def check_capacity(gpus: Sequence[float], *, num_workers: int, gpus_per_worker: float) -> None:
    """Refuse workers for which machines with these numbers of GPUs have not enough.

    Raises:
        ConfigError: more GPUs are needed than there are.
    """
    capacity = worker_capacity(gpus, gpus_per_worker)
    if capacity < num_workers:
        raise ConfigError(
            f"gpus-per-worker = {gpus_per_worker} with {num_workers} workers does not fit the {sum(gpus):g} GPUs "
            f"that Ray sees, which hold {capacity}: lower num-workers or gpus-per-worker ([simulation])"
        )


def worker_capacity(gpus: Sequence[float], gpus_per_worker: float) -> int:
    """Return how many workers fit machines with these numbers of GPUs; a worker never straddles two machines.

    >>> worker_capacity([2.0, 1.0], 0.5), worker_capacity([2.0, 1.0], 2), worker_capacity([], 0.1)
    (6, 1, 0)
    """
    # A fraction must fit inside one GPU; the tolerance lets a tenth fit ten times.
    if gpus_per_worker < 1:
        return sum(int(count) * int(1 / gpus_per_worker + 1e-9) for count in gpus)
    return sum(int(count / gpus_per_worker) for count in gpus)
