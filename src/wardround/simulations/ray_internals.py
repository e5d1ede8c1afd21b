"""The only file that touches Ray's insides: which processes `ray.init` starts.

Beside what runs tasks, Ray starts an autoscaler, a process that reads log files and the server of its dashboard's
interface, whatever `ray.init` is told, and waits for the last. A Ray that lives as long as one simulation on one
machine needs none of them, and each costs .7 to .9 s of processor time just when the workers start. Read from ray 2.55
and held by tests/simulations/test_cluster.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["few_processes"]


@contextmanager
def few_processes() -> Iterator[None]:
    """Let `ray.init` start a Ray without autoscaler, log reader and interface server while this is entered."""
    from ray._private import node, parameter

    settings, start_api_server = parameter.RayParams, node.Node.start_api_server
    parameter.RayParams = partial(settings, no_monitor=True, include_log_monitor=False)
    node.Node.start_api_server = _nothing
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = settings, start_api_server


def _nothing(node: Any, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
    """Stand in for what starts the server."""
