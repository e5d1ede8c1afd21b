"""Three real sites on SuperNodes with TLS and keys, as docs/flower.md starts them, and all that their server has."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from loopback import loopback_federation
from test_loopback import module

pytestmark = [pytest.mark.pilot, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLE = module(ROOT / "examples" / "sites" / "make_sites.py")
# Names, on the wire and in tables, of what is measured at a hospital.
MEASURED = (
    *("num-test", "num-examples", "num-scrubbed", "majority-accuracy", "fingerprint"),
    *("seconds", "loss", "accuracy", "auc"),
)
SENT = ("seed-shares", "num-noise-draws", "sample-rate")


def tables_of(folder: Path) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for name in ("rounds.csv", "hospitals.csv"):
        with (folder / name).open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    return tables


def octets_below(*places: Path) -> dict[Path, bytes]:
    files = [path for place in places for path in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return {path: path.read_bytes() for path in files if path.is_file()}


def as_field(name: str) -> bytes:
    """Return a key as a Flower message has it, which the source of the app, also in the database, has not."""
    return b"\n" + bytes([len(name)]) + name.encode()


def test_the_server_of_real_sites_has_nothing_of_them_but_their_noisy_sum(folder: Path) -> None:
    settings = EXAMPLE.SETTINGS.read_text().replace("num-rounds = 2", "num-rounds = 1")
    sites = EXAMPLE.make_sites(folder / "sites", settings=settings)
    run, database = folder / "run", folder / "state.db"
    paths = {"config": folder / "sites" / "settings.toml", "roster": folder / "sites" / "roster.json", "out": run}
    configs = [{"site": str(path)} for path in sites.values()]
    with loopback_federation(folder, configs, database=database) as federation:
        run_config = {name: str(path) for name, path in paths.items()} | {"num-nodes": len(sites)}
        done = federation.run(ROOT, deadline_seconds=500, **run_config)
    assert done.status == "finished:completed", done.log
    check_tables(run, set(sites))
    # All that the server wrote, wherever: its folder, its database with the log of it, its own log and its home.
    has = octets_below(run, folder / "superlink.log", folder / "home-superlink", *folder.glob("state.db*"))
    has[Path("flwr log")] = done.log.encode()
    messages = b"".join(octets for path, octets in has.items() if path.name.startswith("state.db"))
    # SQLite forgets late: parts of the last messages are still in it, and none of them has such a field.
    assert any(as_field(name) in messages for name in SENT)
    for name in MEASURED:
        assert as_field(name) not in messages, name
    for name in sites:
        site = folder / "sites" / name
        for secret in secrets_of(site):
            for path, octets in has.items():
                assert secret not in octets, (name, path)
    # The same search finds them where they are.
    for name in sites:
        mine = b"".join(octets_below(folder / "sites" / name).values())
        assert all(secret in mine for secret in secrets_of(folder / "sites" / name)[1:])


def secrets_of(site: Path) -> list[bytes]:
    """Return what nobody else may have of a site: digests of its data, patients, rows and its key."""
    table = (site / "patients.csv").read_bytes()
    released = [json.loads(path.read_text()) for path in sorted((site / f"{site.name}.key-released").glob("*.json"))]
    assert [each["round_number"] for each in released] == [1, 2]  # its round, and its test scores
    assert released[0]["data"] == released[1]["data"]
    key = (site / f"{site.name}.key").read_bytes().splitlines()[1]
    rows = table.splitlines()[1:]
    return [
        hashlib.sha256(table).hexdigest().encode(),
        released[0]["data"].encode(),
        key,
        *(row.split(b",")[0] for row in rows),
        *rows,
    ]


def check_tables(run: Path, names: set[str]) -> None:
    tables: Any = tables_of(run)
    assert [row["num_completed"] for row in tables["rounds.csv"]] == ["0", "3"]
    assert {row["hospital"] for row in tables["hospitals.csv"]} == names
    for rows in tables.values():
        for row in rows:
            assert not any(row.get(key) for key in ("loss", "accuracy", "auc")), row
    summary = json.loads((run / "summary.json").read_text())
    assert all(summary.get(key) is None for key in ("accuracy", "auc", "auc_pooled", "majority_accuracy"))
    assert 0 < float(summary["epsilon"]["max"]) <= 4.0
    scores = summary["released_scores"]
    assert scores["num_hospitals"] == 3 and scores["scores"]["loss"] > 0 and not scores["reason"]
    page = (run / "report.html").read_text()
    assert "Released with noise" in page and "exact test scores are nowhere" in page
