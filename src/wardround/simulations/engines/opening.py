"""The engines by name: how each is started, how many processes it uses, and how a federation is opened on it.

An engine is a `SimulatedGrid` and a row here; one suite of tests (test_every_engine.py) holds every row to what all of
them promise. What is left out on purpose: which hospitals there are, and what they do.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import NamedTuple

from flwr.clientapp import ClientApp

from wardround.config import SimulationConfig
from wardround.simulations.engines.grid import SimulatedGrid
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.ray_grid import RayGrid
from wardround.simulations.engines.start import EarlyStart

__all__ = ["ENGINES", "Engine"]

_Early = EarlyStart | None


class Engine(NamedTuple):
    """One engine.

    Attributes:
        num_workers: returns how many processes it uses, of its settings and the number of hospitals.
        start_early: begins to start what takes a while, in the background, and ends it when it is left.
        open: returns the grid over the nodes, of its settings, what makes the ClientApp, and what was started early.
    """

    num_workers: Callable[[SimulationConfig, int], int]
    start_early: Callable[[SimulationConfig], AbstractContextManager[_Early]]
    open: Callable[[SimulationConfig, Callable[[], ClientApp], Sequence[Node], _Early], SimulatedGrid]


def _open_inline(
    settings: SimulationConfig, make_app: Callable[[], ClientApp], nodes: Sequence[Node], early: _Early
) -> SimulatedGrid:
    return InlineGrid(make_app, nodes, {})


def _open_ray(
    settings: SimulationConfig, make_app: Callable[[], ClientApp], nodes: Sequence[Node], early: _Early
) -> SimulatedGrid:
    return RayGrid(
        make_app,
        nodes,
        {},
        num_workers=_ray_workers(settings, len(nodes)),
        gpus_per_worker=settings.gpus_per_worker,
        early=early,
    )


def _ray_workers(settings: SimulationConfig, num_hospitals: int) -> int:
    """Return as many as the settings say, or one a processor, and never more than hospitals."""
    return min(settings.num_workers or os.cpu_count() or 1, num_hospitals)


def _start_ray_early(settings: SimulationConfig) -> EarlyStart:
    return EarlyStart(settings.num_workers or os.cpu_count() or 1)


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "inline": Engine(lambda settings, num_hospitals: 1, lambda settings: nullcontext(), _open_inline),
        "ray": Engine(_ray_workers, _start_ray_early, _open_ray),
    }
)
"""By [simulation] engine."""
