"""The only file that touches Ray's insides: which processes `ray.init` starts, and who may join them.

Beside what runs tasks, Ray starts an autoscaler, a process that reads log files and the server of its dashboard's
interface, whatever `ray.init` is told, and waits for the last. A Ray that lives as long as one simulation on one
machine needs none of them, and each costs .7 to .9 s of processor time just when the workers start. It also listens on
an address that others reach, and whoever connects runs code, unless it is started with a token. Read from ray 2.55 and
held by tests/simulations/engines/test_cluster.py and test_ray_token.py.
"""

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["few_processes", "of_our_own", "reread_authentication", "same_end", "take_back_sigterm"]


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


@contextmanager
def of_our_own() -> Iterator[None]:
    """Let `ray.init` start a Ray that nobody else joins and that ends with this process, while this is entered.

    Who joins it must have a token of 256 random bits, which the processes that are started have in their environment
    and this one in memory; it is in no argument, log or file, and in this process's own environment only while Ray
    starts. A RAY_AUTH_MODE that is set is the user's, and stays. When the driver is killed, Ray's agents outlive it for
    as long as they try to reach what died with it: on one machine, where a connection only breaks with the process
    behind it, seconds are enough.
    """
    own = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    if "RAY_AUTH_MODE" not in os.environ:
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        reread_authentication()
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def reread_authentication() -> None:
    """Let Ray take its token, or none, from the environment as it is now: it keeps that of the Ray before."""
    from ray import _raylet

    insides: Any = _raylet
    insides.AuthenticationTokenLoader.instance().reset_cache()
    insides.Config.initialize("")


@contextmanager
def same_end() -> Iterator[None]:
    """Keep what this process does on SIGTERM while `ray.init` runs and after it: it would end the process, silently.

    Where SIGTERM has its default effect, Ray's is better: it ends the processes that were started.
    """
    from ray._private import utils

    set_handler = utils.set_sigterm_handler
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        utils.set_sigterm_handler = _ignore
    try:
        yield
    finally:
        utils.set_sigterm_handler = set_handler


def take_back_sigterm() -> None:
    """Let what Python does on SIGTERM be all that is done, once Ray runs; only the main thread can.

    Ray also has a handler in C++, which prints a stack, sets an alarm, and hands the signal on: a process that has not
    ended three seconds later is aborted (SIGABRT), however busy it is with ending.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and callable(handler):
        signal.signal(signal.SIGTERM, handler)


def _ignore(handler: Any) -> None:
    """Stand in for what gives SIGTERM another handler."""


def _nothing(node: Any, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
    """Stand in for what starts the server."""
