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
from wardround.simulations.engines.stacked_grid import StackedGrid
from wardround.simulations.engines.start import early_ray

__all__ = ["ENGINES", "Engine"]

_MakeApp = Callable[[], ClientApp]


class Engine(NamedTuple):
    """One engine.

    Attributes:
        num_workers: returns how many processes it uses at most, of its settings.
        start_early: begins to start what takes a while, in the background, and ends it when it is left.
        open: returns the grid over the nodes, of what makes the ClientApp and of its settings.
        asks_together: whether an app may answer all messages of a wave in one program (`nodes.AnswersTogether`).
        is_here: whether hospitals are in this process, and need nothing that is built anew.
    """

    num_workers: Callable[[SimulationConfig], int]
    start_early: Callable[[SimulationConfig], AbstractContextManager[None]]
    open: Callable[[_MakeApp, Sequence[Node], SimulationConfig], SimulatedGrid]
    asks_together: bool = False
    is_here: bool = False


def _open_inline(make_app: _MakeApp, nodes: Sequence[Node], settings: SimulationConfig) -> SimulatedGrid:
    return InlineGrid(make_app, nodes)


def _open_stacked(make_app: _MakeApp, nodes: Sequence[Node], settings: SimulationConfig) -> SimulatedGrid:
    return StackedGrid(make_app, nodes)


def _open_ray(make_app: _MakeApp, nodes: Sequence[Node], settings: SimulationConfig) -> SimulatedGrid:
    return RayGrid(make_app, nodes, num_workers=_ray_workers(settings), gpus_per_worker=settings.gpus_per_worker)


def _ray_workers(settings: SimulationConfig) -> int:
    return settings.num_workers or os.cpu_count() or 1


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "inline": Engine(lambda settings: 1, lambda settings: nullcontext(), _open_inline, is_here=True),
        "ray": Engine(_ray_workers, lambda settings: early_ray(_ray_workers(settings)), _open_ray),
        "stacked": Engine(
            lambda settings: 1, lambda settings: nullcontext(), _open_stacked, asks_together=True, is_here=True
        ),
    }
)
"""By [simulation] engine."""
