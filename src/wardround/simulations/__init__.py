"""Simulated hospitals: the Ray engine, the engine in this process, and whole runs on top of them.

The package exports nothing itself: a worker needs no runs, and a plan neither torch nor Ray.
"""

__all__: list[str] = []
