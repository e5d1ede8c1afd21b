"""Four real sites, each with a key, a roster, a table and a site.toml of its own, and a server that does as it likes.

The sites run the app that SuperNodes run; the server is the product's own, changed where an attack changes it: in what
single nodes are sent on the way (`Attack.message`), or in what it asks of everybody (`Attack.assignment` and the like).
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower_grid import FlowerGrid, stage_of
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from site_files import write_rows
from small_runs import replaced

from wardround import wire
from wardround.clients.app import app
from wardround.clients.profiles import hospital_profile
from wardround.clients.site_app import RealSite
from wardround.config import Config, config_from_dict, config_to_toml
from wardround.errors import WardroundError
from wardround.rounds import Assignment
from wardround.secagg import Roster, new_site_key, write_roster
from wardround.server.app import serve
from wardround.server.round import loop
from wardround.server.round.secure_terms import SecureSum
from wardround.server.round.sums import Sum

NAMES = ("east", "north", "south", "west")
VICTIM = "north"
SCHEMA = {
    "died": {"levels": ["no", "yes"]},
    "age": {"range": [18, 110], "unit": "years"},
    "sex": {"levels": ["female", "male"]},
    "lactate": {"range": [0, 30], "unit": "mmol/l", "missing": True},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "federation": {
        "dataset": "csv",
        "target": "died",
        "patient-column": "patient",
        "max-records": 64,
        "seed": 7,
        "schema": SCHEMA,
    },
    "training": {"num-rounds": 2, "local-steps": 2, "sample-rate": 0.5, "learning-rate": 0.5},
    "privacy": {"noise-multiplier": 1.0, "target-delta": 1e-3},
    "aggregation": {"protocol": "secagg+", "min-survivors": 3},
}
SITE = (
    '[site]\nhospital = "{name}"\nkey = "{name}.key"\nroster = "roster.json"\ndata = "patients.csv"\nruns = {runs}\n\n'
)


def settings(**sections: Mapping[str, Any]) -> Config:
    """Return the settings with keys replaced; a key that is None is removed."""
    return config_from_dict(replaced(SETTINGS, sections))


def rows_of(name: str, num_patients: int = 48) -> list[dict[str, str]]:
    """Return a hospital's invented rows."""
    draws = np.random.default_rng(NAMES.index(name))
    rows = []
    for number in range(num_patients):
        age, lactate = int(draws.integers(20, 95)), round(float(draws.uniform(0.5, 12)), 1)
        rows.append(
            {
                "patient": f"{name}-{number:03d}",
                "age": str(age),
                "sex": str(draws.choice(["female", "male"])),
                "lactate": str(lactate) if draws.random() < 0.9 else "",
                "died": "yes" if draws.random() < 1 / (1 + np.exp(4 - 0.03 * age - 0.3 * lactate)) else "no",
            }
        )
    return rows


@dataclass(frozen=True)
class Sites:
    """Four sites' files below a folder; the server's are in it."""

    folder: Path
    config: Config
    runs: int = 1
    keys_of: "Sites | None" = None
    """Whose keys they have, and so whose split of patients; new ones where it is None."""

    def __post_init__(self) -> None:
        for name in NAMES:
            (self.folder / name).mkdir(parents=True)
            if self.keys_of is not None:
                shutil.copy(self.keys_of.folder / name / f"{name}.key", self.folder / name)
        if self.keys_of is None:
            keys = {name: new_site_key(self.folder / name / f"{name}.key") for name in NAMES}
            roster = Roster(federation="four", verify_keys=keys, min_survivors=self.config.aggregation.min_survivors)
            write_roster(self.folder / "roster.json", roster)
        else:
            shutil.copy(self.keys_of.folder / "roster.json", self.folder)
        for name in NAMES:
            shutil.copy(self.folder / "roster.json", self.folder / name)
            write_rows(self.folder / name / "patients.csv", rows_of(name))
            self.agree(name, self.config)

    def agree(self, name: str, config: Config, **changes: str) -> None:
        """Write a site's file, with settings that it alone may have."""
        own = SITE.format(name=name, runs=self.runs)
        for old, new in changes.items():
            own = own.replace(old, new)
        text = "\n\n".join(part for part in config_to_toml(config).split("\n\n") if not part.startswith("[simulation]"))
        self.file(name).write_text(own + text + "\n")

    def file(self, name: str) -> Path:
        """Return a site's own file."""
        return self.folder / name / "site.toml"

    def grid(self, attack: "Attack | None" = None) -> "SitesGrid":
        """Return a grid over the sites, as after a restart of all of them."""
        return SitesGrid(self, attack or Attack())


