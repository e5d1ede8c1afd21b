"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

Everything is imported on first use: a worker needs no runs, and Ray can start before anything else is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardround.simulations.comparison import Comparison, compare, default_study_path
    from wardround.simulations.forecast import plan
    from wardround.simulations.inline import InlineGrid
    from wardround.simulations.nodes import Node
    from wardround.simulations.ray_grid import RayGrid
    from wardround.simulations.runs import Run, resume, run
    from wardround.simulations.start import EarlyStart
    from wardround.simulations.study import Study, load_study

__all__ = [
    "Comparison",
    "EarlyStart",
    "InlineGrid",
    "Node",
    "RayGrid",
    "Run",
    "Study",
    "compare",
    "default_study_path",
    "load_study",
    "plan",
    "resume",
    "run",
]

_MODULES = {
    "Comparison": "comparison",
    "EarlyStart": "start",
    "InlineGrid": "inline",
    "Node": "nodes",
    "RayGrid": "ray_grid",
    "Run": "runs",
    "Study": "study",
    "compare": "comparison",
    "default_study_path": "comparison",
    "load_study": "study",
    "plan": "forecast",
    "resume": "runs",
    "run": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wardround.simulations' has no attribute '{name}'")
    return getattr(import_module(f"wardround.simulations.{_MODULES[name]}"), name)
