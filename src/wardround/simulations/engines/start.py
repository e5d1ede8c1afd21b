"""Starting Ray: quiet, without dashboard, and if wished in the background while the caller loads its data.

Ray takes three seconds to start, most of them waiting for its own processes. This file imports nothing but the standard
library until then.
"""

import importlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from wardround.errors import WardroundError
from wardround.simulations.engines.ray_internals import few_processes, of_our_own, reread_authentication

__all__ = ["EarlyStart", "check_reachable", "start_ray"]


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

    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_reachable(address)
    where: dict[str, Any] = {"address": address}
    if not address:
        # Ray starts as many processes ahead of time as it has processors: one for each worker is what is needed. They
        # start with the node, not when `ray.init` connects to it: it looks for the node once a second only.
        settings = {"enable_worker_prestart": True}
        where = {"address": "local", "num_cpus": num_workers, "_system_config": settings}
    try:
        with ExitStack() as stack:
            if address:
                reread_authentication()
            else:
                stack.enter_context(few_processes())
                stack.enter_context(of_our_own())
            stack.enter_context(_same_end())
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **where)
    except (OSError, RuntimeError, ValueError) as error:
        advice = "check that the cluster runs and has this Ray version" if address else "look into /tmp/ray"
        raise WardroundError(f"Ray did not start (RAY_ADDRESS = {address}): {error}; {advice}") from error
    return True


@contextmanager
def _same_end() -> Iterator[None]:
    """Keep what this process does on SIGTERM, which `ray.init` takes over where it is called in the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and before not in (signal.SIG_DFL, None):
        signal.signal(signal.SIGTERM, before)


class EarlyStart:
    """Ray, starting in the background; a context manager that shuts it down at the end if it was started here."""

    def __init__(self, num_workers: int) -> None:
        """Import Ray, begin to start it, and return."""
        self._num_workers = num_workers
        self._started_here = False
        self._error: Exception | None = None
        self._ready, self._over = threading.Event(), threading.Event()
        # Before the thread: it would share the interpreter with the caller's imports, and start its processes later.
        importlib.import_module("ray")
        threading.Thread(target=self._start, name="ray-start", daemon=True).start()

    def wait(self) -> None:
        """Return when Ray is there.

        Raises:
            WardroundError: Ray can't be started or reached.
        """
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ready.wait()
        if self._started_here:
            import ray

            ray.shutdown()
        self._over.set()

    def _start(self) -> None:
        try:
            self._started_here = start_ray(self._num_workers)
        except Exception as error:
            self._error = error
        self._ready.set()
        # The kernel kills Ray's processes when the thread that started them ends, so it stays.
        self._over.wait()


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
