"""A finished run, and a copy of it to bend."""

import shutil
from pathlib import Path

import pytest
from bent_folders import CONFIG

from wardround.simulations.runs import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, out=tmp_path_factory.mktemp("verify") / "run").folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))
