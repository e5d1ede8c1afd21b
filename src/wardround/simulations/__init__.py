"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

Everything is imported on first use: a worker needs no runs, and a plan neither torch nor Ray.
"""

from typing import TYPE_CHECKING

from wardround.first_use import on_first_use

if TYPE_CHECKING:
    from wardround.simulations.prepared import plan
    from wardround.simulations.runs import Run, resume, run
    from wardround.simulations.studies.comparison import compare
    from wardround.simulations.studies.study import Study, load_study

__all__ = ["Run", "Study", "compare", "load_study", "plan", "resume", "run"]

__getattr__ = on_first_use(
    __name__,
    {
        "Run": "runs",
        "Study": "studies.study",
        "compare": "studies.comparison",
        "load_study": "studies.study",
        "plan": "prepared",
        "resume": "runs",
        "run": "runs",
    },
)
