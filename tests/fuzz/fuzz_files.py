"""Readers of files: settings, overrides, rosters, keys, tables, studies, checkpoints."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedAdam
from fuzz_mutations import mutated_bytes, mutated_text, mutated_toml, mutated_value
from fuzz_run import MEBI, Reader, Ways, each
from small_runs import small_config

from wardround.clients.released import Released, note_release, read_releases
from wardround.clients.site_file import read_site_file
from wardround.config import FederationConfig, config_to_toml, load_config
from wardround.datasets import load_federation
from wardround.datasets.site_table import load_site_table
from wardround.privacy.accounting import rdp_epsilon
from wardround.secagg import Roster, new_site_key, read_site, write_roster
from wardround.secagg.sites import read_roster
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.strategy_state import read_strategy_state, restore_strategy_state
from wardround.simulations.studies.study_toml import load_study
from wardround.step_events import StepEvent

__all__ = ["FILE_READERS"]

SETTINGS = """
[federation]
dataset = "breast-cancer"
num-hospitals = 3
partition = "dirichlet"
dirichlet-alpha = 0.5
class-weights = [1.0, 0.5]
seed = 7
[model]
name = "mlp"
hidden-sizes = [16, 8]
[training]
num-rounds = 8
local-steps = 2
sample-rate = 0.1
[privacy]
unit = "hospital"
placement = "distributed"
noise-multiplier = 1.0
target-delta = { hospital-01 = 1e-5, hospital-02 = 1e-4 }
adaptive-clipping = true
[aggregation]
protocol = "secagg+"
min-survivors = 2
[simulation]
engine = "inline"
"""
SCHEMA = """
[federation]
dataset = "csv"
target = "died"
patient-column = "patient"
max-records = 500
[federation.schema]
died = { levels = ["no", "yes"] }
age = { range = [18, 110], unit = "years" }
sex = { levels = ["female", "male"] }
lactate = { range = [0, 30], unit = "mmol/l", missing = true }
"""
STUDY = """
[study]
name = "small"
base = "base.toml"
units = ["record"]
placements = ["local", "central"]
noise-multipliers = [0.5, 1]
target-epsilons = [2.0]
seeds = [1, 2]
baselines = ["majority", "alone"]
[set.training]
num-rounds = 3
"""
OVERRIDES = (
    *(
        "training.num-rounds=20",
        "privacy.target-epsilon=2.0",
        'federation.dataset="digits"',
        "model.hidden-sizes=[8, 4]",
    ),
    *(
        "privacy.target-delta={a = 1e-5}",
        "simulation.engine=inline",
        "aggregation.eta=0.1",
        "federation.schema={a={levels=['x']}}",
    ),
)
TABLE = "".join(
    f"{index % 3},{20 + index},{index / 7:.3f},{'f' if index % 2 else 'm'},{index or ''},p{index // 2},"
    f"{'yes' if index % 4 == 0 else 'no'}\n"
    for index in range(60)
)


def _text_file(name: str, text: str, change: Callable[[Random, str], bytes], read: Callable[[Path], object]) -> Any:
    """Return what prepares the reader of one text file."""

    def prepare(folder: Path) -> Ways:
        def read_bytes(data: bytes) -> object:
            (folder / name).write_bytes(data)
            return read(folder / name)

        return text.encode(), lambda random: change(random, text), read_bytes

    return prepare


def _overrides(_: Path) -> Ways:
    def draw(random: Random) -> list[str]:
        texts = [
            mutated_text(random, random.choice(OVERRIDES)).decode(errors="replace") for _ in range(random.randint(1, 3))
        ]
        if random.random() < 0.3:
            section = random.choice(
                ("training", "privacy", "federation", "model", "aggregation", "simulation", "x", "")
            )
            key = random.choice(("num-rounds", "schema", "seed", "path", "", "a.b", "\x00"))
            texts.append(f"{section}.{key}={random.choice(('[' * 3000, '9' * 5000, '{', 'nan', '1979-05-27', '[[]]'))}")
        return texts

    return list(OVERRIDES[:2]), draw, lambda texts: load_config(None, texts)


def _roster(folder: Path) -> Ways:
    keys = {name: new_site_key(folder / f"{name}.key") for name in ("north", "south", "west")}
    write_roster(folder / "good.json", Roster(federation="trial", verify_keys=keys, min_survivors=3, max_colluding=1))
    text, path = (folder / "good.json").read_text(), folder / "roster.json"

    def draw(random: Random) -> bytes:
        if random.random() < 0.5:
            return mutated_text(random, text)
        return json.dumps(mutated_value(random, json.loads(text)), default=str).encode()

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_roster(path)

    return text.encode(), draw, read


def _site_key(folder: Path) -> Ways:
    good = {name: new_site_key(folder / f"{name}.key") for name in ("north", "south")}
    write_roster(folder / "roster.json", Roster(federation="trial", verify_keys=good, min_survivors=2))
    data, path = (folder / "north.key").read_bytes(), folder / "changed.key"
    path.touch(mode=0o600)

    def read(changed: bytes) -> object:
        path.write_bytes(changed)
        return read_site("north", path, folder / "roster.json")

    return data, lambda random: mutated_bytes(random, data), read


SITE = (
    """
[site]
hospital = "north"
key = "north.key"
roster = "roster.json"
data = "patients.csv"
runs = 2
"""
    + SCHEMA
    + """
