"""A run that was audited and its dossier, and copies of it that a test may spoil."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import small_config

import wardround
from wardround.reports.dossier.writing import write_dossier
from wardround.secagg import new_site_key
from wardround.secagg.sites import read_signing_key


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "signer.pem"
    new_site_key(path)
    return path


@pytest.fixture(scope="session")
def audited_run(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    config = small_config(training={"num-rounds": 3}, privacy={"noise-multiplier": 1.5}, audit={"canaries": 60})
    run = wardround.run(config, out=tmp_path_factory.mktemp("dossier") / "run")
    write_dossier(run.folder, signing_key=read_signing_key(key), browsers=())
    return run.folder


@pytest.fixture
def folder(audited_run: Path, tmp_path: Path) -> Path:
    """A copy of the signed dossier, and nothing beside it."""
    return Path(shutil.copytree(audited_run / "dossier", tmp_path / "handed-over"))


def resealed(folder: Path) -> None:
    """Write the digests anew, as whoever changed a file and has no key would, and drop the signature."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("SHA256SUMS"))
    for name in ("SHA256SUMS.sig", "SHA256SUMS.pub"):
        (folder / name).unlink(missing_ok=True)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def with_data(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change dossier.json, and make its digest fit."""
    table = json.loads((folder / "dossier.json").read_text())
    change(table)
    (folder / "dossier.json").write_text(json.dumps(table))
    resealed(folder)


@pytest.fixture
def change_data(folder: Path) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    return lambda change: with_data(folder, change)


@pytest.fixture
def reseal(folder: Path) -> Callable[[], None]:
    return lambda: resealed(folder)
