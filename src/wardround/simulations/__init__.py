"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

Everything is imported on first use: a worker needs no runs, and Ray can start before anything else is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardround.simulations.inline import InlineGrid
    from wardround.simulations.nodes import Node
    from wardround.simulations.ray_grid import RayGrid
    from wardround.simulations.run import Run, plan, resume, run
    from wardround.simulations.start import EarlyStart

__all__ = ["EarlyStart", "InlineGrid", "Node", "RayGrid", "Run", "plan", "resume", "run"]

_MODULES = {
    "EarlyStart": "start",
    "InlineGrid": "inline",
    "Node": "nodes",
    "RayGrid": "ray_grid",
    "Run": "run",
    "plan": "run",
    "resume": "run",
    "run": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wardround.simulations' has no attribute '{name}'")
    module = import_module(f"wardround.simulations.{_MODULES[name]}")
    # All names of the module at once: the import has put the module itself under the name of its main function.
    globals().update({key: getattr(module, key) for key, where in _MODULES.items() if where == _MODULES[name]})
    return globals()[name]
