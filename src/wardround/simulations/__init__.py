"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

Everything is imported on first use: a worker needs no runs, and Ray can start before anything else is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardround.simulations.inline import InlineGrid
    from wardround.simulations.nodes import Node
    from wardround.simulations.ray_grid import RayGrid
    from wardround.simulations.runs import Run, plan, resume, run
    from wardround.simulations.start import EarlyStart

__all__ = ["EarlyStart", "InlineGrid", "Node", "RayGrid", "Run", "plan", "resume", "run"]

_MODULES = {
    "EarlyStart": "start",
    "InlineGrid": "inline",
    "Node": "nodes",
    "RayGrid": "ray_grid",
    "Run": "runs",
    "plan": "runs",
    "resume": "runs",
    "run": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wardround.simulations' has no attribute '{name}'")
    return getattr(import_module(f"wardround.simulations.{_MODULES[name]}"), name)