[training]
num-rounds = 4
sample-rate = 0.1
local-steps = 1
[privacy]
unit = "record"
placement = "distributed"
noise-multiplier = 1.0
target-delta = 1e-5
[aggregation]
protocol = "secagg+"
min-survivors = 2
"""
)


def _site_file(folder: Path) -> Ways:
    keys = {name: new_site_key(folder / f"{name}.key") for name in ("north", "south", "west")}
    write_roster(folder / "roster.json", Roster(federation="trial", verify_keys=keys, min_survivors=2))
    return _text_file("site.toml", SITE, mutated_toml, read_site_file)(folder)


def _released(folder: Path) -> Ways:
    """The files that say what a site has released, and what that costs."""
    event = StepEvent(noise_multiplier=1.0, sample_rate=0.1, num_steps=2)
    released = Released(run_id="run", round_number=1, settings="0" * 64, data="1" * 64, event=event)
    note_release(folder / "notes", released, lambda before: None)
    (path,) = (folder / "notes").iterdir()
    text = path.read_text()

    def draw(random: Random) -> bytes:
        if random.random() < 0.3:
            return mutated_text(random, text)
        return json.dumps(mutated_value(random, json.loads(text)), default=str).encode()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        events = [release.event for release in read_releases(folder / "notes") if release.event is not None]
        rdp_epsilon(events, 1e-5)

    return text.encode(), draw, read


def _csv(folder: Path) -> Ways:
    text = "hospital,age,lactate (mmol/l),sex,days,patient,died\n" + TABLE
    config = FederationConfig(
        dataset="csv",
        path=str(folder / "table.csv"),
        target="died",
        hospital_column="hospital",
        patient_column="patient",
        partition="natural",
    )

    def read(data: bytes) -> object:
        (folder / "table.csv").write_bytes(data)
        return load_federation(config)

    return text.encode(), lambda random: mutated_text(random, text), read


def _schema_table(folder: Path) -> Ways:
    """A site's own table under the schema that all agreed on."""
    text = "age,lactate,sex,patient,died\n" + "".join(
        f"{20 + index},{index % 30 or ''},{'fe' * (index % 2)}male,p{index // 2},{'yes' if index % 4 else 'no'}\n"
        for index in range(60)
    )
    (folder / "site.toml").write_text(SCHEMA)
    config, path = load_config(folder / "site.toml").federation, folder / "patients.csv"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return load_site_table(config, path=path, hospital_id="north", key=bytes(32))

    return text.encode(), lambda random: mutated_text(random, text), read


def _study(folder: Path) -> Ways:
    (folder / "base.toml").write_text(config_to_toml(small_config(training={"local-steps": 1})))
    return _text_file("study.toml", STUDY, mutated_toml, lambda path: load_study(path).runs())(folder)


def _checkpoint(folder: Path) -> Ways:
    run_folder = RunFolder(folder)
    arrays = {
        "model/a": np.arange(6.0).reshape(2, 3),
        "model/b": np.array(True),
        "strategy/m/0": np.zeros(4, np.float32),
    }
    name, _ = run_folder.write_checkpoint(1, arrays, '{"a": 1}')
    data = (folder / name).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    def draw(random: Random) -> bytes:
        if random.random() < 0.4:
            return mutated_bytes(random, data[: random.choice((8, 8 + size, len(data)))]) + data[8 + size :]
        text = json.dumps(mutated_value(random, header), default=str).encode()
        length = len(text) if random.random() < 0.9 else random.choice((0, 2**63, 2**64 - 1, len(data) * 2))
        return length.to_bytes(8, "little") + text + data[8 + size :]

    def read(changed: bytes) -> object:
        (folder / name).write_bytes(changed)
        (folder / "model.safetensors").write_bytes(changed)
        return each(
            # Whoever changed the checkpoint may have changed what it is held to.
            lambda: run_folder.read_checkpoint(name, hashlib.sha256(changed).hexdigest()),
            run_folder.read_model,
        )

    return data, draw, read


def _strategy_state(_: Path) -> Ways:
    strategy = FedAdam()
    strategy.m_t, strategy.v_t = {"a": np.zeros(3)}, {"a": np.ones(3)}
    arrays, text, _ = read_strategy_state(strategy)
    names = list(arrays)

    def draw(random: Random) -> Any:
        changed = (
            mutated_text(random, text).decode(errors="replace")
            if random.random() < 0.3
            else json.dumps(mutated_value(random, json.loads(text)), default=str)
        )
        return (changed, random.sample(names, random.choice((len(names), len(names), 1))))

    return (
        (text, names),
        draw,
        lambda case: restore_strategy_state(FedAdam(), {name: arrays[name] for name in case[1]}, case[0]),
    )


FILE_READERS: Iterable[Reader] = (
    Reader(
        name="settings (TOML)", most_bytes=4 * MEBI, prepare=_text_file("a.toml", SETTINGS, mutated_toml, load_config)
    ),
    Reader(
        name="settings with a schema",
        most_bytes=4 * MEBI,
        prepare=_text_file("a.toml", SCHEMA, mutated_toml, load_config),
    ),
    Reader(name="overrides (--set)", most_bytes=4 * MEBI, prepare=_overrides),
    Reader(name="roster (JSON)", most_bytes=2 * MEBI, prepare=_roster),
    Reader(name="site key (PEM)", most_bytes=2 * MEBI, prepare=_site_key),
    Reader(name="file of a site (TOML)", most_bytes=4 * MEBI, prepare=_site_file),
    Reader(name="what a site released (JSON)", most_bytes=32 * MEBI, prepare=_released),
    Reader(name="table of a user (CSV)", most_bytes=32 * MEBI, prepare=_csv, share=0.5),
    Reader(name="table of a site (CSV)", most_bytes=4 * MEBI, prepare=_schema_table),
    Reader(name="study (TOML)", most_bytes=4 * MEBI, prepare=_study),
    Reader(name="checkpoint, digest known", most_bytes=2 * MEBI, prepare=_checkpoint),
    Reader(name="state of a strategy", most_bytes=2 * MEBI, prepare=_strategy_state),
)
