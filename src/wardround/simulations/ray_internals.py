"""The only file that touches Ray's insides: which processes `ray.init` starts.

Beside what runs tasks, Ray starts an autoscaler and a process that reads log files, whatever `ray.init` is told. A Ray
that lives as long as one simulation on one machine needs neither, and each costs .7 to .9 s of processor time just when
the workers start. Read from ray 2.55 and held by tests/simulations/test_cluster.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

__all__ = ["few_processes"]


@contextmanager
def few_processes() -> Iterator[None]:
    """Let `ray.init` start a Ray without autoscaler and log reader while this is entered."""
    from ray._private import parameter

    settings = parameter.RayParams
    parameter.RayParams = partial(settings, no_monitor=True, include_log_monitor=False)
    try:
        yield
    finally:
        parameter.RayParams = settings
