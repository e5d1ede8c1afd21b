"""Files of real sites for tests: keys, a roster, tables and a site.toml for each, in folders of their own."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from small_runs import replaced

from wardround.config import Config, config_from_dict
from wardround.secagg import Roster, new_site_key, write_roster

NAMES = ("east", "north", "south")
SETTINGS: dict[str, dict[str, Any]] = {
    "federation": {
        "dataset": "csv",
        "target": "died",
        "max-records": 50,
        "seed": 7,
        "schema": {
            "died": {"levels": ["no", "yes"]},
            "age": {"range": [18, 110], "unit": "years"},
            "sex": {"levels": ["female", "male"]},
        },
    },
    "training": {"num-rounds": 2, "local-steps": 2, "sample-rate": 0.5},
    "privacy": {"noise-multiplier": 1.0, "target-delta": 1e-3},
    "aggregation": {"protocol": "secagg+", "min-survivors": 2},
}


def tables_of(**sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of the sites' settings with keys replaced; a key that is None is removed."""
    return replaced(SETTINGS, sections)


def site_config(**sections: Mapping[str, Any]) -> Config:
    """Return the same as a record."""
    return config_from_dict(tables_of(**sections))


def write_patients(path: Path, num_rows: int = 40, seed: int = 1, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a table of patients, invented where no rows are given."""
    draws = np.random.default_rng(seed)
    rows = rows or [
        {
            "age": int(draws.integers(20, 95)),
            "sex": str(draws.choice(["female", "male"])),
            "died": str(draws.choice(["no", "yes"])),
        }
        for _ in range(num_rows)
    ]
    write_rows(path, rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_sites(
    folder: Path,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    names: Sequence[str] = NAMES,
    **own: Any,
) -> dict[str, Path]:
    """Write everything that the sites have, and return the path of each one's site.toml.

    Args:
        folder: an empty one; each site gets a folder in it.
        tables: of the settings that each agrees to; None is SETTINGS.
        names: of the sites.
        own: keys of [site] to replace; None removes one.
    """
    tables = SETTINGS if tables is None else tables
    for name in names:
        (folder / name).mkdir(parents=True)
    keys = {name: new_site_key(f"{folder / name}/site.key") for name in names}
    numbers = {key: int(tables["aggregation"].get(key, least)) for key, least in NUMBERS.items()}
    roster = Roster(
        federation="test",
        verify_keys=keys,
        min_survivors=numbers["min-survivors"],
        max_colluding=numbers["max-colluding"],
    )
    write_roster(folder / "roster.json", roster)
    paths = {}
    for number, name in enumerate(names):
        write_roster(folder / name / "roster.json", roster)
        write_patients(folder / name / "patients.csv", seed=number)
        site = {"hospital": name, "key": "site.key", "roster": "roster.json", "data": "patients.csv", **own}
        paths[name] = folder / name / "site.toml"
        write_toml(paths[name], {"site": {key: value for key, value in site.items() if value is not None}, **tables})
    return paths


NUMBERS = {"min-survivors": 2, "max-colluding": 0}


def write_toml(path: Path, tables: Mapping[str, Any]) -> None:
    """Write a TOML file."""
    path.write_text(tomli_w.dumps(dict(tables)))
