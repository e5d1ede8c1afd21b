"""Federations on loopback; their logs follow a test that failed."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from loopback import LoopbackFederation, logs, loopback_simulation

RUNNING = pytest.StashKey[Path]()


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of a federation."""
    request.config.stash[RUNNING] = tmp_path
    return tmp_path


@pytest.fixture
def simulation(folder: Path) -> Iterator[LoopbackFederation]:
    """Yield Flower's simulation engine with four nodes."""
    with loopback_simulation(folder, 4) as federation:
        yield federation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of the latest federation to the report of a test that failed."""
    report = yield
    folder = item.config.stash.get(RUNNING, None)
    if report.failed and folder is not None:
        report.sections.append(("logs of the federation", logs(folder)))
    return report