def as_it_is(value: Any) -> Any:
    """Change nothing."""
    return value


@dataclass(frozen=True)
class Attack:
    """What a server does otherwise.

    Attributes:
        message: changes a message to the named site in place.
        assignment: changes what every hospital is asked to do.
        secure: changes how the round is summed, and so its terms.
        run_config: what Flower tells the app of the named site.
        node_config: what the named site's SuperNode is started with; None is its site.toml.
    """

    message: Callable[[str, Message], None] = lambda name, message: None
    assignment: Callable[[Assignment], Assignment] = as_it_is
    secure: Callable[[SecureSum], SecureSum] = as_it_is
    run_config: Callable[[str], Mapping[str, Any]] = lambda name: {}
    node_config: Callable[[str], Mapping[str, Any]] | None = None


class SitesGrid(FlowerGrid):
    """A grid on which messages are copied, and changed as an attack says."""

    def __init__(self, sites: Sites, attack: Attack, client_app: ClientApp = app) -> None:
        contexts = {
            number: Context(
                run_id=1,
                node_id=number,
                node_config=dict(
                    attack.node_config(name) if attack.node_config is not None else {"site": str(sites.file(name))}
                ),
                state=RecordDict(),
                run_config=dict(attack.run_config(name)),
            )
            for number, name in enumerate(NAMES, start=1)
        }
        super().__init__(client_app, contexts)
        self._attack = attack
        self.replies: list[tuple[str, str, Message]] = []
        """Every reply with the site's name and the stage or action that was asked for."""

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        name = NAMES[message.metadata.dst_node_id - 1]
        self.number(message)
        message.content = copied(message.content)
        self._attack.message(name, message)
        asked = stage_of(message)
        reply = self.reply_to(message)
        if not reply.has_error():
            reply.content = copied(reply.content)
        self.replies.append((name, asked, reply))
        return reply

    def errors(self, name: str = "") -> list[str]:
        """Return the texts of errors, of one site or of all."""
        return [reply.error.reason for site, _, reply in self.replies if reply.has_error() and name in ("", site)]

    def sent(self, asked: str = "mask") -> set[str]:
        """Return the sites that answered a stage or action."""
        return {site for site, stage, reply in self.replies if stage == asked and not reply.has_error()}


def copied(content: RecordDict) -> RecordDict:
    """Return a copy as the wire makes one: arrays as bytes, records of their own."""
    made = RecordDict()
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            made[name] = ArrayRecord({key: Array(np.array(array.numpy())) for key, array in record.items()})
        else:
            made[name] = type(record)(dict(record.items()))
    return made


@dataclass(frozen=True)
class Outcome:
    """What a server has after it attacked.

    Attributes:
        grid: with every reply.
        folder: of the run, where one was begun.
        totals: what it got as the sum of each round, before anything else was made of it.
        moved: change of the model over the run; None where it was not changed.
        failure: why its own code gave up; "" where it didn't.
    """

    grid: SitesGrid
    folder: Path
    totals: list[Any] = field(default_factory=list)
    moved: Mapping[str, Any] | None = None
    failure: str = ""

    def num_train(self, name: str) -> int:
        """Return how many training records a site says that it has, which is public."""
        (reply,) = [r for site, asked, r in self.grid.replies if (site, asked) == (name, "query.profile")][:1]
        return int(reply.content[wire.PROFILE]["num-train"])  # type: ignore[index, call-overload, arg-type]


