"""The documents say what is there: every setting, every example, every package."""

import re
import runpy
from pathlib import Path
from typing import get_type_hints

import pytest
from test_structure import LAYERS

from wardround.clients.site_file import read_site_file
from wardround.config import Config, check_agreement, load_config
from wardround.config.limits import keys_of
from wardround.datasets import load_site_table
from wardround.identity import agreed_digest

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented_under_its_section():
    text = (ROOT / "docs" / "config.md").read_text()
    sections = {part.split("]")[0]: part for part in text.split("## [")[1:]}
    for section, record in get_type_hints(Config).items():
        for key in keys_of(record):
            assert f"`{key}`" in sections[section], f"[{section}] {key}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_valid_and_says_how_to_run_it(path):
    load_config(path)
    assert f"wardround run examples/{path.name}" in path.read_text()


def test_the_sites_of_the_walkthrough_fit_the_settings_that_they_agree_on(tmp_path):
    example = ROOT / "examples" / "sites"
    made = runpy.run_path(str(example / "make_sites.py"))["make_sites"](tmp_path / "sites")
    server = load_config(tmp_path / "sites" / "settings.toml")
    check_agreement(server)
    again = runpy.run_path(str(example / "make_sites.py"))["make_sites"](tmp_path / "again")
    assert f"for name in {' '.join(made)}; do" in (ROOT / "docs" / "flower.md").read_text()
    for name, path in made.items():
        file = read_site_file(path)
        assert (file.site.name, file.digest) == (name, agreed_digest(server))
        table = load_site_table(file.config.federation, path=file.data, hospital_id=name, key=file.site.signing_key)
        assert 50 < table.hospitals[0].num_train <= server.federation.max_records
        assert file.data.read_bytes() == (again[name].parent / "patients.csv").read_bytes()


def test_the_lock_file_is_within_the_bounds():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    extras = project["optional-dependencies"].values()
    for requirement in map(Requirement, [*project["dependencies"], *(text for extra in extras for text in extra)]):
        if requirement.name == project["name"]:  # an extra of its own, whose packages are among these
            assert requirement.extras <= set(project["optional-dependencies"])
            continue
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_decisions_are_numbered_without_gaps():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert all(f"**{part}.**" in text for part in ("Context", "Choice", "Price")), page.name


def test_every_line_on_hosts_names_tests_that_exist():
    text = (ROOT / "docs" / "hosts.md").read_text().split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in _tests_in(path)}
    assert len(rows) >= 8
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, set(named) - there


def _tests_in(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))


def test_every_claim_about_privacy_names_the_tests_that_hold_it():
    text = (ROOT / "docs" / "privacy.md").read_text()
    rows = [line for line in text.split("## Claims")[1].split("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        held_by = row.strip(" |").split(" | ")[-1]
        files = [ROOT / path for path in re.findall(r"`(tests/[\w/]+\.py)`", held_by)]
        assert files, row
        assert all(path.is_file() for path in files), row
        named = set(re.findall(r"`(test_\w+)`", held_by))
        assert named <= {name for path in files for name in _tests_in(path)}, row
        # Nothing is named in a way that is not checked.
        assert held_by.count("`") == 2 * (len(files) + len(re.findall(r"`test_\w+`", held_by))), row


def _rows_with_tests(path: Path) -> list[str]:
    """Return the rows of every table whose last column names tests."""
    rows, names_tests = [], False
    lines = path.read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| ") and not before.startswith("|"):
            names_tests = line.strip(" |").split(" | ")[-1] in ("held by", "test")
        elif line.startswith("| ") and names_tests:
            rows.append(line)
    return rows


@pytest.mark.parametrize(
    ("page", "least"), [("docs/security.md", 35), ("tests/attacks/README.md", 20)], ids=["security", "attacks"]
)
def test_every_line_of_the_threat_model_names_a_test_that_exists(page, least):
    rows = _rows_with_tests(ROOT / page)
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in _tests_in(path)}
    assert len(rows) >= least
    for row in rows:
        held_by = row.strip(" |").split(" | ")[-1]
        named = re.findall(r"`(test_\w+)`", held_by)
        assert named or held_by == "the same", row
        assert set(named) <= there, set(named) - there


def test_every_attack_is_in_the_list_of_attacks():
    listed = set(re.findall(r"`(test_\w+)`", (ROOT / "tests" / "attacks" / "README.md").read_text()))
    there = {name for path in (ROOT / "tests" / "attacks").glob("test_*.py") for name in _tests_in(path)}
    assert there <= listed, there - listed


def test_contributing_names_the_layers_and_files_that_there_are():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    chain = " < ".join(", ".join(sorted(layer)) for layer in LAYERS)
    assert f"`{chain}`" in " ".join(text.split())
    for name in re.findall(r"`((?:src|tests|docs)/[^`]*)`", text):
        assert (ROOT / name).exists(), name


def test_every_path_of_a_source_file_in_the_documents_exists_or_has_a_successor():
    package = ROOT / "src" / "wardround"
    rooms = "|".join(sorted(path.name for path in package.iterdir() if (path / "__init__.py").exists()))
    named = 0
    for page in [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]:
        for name, after in re.findall(
            rf"`((?:{rooms}|tests|benchmarks|examples)/[\w./-]+)`([^`]{{0,12}})", page.read_text()
        ):
            named += 1
            there = any((base / name).exists() for base in (package, ROOT))
            assert there or after.startswith(" (since "), f"{page.name}: {name}"
    assert named > 60
