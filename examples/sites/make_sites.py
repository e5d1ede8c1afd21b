"""Make three hospitals, each a folder with all that its site needs, for a trial where one person starts all of them.

    python examples/sites/make_sites.py FOLDER

FOLDER then has settings.toml and roster.json, which the server is started with, and for every hospital a folder with
patients.csv (invented), its key, its copy of the roster and site.toml. Between real hospitals each makes its own key
with `new_site_key`, tells the others the public half, writes its own site.toml, and gets the roster from the others.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wardround.secagg import Roster, new_site_key, write_roster

SETTINGS = Path(__file__).with_name("settings.toml")
HOSPITALS = {"harbour": 150, "north": 180, "valley": 120}
"""Patients by hospital."""

COLUMNS = ("patient", "age", "sex", "ward", "lactate", "died")
SITE = """\
# Of {name} alone: who it is and where its own files are, relative to this one.
[site]
hospital = "{name}"
key = "{name}.key"
roster = "roster.json"
data = "patients.csv"

"""


def invented_rows(name: str, num_patients: int) -> list[tuple[str, ...]]:
    """Return rows of patients who do not exist, the same ones at every call; every tenth patient has two stays."""
    draws = np.random.default_rng([len(name), num_patients])
    rows = []
    for number in range(num_patients):
        age, sex = int(draws.integers(18, 100)), str(draws.choice(["female", "male"]))
        for _ in range(2 if number % 10 == 0 else 1):
            ward, lactate = str(draws.choice(["medicine", "surgery"])), float(min(30.0, draws.lognormal(0.7, 0.6)))
            risk = 1 / (1 + np.exp(3.5 - 0.03 * age - 0.5 * lactate))
            died = "yes" if draws.random() < risk else "no"
            measured = f"{lactate:.1f}" if draws.random() < 0.9 else ""
            rows.append((f"{name}-{number:04d}", str(age), sex, ward, measured, died))
    return rows


def make_sites(folder: Path, *, settings: str | None = None) -> dict[str, Path]:
    """Write all files into a folder, and return the path of every hospital's site.toml by name.

    Args:
        folder: new, or without these hospitals.
        settings: what all agree on, as TOML; None takes those beside this file.
    """
    settings = SETTINGS.read_text(encoding="utf-8") if settings is None else settings
    for name in HOSPITALS:
        (folder / name).mkdir(parents=True)
    keys = {name: new_site_key(folder / name / f"{name}.key") for name in HOSPITALS}
    roster = Roster(federation="three hospitals", verify_keys=keys, min_survivors=3)
    for place in (folder, *(folder / name for name in HOSPITALS)):
        write_roster(place / "roster.json", roster)
    (folder / "settings.toml").write_text(settings, encoding="utf-8")
    for name, num_patients in HOSPITALS.items():
        write_table(folder / name / "patients.csv", COLUMNS, invented_rows(name, num_patients))
        (folder / name / "site.toml").write_text(SITE.format(name=name) + settings, encoding="utf-8")
    return {name: folder / name / "site.toml" for name in HOSPITALS}


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sites = make_sites(Path(sys.argv[1]))
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there already: remove it, with the sites' keys and all, or name another folder")
    except OSError as error:
        sys.exit(f"can't make {error.filename} ({error.strerror}): name a new folder")
    for site in sites.values():
        print(site)
