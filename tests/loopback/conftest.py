"""Federations on loopback, one of which all tests of this folder share; the logs follow a test that failed."""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

import pytest
from loopback import LoopbackFederation, logs, loopback_federation, loopback_simulation

RUNNING = pytest.StashKey[LoopbackFederation]()
HOSPITALS = ("Ålesund", "St Mary's", "ward 7", "north")
NODE_CONFIGS = [
    {"partition-id": number, "num-partitions": len(HOSPITALS), "hospital": name}
    for number, name in enumerate(HOSPITALS)
]


@pytest.fixture(scope="session")
def hospitals() -> tuple[str, ...]:
    """Return the names that the nodes are configured with, in the order of the nodes."""
    return HOSPITALS


@pytest.fixture(scope="session")
def federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackFederation]:
    """Yield a SuperLink and four SuperNodes, which serve every test that asks for them."""
    yield from running(request, loopback_federation(tmp_path_factory.mktemp("plain"), NODE_CONFIGS))


@pytest.fixture
def secure_federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackFederation]:
    """Yield a SuperLink and four SuperNodes with TLS, and a registered key for every node."""
    yield from running(request, loopback_federation(tmp_path_factory.mktemp("tls"), NODE_CONFIGS, with_tls=True))


@pytest.fixture
def simulation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackFederation]:
    """Yield Flower's simulation engine with four nodes."""
    yield from running(request, loopback_simulation(tmp_path_factory.mktemp("simulation"), len(HOSPITALS)))


def running(
    request: pytest.FixtureRequest, starting: AbstractContextManager[LoopbackFederation]
) -> Iterator[LoopbackFederation]:
    with starting as federation:
        request.config.stash[RUNNING] = federation
        yield federation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of the latest federation to the report of a test that failed."""
    report = yield
    federation = item.config.stash.get(RUNNING, None)
    if report.failed and federation is not None:
        report.sections.append(("logs of the federation", logs(federation.folder)))
    return report
