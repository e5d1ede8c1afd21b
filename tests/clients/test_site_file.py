"""A site's own file: all that a site is comes from it, and whatever is wrong in it is said with the next step."""

from pathlib import Path
from typing import Any

import pytest
from site_files import SETTINGS, site_config, tables_of, write_sites, write_toml

from wardround.clients.site_file import read_site_file
from wardround.errors import ConfigError
from wardround.identity import agreed_digest
from wardround.secagg import Roster, read_roster, write_roster

SITE = {"hospital": "north", "key": "site.key", "roster": "roster.json", "data": "patients.csv"}


def test_it_holds_all_that_a_site_is(tmp_path: Path) -> None:
    path = write_sites(tmp_path, runs=3)["north"]
    file = read_site_file(path)
    assert file.site.name == "north"
    assert file.site.is_real
    assert file.names == ("east", "north", "south")
    assert file.config == site_config()
    assert (file.data, file.code, file.runs) == (path.parent / "patients.csv", None, 3)
    assert file.releases.parent == file.data.parent
    assert file.digest == agreed_digest(site_config())


def test_a_site_answers_one_run_unless_it_says_more(tmp_path: Path) -> None:
    assert read_site_file(write_sites(tmp_path)["north"]).runs == 1


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sites(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = read_site_file(Path("north/site.toml"))
    assert file.data == tmp_path / "north" / "patients.csv"
    assert file.data.is_absolute() and file.releases.is_absolute()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (None, r"must have a table \[site\] with hospital, key, roster, data"),
        (SITE | {"hospital": None}, r'hospital is missing \(\[site\] hospital\): add hospital = "..."'),
        (SITE | {"data": None}, r"data is missing \(\[site\] data\)"),
        (SITE | {"key": 3}, r"key = 3 must be a text \(\[site\] key\)"),
        (SITE | {"data": ""}, r"data = '' must be a text"),
        (SITE | {"run": 2}, r"unknown key run in \[site\]: did you mean runs\?"),
        (SITE | {"runs": 0}, r"runs = 0 must be a whole number from 1 to 10,000 \(\[site\] runs\)"),
        (SITE | {"runs": True}, r"runs = True must be a whole number"),
        (SITE | {"runs": 1.0}, r"runs = 1.0 must be a whole number"),
        (SITE | {"key": "no.key"}, r"can't read the site key .*no\.key"),
        (SITE | {"roster": "no.json"}, r"can't read the roster .*no\.json"),
        (SITE | {"hospital": "east"}, r"site east's key is not the one that the roster has for it"),
        (SITE | {"hospital": "west"}, r"site west's key is not the one that the roster has for it"),
        (SITE | {"code": "no-folder"}, r"code = 'no-folder' must be a folder beside .*no-folder is none"),
    ],
)
def test_a_wrong_site_table_is_refused(site: dict[str, Any] | None, message: str, tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    own = {} if site is None else {"site": {key: value for key, value in site.items() if value is not None}}
    write_toml(path, {**own, **SETTINGS})
    with pytest.raises(ConfigError, match=message):
        read_site_file(path)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"federation": {"path": "patients.csv"}},
            r"path has no meaning .*name a table in \[site\] data",
        ),
        ({"federation": {"data-dir": "data"}}, r"data-dir has no meaning at a real site"),
        ({"evaluation": {"keep": "best"}}, r"keep has no meaning at a real site"),
        ({"simulation": {"engine": "inline"}}, r"\[simulation\] has no meaning at a real site: remove it"),
        ({"trainings": {"num-rounds": 2}}, r"unknown section \[trainings\]: did you mean training\?"),
        ({"training": {"num-round": 2}}, r"unknown key num-round in \[training\]: did you mean num-rounds\?"),
        ({"federation": {"max-records": None}}, r"max-records is missing, and real sites need it"),
        ({"federation": {"max-records": 0}}, r"max-records = 0 must be >= 1"),
        ({"aggregation": {"min-survivors": 3}}, r"min-survivors = 3 must be 2, as the roster roster.json says"),
        (
            {"aggregation": {"max-colluding": 0, "protocol": "plain", "min-survivors": 1}},
            r'protocol = "plain"',
        ),
        ({"model": {"name": "own_models:make"}}, r'model name = "own_models:make" is code.*name that in \[site\] code'),
    ],
)
def test_settings_that_a_site_can_not_have_are_refused(sections: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    write_toml(path, {"site": SITE, **tables_of(**sections)})
    with pytest.raises(ConfigError, match=message):
        read_site_file(path)


def test_a_section_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    write_toml(path, {"evaluation": 3, "site": SITE, **tables_of()})
    with pytest.raises(ConfigError, match="evaluation"):
        read_site_file(path)


def test_max_colluding_must_be_the_rosters(tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    keys = read_roster(tmp_path / "roster.json").verify_keys
    roster = Roster(federation="test", verify_keys=keys, min_survivors=3, max_colluding=1)
    write_roster(path.parent / "roster.json", roster)
    write_toml(path, {"site": SITE, **tables_of(aggregation={"min-survivors": 3})})
    with pytest.raises(ConfigError, match=r"max-colluding = 0 must be 1, as the roster roster\.json says"):
        read_site_file(path)


@pytest.mark.parametrize("text", ["", "site = 3", "[site", "\x00", "[site]\nhospital = [1]"])
def test_a_file_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(ConfigError):
        read_site_file(tmp_path / "site.toml")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*site\.toml"):
        read_site_file(tmp_path / "site.toml")


def test_a_factory_must_lie_in_the_code_folder(tmp_path: Path) -> None:
    path = write_sites(tmp_path, code="code")["north"]
    (path.parent / "code").mkdir()
    tables = tables_of(model={"name": "own_models:make"})
    write_toml(path, {"site": SITE | {"code": "code"}, **tables})
    with pytest.raises(ConfigError, match=r"there is no own_models in .*code \(\[site\] code\)"):
        read_site_file(path)
    (path.parent / "code" / "own_models.py").write_text("x = 1\n")
    assert 'code "own_models" = ' in read_site_file(path).agreed
