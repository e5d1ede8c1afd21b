"""What makes two jobs the same: settings that decide bits and the code that is reached; nothing of where they run."""

import importlib
import json
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_files import SETTINGS, site_config
from small_runs import small_config

from wardround.code_digests import code_digests
from wardround.config import config_from_dict
from wardround.errors import ConfigError
from wardround.identity import (
    agreed_digest,
    agreed_text,
    differing_lines,
    job_digest,
    settings_digest,
    source_of,
)
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


def test_folders_without_a_file_of_their_own_are_searched_and_not_loaded(package: Path) -> None:
    inner = package / "plain" / "inner"
    inner.mkdir(parents=True)
    (inner / "nets.py").write_text("from .layers import scale\n")
    (inner / "layers.py").write_text("scale = 1\n")
    names = ["own_package", "own_package.plain.inner.layers", "own_package.plain.inner.nets"]
    assert list(code_digests(["own_package.plain.inner.nets"])) == names
    assert list(code_digests(["own_package.plain.inner.nets"], folder=package.parent)) == names
    assert not {*names} & {*sys.modules}


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


def test_the_mode_that_the_data_decided_on_is_the_same_job_except_where_numbers_are_standardised_later() -> None:
    named = {mode: job_digest(small_config(features={"standardise": mode})) for mode in ("public", "hospital", "none")}
    assert set(named.values()) == {job_digest(small_config())}
    private = [{"standardise": "private"}, {"bounds": {"age": [1, 2]}}, {"bounds": {"age": [1, 3]}}]
    jobs = [job_digest(small_config(features=features)) for features in private]
    assert len({*jobs, *named.values()}) == 4
    assert job_digest(small_config(features=private[1] | private[0])) == jobs[1]


def test_noise_is_the_seeds_the_operating_systems_or_refused() -> None:
    assert isinstance(source_of(small_config()), SeededSource)
    assert source_of(small_config()) == source_of(small_config())
    assert source_of(small_config(), is_real=True) == SystemSource()
    assert source_of(small_config(simulation={"noise": "system"})) == SystemSource()
    with pytest.raises(ConfigError, match=r'noise = "sytem" must be one of seeded, system.*did you mean system\?'):
        config_from_dict({"simulation": {"noise": "sytem"}})


def test_every_setting_but_a_simulations_is_agreed_on() -> None:
    base = agreed_digest(site_config())
    others: dict[str, dict[str, Any]] = {
        "federation": {"target": "sex", "max-records": 51, "test-fraction": 0.3, "seed": 8, "min-patients": 3},
        "features": {"standardise": "public", "statistics-share": 0.2},
        "model": {"name": "mlp", "hidden-sizes": [65], "width": 65, "channels": [17, 32]},
        "training": {"num-rounds": 3, "learning-rate": 1e-30, "local-steps": 3, "momentum": 0.1, "device": "auto"},
        "privacy": {"noise-multiplier": 1.01, "max-grad-norm": 1.01, "target-delta": 1e-4, "placement": "central"},
        "aggregation": {"min-survivors": 3, "max-update": 63.0, "strategy": "fedavgm"},
    }
    for section, table in others.items():
        for key, value in table.items():
            sections = {section: {key: value}}
            if value == "central":
                sections["training"] = {"local-steps": None}
            assert agreed_digest(site_config(**sections)) != base, key
    stronger = {"strategy": "fedavgm", "server-momentum": 0.5}
    assert agreed_digest(site_config(aggregation=stronger)) != agreed_digest(
        site_config(aggregation={"strategy": "fedavgm"})
    )
    for own in ({"path": "elsewhere.csv"}, {"data-dir": "elsewhere"}):
        assert agreed_digest(site_config(federation=own)) == base
    assert agreed_digest(site_config(simulation={"engine": "inline", "num-workers": 3})) == base
    assert agreed_digest(site_config(evaluation={"keep": "best", "public": "hospital.public:records"})) == base


def test_every_part_of_a_schema_is_agreed_on_its_order_included() -> None:
    schema = SETTINGS["federation"]["schema"]
    base = agreed_digest(site_config())
    for changed in (
        {"died": schema["died"], "sex": schema["sex"], "age": schema["age"]},
        schema | {"age": {"range": [18, 111], "unit": "years"}},
        schema | {"age": {"range": [18, 110], "unit": "months"}},
        schema | {"age": {"range": [18, 110]}},
        schema | {"age": {"range": [18, 110], "unit": "years", "missing": True}},
        schema | {"died": {"levels": ["yes", "no"]}},
        schema | {"sex": {"levels": ["male", "female"]}},
    ):
        assert agreed_digest(site_config(federation={"schema": changed})) != base, changed


def test_no_name_of_a_column_passes_for_a_line_or_another_setting() -> None:
    """Names are quoted: a text has one way to be read back, line by line."""
    levels = {"levels": ["no", "yes"]}
    odd = ["x = 1", 'a"b', "c.levels", "training.num-rounds = 9", "ü"]
    for name in odd:
        text = agreed_text(site_config(federation={"schema": {"died": levels, name: levels}}))
        assert len(text.splitlines()) == len(agreed_text(site_config()).splitlines()) - 2
        assert text.isascii() and f'federation.schema.{json.dumps(name)}."levels" = ' in text
    digests = {
        agreed_digest(site_config(federation={"schema": {"died": levels, one: levels, other: levels}}))
        for one in odd
        for other in odd
        if one != other
    }
    assert len(digests) == len(odd) * (len(odd) - 1)


def test_the_models_own_code_is_agreed_on_wherever_it_lies(package: Path, tmp_path: Path) -> None:
    config = site_config(model={"name": "own_package.models:build"})
    code = tmp_path / "elsewhere"
    shutil.copytree(package, code / "own_package")
    shutil.copy(package.parent / "own_neighbour.py", code)
    assert agreed_text(config) == agreed_text(config, code=code)
    assert 'code "own_neighbour" = ' in agreed_text(config)
    for name in ("models.py", "layers.py", "../own_neighbour.py"):
        path = code / "own_package" / name
        before = path.read_text()
        path.write_text(before + "\n# edited\n")
        assert agreed_digest(config, code=code) != agreed_digest(config)
        path.write_text(before)
    # What is loaded or on Python's path counts for nothing where a folder is named.
    assert "code" not in agreed_text(config, code=tmp_path / "empty")


def test_differing_settings_are_named_for_the_log_whatever_a_server_says() -> None:
    own = agreed_text(site_config())
    other = agreed_text(site_config(training={"num-rounds": 3}, aggregation={"max-update": 1.0}))
    assert differing_lines(own, own) == ()
    assert sorted(differing_lines(own, other)) == [
        "own: aggregation.max-update = 64.0",
        "own: training.num-rounds = 2",
        "server: aggregation.max-update = 1.0",
        "server: training.num-rounds = 3",
    ]
    hostile = differing_lines(own, "\x1b[2J\r\n" * 10_000 + "x" * 10_000_000)
    assert len(hostile) <= 41
    assert all(line.isprintable() and len(line) < 1000 for line in hostile)
    reordered = "\n".join(reversed(own.splitlines()))
    assert differing_lines(own, reordered)
