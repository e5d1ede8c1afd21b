"""One Ray for all tests of this folder: starting it takes seconds."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from toy_hospital import ENGINES, federation, make_app

from wardround.simulations.engines.cluster import join_cluster
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.ray_grid import RayGrid


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """Start Ray; grids opened by tests join it and leave it running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = join_cluster(3, 0.0)
    yield cluster.ray
    with warnings.catch_warnings():
        # Ray leaves files and processes to the collector, which would otherwise complain in whichever test is next.
        warnings.simplefilter("ignore", ResourceWarning)
        cluster.leave()
        gc.collect()


@pytest.fixture(scope="module", params=ENGINES)
def grid(request: pytest.FixtureRequest, ray_session: Any) -> Iterator[Any]:
    """A grid over well-behaved hospitals, shared by the tests of a module that keep nothing in it."""
    if request.param == "inline":
        yield InlineGrid(make_app, federation(), {})
    else:
        with RayGrid(make_app, federation(), {}, num_workers=int(request.param[-1])) as ray_grid:
            yield ray_grid


@pytest.fixture
def open_grid(ray_session: Any) -> Iterator[Callable[..., Any]]:
    """Open a grid of an engine over nodes; it is closed after the test."""
    with ExitStack() as stack:

        def open_one(engine: str, nodes: list[Node], app: Callable[[], Any] = make_app, **options: Any) -> Any:
            if engine == "inline":
                return InlineGrid(app, nodes, {"greeting": "hello"}, **options)
            num_workers = int(engine.partition("-")[2])
            return stack.enter_context(RayGrid(app, nodes, {"greeting": "hello"}, num_workers=num_workers, **options))

        yield open_one
