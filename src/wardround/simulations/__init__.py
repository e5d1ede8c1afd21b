"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

The engines import quickly, as every worker does it; what concerns runs is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wardround.simulations.inline import InlineGrid
from wardround.simulations.nodes import Node
from wardround.simulations.ray_grid import RayGrid

if TYPE_CHECKING:
    from wardround.simulations.run import Run, plan, resume, run

__all__ = ["InlineGrid", "Node", "RayGrid", "Run", "plan", "resume", "run"]


def __getattr__(name: str) -> Any:
    if name in ("Run", "plan", "resume", "run"):
        module = import_module("wardround.simulations.run")
        # The import has just put the module itself under the name of its main function.
        globals()["run"] = module.run
        return getattr(module, name)
    raise AttributeError(f"module 'wardround.simulations' has no attribute '{name}'")
