"""One Ray for all tests of this folder: starting it takes seconds."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from engine_variants import VARIANTS, opened
from toy_hospital import federation, make_app

from wardround.simulations.engines.nodes import Node
from wardround.simulations.engines.start import start_ray


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """Start Ray; grids opened by tests join it and leave it running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started_here = start_ray(3)
    import ray

    yield ray
    with warnings.catch_warnings():
        # Ray leaves files and processes to the collector, which would otherwise complain in whichever test is next.
        warnings.simplefilter("ignore", ResourceWarning)
        if started_here:
            ray.shutdown()
        gc.collect()


@pytest.fixture(scope="module", params=VARIANTS)
def grid(request: pytest.FixtureRequest, ray_session: Any) -> Iterator[Any]:
    """A grid over well-behaved hospitals, shared by the tests of a module that keep nothing in it."""
    with opened(request.param, federation()) as grid_of_engine:
        yield grid_of_engine


@pytest.fixture
def open_grid(ray_session: Any) -> Iterator[Callable[..., Any]]:
    """Open a grid of an engine over nodes; it is closed after the test."""
    with ExitStack() as stack:

        def open_one(engine: str, nodes: list[Node], app: Callable[[], Any] = make_app) -> Any:
            return stack.enter_context(opened(engine, nodes, app))

        yield open_one