def attack(sites: Sites, monkeypatch: pytest.MonkeyPatch, plan: Attack, **server: Any) -> Outcome:
    """Run the product's own server against the sites, changed as the attack says.

    Args:
        sites: whom to attack.
        monkeypatch: to change the server with.
        plan: what it does otherwise.
        server: `config`, where the server's settings are not those of the sites.
    """
    grid = sites.grid(plan)
    out = sites.folder / f"run-{len(list(sites.folder.glob('run-*')))}"
    totals: list[Any] = []
    models: list[Mapping[str, Any]] = []
    honest = {name: getattr(loop, name) for name in ("ask", "secure_sum_for", "release", "step")}

    def ask(link: Any, strategy: Any, arrays: Any, assignments: Any, *rest: Any) -> Any:
        models.append({name: np.array(array) for name, array in arrays.items()})
        return honest["ask"](link, strategy, arrays, [plan.assignment(each) for each in assignments], *rest)

    def secure_sum_for(*given: Any, **options: Any) -> Any:
        return plan.secure(honest["secure_sum_for"](*given, **options))

    def release(*given: Any, **options: Any) -> Any:
        (summed,) = (part for part in given if isinstance(part, Sum))
        if summed.total is not None:
            totals.append({name: np.array(part) for name, part in summed.total.items()})
        return honest["release"](*given, **options)

    def step(*given: Any) -> Any:
        models.append(honest["step"](*given))
        return models[-1]

    text = sites.folder / f"{out.name}.toml"
    text.write_text(config_to_toml(server.get("config", sites.config)))
    paths = {"config": str(text), "roster": str(sites.folder / "roster.json"), "out": str(out)}
    failure = ""
    with monkeypatch.context() as patch:
        for each in (ask, secure_sum_for, release, step):
            patch.setattr(loop, each.__name__, each)
        try:
            context = Context(1, 0, {}, RecordDict(), {**paths, "set": "", "num-nodes": len(NAMES)})
            serve(grid, context)
        except WardroundError as error:
            failure = f"{type(error).__name__}: {error}"
    moved = {name: models[-1][name].astype(np.float64) - models[0][name] for name in models[0]} if models else None
    if moved is not None and not any(part.any() for part in moved.values()):
        moved = None
    return Outcome(grid, out, totals, moved, failure)


def refused_by_all(outcome: Outcome) -> bool:
    """Return whether no site sent anything that was trained, and each of them said no."""
    return not outcome.grid.sent("mask") and all(outcome.grid.errors(name) for name in NAMES)


def flat(arrays: Mapping[str, Any]) -> Any:
    """Return all arrays one after the other, by name."""
    return np.concatenate([np.asarray(arrays[name], np.float64).reshape(-1) for name in sorted(arrays)])


def cosine(one: Any, other: Any) -> float:
    """Return how alike two vectors are in direction."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def octets_of(reply: Message) -> bytes:
    """Return all that a reply carries, as it stands in it."""
    if reply.has_error():
        return reply.error.reason.encode()
    parts = []
    for record in reply.content.values():
        if isinstance(record, ArrayRecord):
            parts += [array.data for array in record.values()]
        else:
            parts += [
                item if isinstance(item, bytes) else str(item).encode()
                for value in record.values()
                for item in (value if isinstance(value, list) else [value])
            ]
    return b"\n".join(parts)


def without_own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sites do as they are asked, for controls: leave out what they hold a server to."""

    def introduced(site: RealSite, message: Message, context: Context) -> Message:
        return wire.profile_reply(hospital_profile(site.asked(context), site.federation), message)

    monkeypatch.setattr(RealSite, "introduce", introduced)
    for name in ("check_terms", "admit"):
        monkeypatch.setattr(RealSite, name, lambda *given: None)
