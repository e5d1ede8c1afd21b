"""Grids of every engine, on the Ray that all tests share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from engine_variants import VARIANTS, opened
from toy_hospital import federation, make_app

from wardround.simulations.engines.nodes import Node


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
