"""What every test shares: where the real data is, and one Ray, since starting it takes seconds."""

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from wardround.simulations.engines.start import start_ray

# Speed is the benchmarks' to measure: a busy machine makes no test fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# What is imported and collected stays to the end: looking through it again and again for garbage takes a third of the
# time of collecting, in every process.
gc.disable()
_SHARED = Path(os.environ.get("WARDROUND_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with real data sets, or skip."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real data at {_SHARED}: set WARDROUND_DATA")
    return _SHARED


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """Start Ray; what runs on it in this process joins it and leaves it running."""
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


def pytest_xdist_auto_num_workers() -> int:
    """Return two processes more than there are processors: some files wait most of the time."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_finish() -> None:
    """Collect garbage from now on, of what the tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and leave out fuzzing's ten thousand cases a reader unless asked for."""
    marked = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ("pilot", "slow")}
    # So that no process has a long file left when the others are done.
    items.sort(key=lambda item: (item.path not in marked["pilot"], item.path not in marked["slow"]))
    if "fuzz" in str(config.getoption("-m")):
        return
    many = [item for item in items if item.get_closest_marker("fuzz")]
    config.hook.pytest_deselected(items=many)
    items[:] = [item for item in items if item not in many]
