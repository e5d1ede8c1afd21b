"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

Everything is imported on first use: a worker needs no runs, and Ray can start before anything else is loaded.
"""

from typing import TYPE_CHECKING

from wardround.first_use import on_first_use

if TYPE_CHECKING:
    from wardround.simulations.engines.inline import InlineGrid
    from wardround.simulations.engines.nodes import Node
    from wardround.simulations.engines.ray_grid import RayGrid
    from wardround.simulations.engines.start import EarlyStart
    from wardround.simulations.prepared import plan
    from wardround.simulations.runs import Run, resume, run
    from wardround.simulations.studies.comparison import Comparison, compare, default_study_path
    from wardround.simulations.studies.study import Study, load_study

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

__getattr__ = on_first_use(
    __name__,
    {
        "Comparison": "studies.comparison",
        "EarlyStart": "engines.start",
        "InlineGrid": "engines.inline",
        "Node": "engines.nodes",
        "RayGrid": "engines.ray_grid",
        "Run": "runs",
        "Study": "studies.study",
        "compare": "studies.comparison",
        "default_study_path": "studies.comparison",
        "load_study": "studies.study",
        "plan": "prepared",
        "resume": "runs",
        "run": "runs",
    },
)
