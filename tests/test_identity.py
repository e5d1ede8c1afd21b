"""What makes two jobs the same: settings that decide bits and the code that is reached; nothing of where they run."""

import importlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import small_config

from wardround.config import config_from_dict
from wardround.errors import ConfigError
from wardround.identity import code_digests, job_digest, settings_digest, source_of
from wardround.streams import SeededSource, SystemSource

_FACTORY = """
import os
from numpy import pi
from .layers import scale
def build(*, input_shape, num_outputs):
    from own_package.deep import late
    return scale, late
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "own_package"
    (folder / "deep").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "models.py": _FACTORY,
        "layers.py": "import own_neighbour\nscale = 1\n",
        "deep/__init__.py": "late = 1\n",
        "apart.py": "x = 1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (tmp_path / "own_neighbour.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def test_code_is_all_that_is_reached_and_not_what_has_a_version(package: Path) -> None:
    names = ["own_neighbour", "own_package", "own_package.deep", "own_package.layers", "own_package.models"]
    assert list(code_digests(["own_package.models"])) == names
    assert not {*names} & {*sys.modules}
    assert code_digests(["torch.nn", "wardround.models", "json", "no_such_module.at.all"]) == {}


@pytest.mark.parametrize("name", ["models.py", "layers.py", "__init__.py", "deep/__init__.py", "../own_neighbour.py"])
def test_an_edit_anywhere_in_it_is_another_job(package: Path, name: str) -> None:
    config = small_config(model={"name": "own_package.models:build"})
    before = job_digest(config)
    (package / name).write_text((package / name).read_text() + "\n# edited\n")
    assert job_digest(config) != before
    (package / "apart.py").write_text("x = 2\n")
    (package / name).write_text((package / name).read_text().removesuffix("\n# edited\n"))
    assert job_digest(config) == before


def test_an_installed_package_and_what_it_stands_on_are_the_job(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = sysconfig.get_path
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path) if name == "purelib" else place(name))
    config = small_config(model={"name": "own_package.models:build"})
    jobs = [job_digest(config)]
    # Written anew under the version that it had.
    (package / "layers.py").write_text("import own_neighbour\nscale = 2\n")
    jobs.append(job_digest(config))
    (tmp_path / "other.dist-info").mkdir()
    for number in ("1.0", "1.1"):
        (tmp_path / "other.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: other\nVersion: {number}\n"
        )
        jobs.append(job_digest(config))
    assert len({*jobs}) == 4
    assert job_digest(config) == jobs[-1]


def test_what_runs_is_what_was_loaded(package: Path) -> None:
    importlib.import_module("own_package.layers")
    before = code_digests(["own_package.layers"])
    (package / "layers.py").write_text("import own_neighbour\nscale = 2\n")
    assert code_digests(["own_package.layers"]) == before
    importlib.reload(sys.modules["own_package.layers"])
    after = code_digests(["own_package.layers"])
    assert after["own_package.layers"] != before["own_package.layers"]
    assert after["own_neighbour"] == before["own_neighbour"]


def test_where_a_table_lies_is_no_part_of_what_is_drawn() -> None:
    table = {"dataset": "csv", "target": "sick", "hospital-column": "site", "num-hospitals": None}
    jobs = [job_digest(small_config(federation={**table, "path": path})) for path in ("a.csv", "b.csv")]
    assert jobs[0] == jobs[1]
    assert job_digest(small_config(federation={**table, "path": "a.csv", "target": "well"})) != jobs[0]


@pytest.mark.parametrize(
    "change",
    [
        {"federation": {"data-dir": "elsewhere"}},
        {"simulation": {"engine": "ray", "num-workers": 2, "gpus-per-worker": 0.5}},
    ],
)
def test_where_it_runs_is_no_part_of_a_job(change: Any) -> None:
    assert settings_digest(small_config(**change)) == settings_digest(small_config())
    assert job_digest(small_config(**change)) == job_digest(small_config())


@pytest.mark.parametrize(
    "change",
    [
        {"federation": {"num-hospitals": 4}},
        {"model": {"name": "mlp"}},
        {"training": {"num-rounds": 9}},
        {"training": {"grad-sample-mode": "ew"}},
        {"privacy": {"noise-multiplier": 1.1}},
        {"aggregation": {"strategy": "fedadam"}},
        {"simulation": {"dropout-rate": 0.1}},
        {"simulation": {"noise": "system"}},
    ],
)
def test_every_other_setting_is(change: Any) -> None:
    assert job_digest(small_config(**change)) != job_digest(small_config())


def test_noise_is_the_seeds_the_operating_systems_or_refused() -> None:
    assert isinstance(source_of(small_config()), SeededSource)
    assert source_of(small_config()) == source_of(small_config())
    assert source_of(small_config(), is_real=True) == SystemSource()
    assert source_of(small_config(simulation={"noise": "system"})) == SystemSource()
    with pytest.raises(ConfigError, match=r'noise = "sytem" must be one of seeded, system.*did you mean system\?'):
        config_from_dict({"simulation": {"noise": "sytem"}})
