"""A real site's app over real key files: its own file decides everything, and only refusals say why it did not."""

import json
import logging
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp.strategy import FedAvg
from planned_parts import CELLS, config_of
from site_files import SETTINGS, site_config, tables_of, write_patients, write_sites, write_toml

from wardround import wire
from wardround.clients.app import app
from wardround.clients.released import read_releases
from wardround.clients.site_code import site_code
from wardround.clients.training import LocalTrainer
from wardround.config import Config, config_to_toml
from wardround.errors import ConfigError, ProtocolError, Refusal
from wardround.identity import agreed_digest, agreed_text
from wardround.models import build_model, parameters_of
from wardround.privacy.accounting import headline_epsilon
from wardround.rounds import ProfileMeasures
from wardround.server.app import serve
from wardround.server.record.verify import verify_run
from wardround.simulations.engines.flower_internals import take_identity
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node

CONSTANT = "site north could not do this: its log says why"


def ask(path: Path | str, kind: str, records: Mapping[str, Any] | None = None, **run_config: str) -> Message:
    """Return a site's reply to a message."""
    take_identity()
    node_config = {"site": str(path)}
    context = Context(run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config={**run_config})
    return app(Message(RecordDict(dict(records or {})), dst_node_id=1, message_type=kind), context)


def told(config: Config, code: Path | None = None) -> dict[str, ConfigRecord]:
    """Return what an honest server says of its settings."""
    text, digest = agreed_text(config, code=code), agreed_digest(config, code=code)
    return {wire.CONFIG: ConfigRecord({"settings": text, "settings-digest": digest})}


def served(folder: Path, config: Config, paths: Mapping[str, Path], out: str = "run") -> Path:
    """Run the product's own server over the sites, and return the run's folder."""
    text = config_to_toml(config)
    (folder / "server.toml").write_text(text)
    nodes = [Node(node_id=number, node_config={"site": str(path)}) for number, path in enumerate(paths.values(), 1)]
    run_config = {"config": str(folder / "server.toml"), "out": str(folder / out), "num-nodes": len(nodes)}
    run_config |= {"roster": str(folder / "roster.json")}
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    return serve(InlineGrid(lambda: app, nodes), context)


def completed(folder: Path) -> list[int]:
    """Return how many sites completed each round, from round 1."""
    lines = (folder / "rounds.csv").read_text().splitlines()
    place = lines[0].split(",").index("num_completed")
    return [int(line.split(",")[place]) for line in lines[2:]]


def test_a_profile_says_what_the_schema_makes_public_and_no_more(tmp_path: Path) -> None:
    reply = ask(write_sites(tmp_path)["north"], "query.profile", told(site_config()))
    profile = wire.read_profile(reply)
    assert (profile.hospital_id, profile.task, profile.input_shape, profile.num_outputs) == (
        "north",
        "classification",
        (3,),
        2,
    )
    assert 1 <= profile.num_train < 40
    assert wire.read_measures(ProfileMeasures, reply) is None


@pytest.mark.parametrize(("unit", "placement", "adaptive"), [("record", "none", False), *CELLS])
def test_sites_and_their_server_agree_in_every_cell(unit: str, placement: str, adaptive: bool, tmp_path: Path) -> None:
    """Whatever both compute by themselves is the same: all sites are in every sum, and all of it is noted and paid."""
    config = config_of(unit, placement, adaptive)
    paths = write_sites(tmp_path, tables_from(config))
    folder = served(tmp_path, config, paths)
    assert completed(folder) == [3, 3]
    assert verify_run(folder)[0] == []
    summary = json.loads((folder / "summary.json").read_text())
    for name, path in paths.items():
        noted = read_releases(path.parent / "site.key-released")
        assert [release.round_number for release in noted] == [1, 2]
        assert len({(release.run_id, release.settings, release.data) for release in noted}) == 1
        events = [release.event for release in noted if release.event is not None]
        if placement != "none":
            assert headline_epsilon(events, 1e-3) == summary["epsilon"]["hospitals"][name]


def tables_from(config: Config) -> dict[str, Any]:
    """Return the tables of a record, as a site's file has them."""
    return {name: table for name, table in tomllib.loads(config_to_toml(config)).items() if name != "simulation"}


@pytest.mark.parametrize(
    ("unit", "placement"), [("record", "local"), ("record", "distributed"), ("hospital", "central")]
)
def test_a_target_is_met_by_the_servers_own_plan(unit: str, placement: str, tmp_path: Path) -> None:
    wanted = {"noise-multiplier": None, "target-epsilon": 2.0, "budget-epsilon": 2.0}
    config = config_of(unit, placement, privacy=wanted, training={"num-rounds": 3})
    folder = served(tmp_path, config, write_sites(tmp_path, tables_from(config)))
    assert completed(folder) == [3, 3, 3]
    assert json.loads((folder / "summary.json").read_text())["epsilon"]["max"] <= 2.0


@pytest.mark.parametrize(
    "aggregation", [{"strategy": "fedprox", "proximal-mu": 0.1}, {"strategy": "fedadam", "eta": 0.1}]
)
def test_strategies_that_tell_sites_something_or_nothing(aggregation: dict[str, Any], tmp_path: Path) -> None:
    """FedProx' pull is the site's own setting, and what the server asks for must be that."""
    tables = tables_of(aggregation=aggregation)
    folder = served(tmp_path, site_config(aggregation=aggregation), write_sites(tmp_path, tables))
    assert completed(folder) == [3, 3]


def test_a_pull_that_the_settings_do_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the largest one, all sites would send the model back as it is, but for one that is told nothing."""
    real = FedAvg.configure_train

    def pulling(self: FedAvg, number: int, arrays: Any, config: ConfigRecord, grid: Any) -> Any:
        return real(self, number, arrays, ConfigRecord({**config, wire.PROXIMAL_MU: 1e9}), grid)

    monkeypatch.setattr(FedAvg, "configure_train", pulling)
    folder = served(tmp_path, site_config(), write_sites(tmp_path))
    assert completed(folder) == [0, 0]
    assert (
        "proximal-mu = 1000000000.0 is asked for, and this site's settings say 0.0"
        in (folder / "summary.json").read_text()
    )


def test_an_absent_site_is_left_out_and_cohorts_stay_those_of_the_roster(tmp_path: Path) -> None:
    config = site_config(training={"num-rounds": 6, "fraction-train": 0.67, "local-steps": 2, "sample-rate": 0.5})
    paths = write_sites(tmp_path, tables_from(config))
    del paths["south"]
    folder = served(tmp_path, config, paths)
    lines = [line.split(",") for line in (folder / "hospitals.csv").read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert {row["hospital"] for row in rows} == {"east", "north"}
    # Two of three are drawn for each round; in some only one of them is there, which is too few for a sum.
    assert set(completed(folder)) == {0, 2}
    for name, path in paths.items():
        noted = [release.round_number for release in read_releases(path.parent / "site.key-released")]
        assert noted == [int(row["round"]) for row in rows if row["hospital"] == name and row["completed"] == "1"]


@pytest.mark.parametrize(
    "records",
    [
        {},
        {wire.CONFIG: ConfigRecord({"settings": "", "settings-digest": b""})},
        {wire.CONFIG: ConfigRecord({"settings-digest": agreed_digest(site_config()).hex()})},
        told(site_config(training={"learning-rate": 1e-30})),
        told(site_config(privacy={"placement": "none", "noise-multiplier": None})),
    ],
)
def test_a_server_of_other_settings_is_refused(records: dict[str, Any], tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    with pytest.raises(Refusal, match=r"the server's settings are not those of north, whose log names what differs"):
        ask(path, "query.profile", records)


def test_the_sites_own_log_names_what_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_sites(tmp_path)["north"]
    with pytest.raises(Refusal) as refused:
        ask(path, "query.profile", told(site_config(training={"num-rounds": 9})))
    assert "own: training.num-rounds = 2" in caplog.text
    assert "server: training.num-rounds = 9" in caplog.text
    assert "num-rounds" not in str(refused.value)


def test_evaluation_is_refused_whatever_is_sent(tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    for records in ({}, {wire.ARRAYS: wire.array_record({"weight": np.zeros((2, 3))})}):
        with pytest.raises(Refusal, match="north evaluates no model"):
            ask(path, "evaluate", records)


def test_a_training_message_without_the_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="sends masked vectors only"):
        ask(write_sites(tmp_path)["north"], "train", {wire.ARRAYS: wire.array_record({"weight": np.zeros(2)})})


def test_what_flower_hands_to_the_app_is_not_read(tmp_path: Path) -> None:
    path = write_sites(tmp_path)["north"]
    own = wire.read_profile(ask(path, "query.profile", told(site_config())))
    other = {"config": str(tmp_path / "none.toml"), "set": "privacy.placement=none federation.dataset=digits"}
    assert wire.read_profile(ask(path, "query.profile", told(site_config()), **other)) == own


@pytest.mark.parametrize("site", ["site.toml", "north/site.toml", ""])
def test_a_site_is_named_by_an_absolute_path(site: str) -> None:
    with pytest.raises(Refusal, match=r"start the SuperNode with --node-config 'site="):
        ask(site, "query.profile")


@pytest.mark.parametrize("node_config", [{"partition-id": 0, "hospital": "x"}, {"partition-id": 0}, {}], ids=str)
def test_a_node_that_is_not_told_its_partition_alone_is_never_simulated(node_config: dict[str, Any]) -> None:
    context = Context(run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config={})
    with pytest.raises(Refusal, match="takes everything from a file of its own"):
        app(Message(RecordDict(), dst_node_id=1, message_type="query.profile"), context)


SECRET = "patient 4711 has glucose 23.5"


def break_toml(folder: Path) -> None:
    (folder / "site.toml").write_text(f"[site]\n{SECRET}\n")


def break_key(folder: Path) -> None:
    (folder / "site.key").write_text(SECRET)


def break_table(folder: Path) -> None:
    write_patients(folder / "patients.csv", rows=[{"age": 30, "sex": SECRET, "died": "no"}] * 30)


def lose_table(folder: Path) -> None:
    (folder / "patients.csv").unlink()


def grow_table(folder: Path) -> None:
    write_patients(folder / "patients.csv", num_rows=500)


BREAKS: list[Callable[[Path], None]] = [break_toml, break_key, break_table, lose_table, grow_table]


@pytest.mark.parametrize("kind", ["query.profile", "train", "evaluate", "train.other", "query.other", "evaluate.all"])
@pytest.mark.parametrize("broken", BREAKS)
def test_of_what_goes_wrong_one_constant_sentence_leaves_whatever_is_asked(
    broken: Callable[[Path], None], kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_sites(tmp_path)["north"]
    broken(path.parent)
    caplog.set_level(logging.INFO)
    with pytest.raises((ProtocolError, ValueError)) as raised:
        ask(path, kind, told(site_config()))
    text = str(raised.value)
    assert not any(word in text for word in (*SECRET.split(), str(tmp_path), "patients", "500"))
    if kind == "query.profile":
        assert text in (CONSTANT, CONSTANT.replace("site north", "this site"))
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        assert "Traceback" in caplog.text


@pytest.mark.parametrize("failure", [ValueError, SystemExit, MemoryError, RecursionError])
def test_training_that_fails_tells_the_server_nothing(
    failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalTrainer.train

    def failing(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        if assignment.hospital_id == "north":
            raise failure(SECRET)
        return real(self, arrays, tensors, assignment, **options)

    monkeypatch.setattr(LocalTrainer, "train", failing)
    folder = served(tmp_path, site_config(), write_sites(tmp_path))
    summary = (folder / "summary.json").read_text()
    assert CONSTANT in summary
    assert not any(SECRET in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    # What might have been released is paid for.
    assert len(read_releases(tmp_path / "north" / "site.key-released")) == 2


def test_data_that_change_during_a_run_end_it_for_the_site_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_sites(tmp_path)
    real = LocalTrainer.train

    def changing(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        sent = real(self, arrays, tensors, assignment, **options)
        if assignment.hospital_id == "north":
            table = tmp_path / "north" / "patients.csv"
            lines = table.read_text().splitlines()
            table.write_text("\n".join([lines[0], *(line.replace("female", "male") for line in lines[1:])]))
        return sent

    monkeypatch.setattr(LocalTrainer, "train", changing)
    folder = served(tmp_path, site_config(), paths)
    assert completed(folder) == [3, 2]
    assert f'drops out at stage "advertise": ProtocolError: {CONSTANT}' in caplog.text
    assert "the training data are not those that run" in caplog.text


def test_a_run_more_than_agreed_is_refused_and_more_if_the_file_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_sites(tmp_path)
    assert completed(served(tmp_path, site_config(), paths, "first")) == [3, 3]
    assert "not in the model" not in capsys.readouterr().out
    capsys.readouterr()
    second = served(tmp_path, site_config(), paths, "second")
    assert completed(second) == [0, 0]
    assert "2 charged and not in the model, see left_out in summary.json" in capsys.readouterr().out
    refused = json.loads((second / "summary.json").read_text())["left_out"][0]
    reason = "runs = 1 is the most ([site] runs): the epsilons of runs add up, and whoever answers for its data"
    assert refused.startswith("round 1 was charged but left the model as it was: ") and refused.count(reason) == 1
    for name, path in paths.items():
        site = {"hospital": name, "key": "site.key", "roster": "roster.json", "data": "patients.csv", "runs": 2}
        write_toml(path, {"site": site, **SETTINGS})
    assert completed(served(tmp_path, site_config(), paths, "third")) == [3, 3]


def test_an_update_beyond_the_bound_is_held_to_it_and_no_site_drops_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal would tell the server that the update was large; the site's own log says it."""
    tables = tables_of(aggregation={"max-update": 0.01})
    folder = served(tmp_path, site_config(aggregation={"max-update": 0.01}), write_sites(tmp_path, tables))
    assert completed(folder) == [3, 3]
    assert "numbers that north sends were beyond max-update = 0.01 and are held to it" in caplog.text


def test_what_is_noted_is_noted_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = LocalTrainer.train

    def watching(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        noted = read_releases(tmp_path / assignment.hospital_id / "site.key-released")
        seen.append(len(noted) - assignment.round_number)
        return real(self, arrays, tensors, assignment, **options)

    monkeypatch.setattr(LocalTrainer, "train", watching)
    served(tmp_path, site_config(), write_sites(tmp_path))
    assert seen == [0] * 6


OWN_MODEL = """
import torch
from own_site_layers import WIDTH


def make(*, input_shape, num_outputs):
    first = torch.nn.Linear(input_shape[0], WIDTH)
    return torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(WIDTH, num_outputs))
"""


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Leave Python's path and modules as they were."""
    before = sys.path[:]
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("own_site_")]:
        del sys.modules[name]


def write_code(folder: Path, width: int) -> Path:
    """Write a model's factory and what it imports."""
    folder.mkdir()
    (folder / "own_site_model.py").write_text(OWN_MODEL)
    (folder / "own_site_layers.py").write_text(f"WIDTH = {width}\n")
    return folder


@pytest.mark.usefixtures("own_modules")
def test_sites_train_a_model_of_their_own_code(tmp_path: Path) -> None:
    own = {"model": {"name": "own_site_model:make"}}
    paths = write_sites(tmp_path, tables_of(**own), code="code")
    for path in paths.values():
        write_code(path.parent / "code", 5)
    sys.path.insert(0, str(write_code(tmp_path / "server-code", 5)))
    assert completed(served(tmp_path, site_config(**own), paths)) == [3, 3]
    # One byte of what the factory imports is another model.
    (paths["north"].parent / "code" / "own_site_layers.py").write_text("WIDTH = 6\n")
    code = tmp_path / "server-code"
    with pytest.raises(Refusal, match="the server's settings are not those of north"):
        ask(paths["north"], "query.profile", told(site_config(**own), code))
    assert not ask(paths["east"], "query.profile", told(site_config(**own), code)).has_error()


@pytest.mark.usefixtures("own_modules")
def test_code_comes_from_the_sites_folder_whatever_is_on_the_path_or_loaded(tmp_path: Path) -> None:
    config = site_config(model={"name": "own_site_model:make"})
    own = write_code(tmp_path / "own", 5)
    bundle = write_code(tmp_path / "bundle", 9)
    sys.path.insert(0, str(bundle))
    __import__("own_site_model")
    with site_code(config, own):
        model, _ = build_model(config.model, input_shape=(3,), num_outputs=2, seed=1)
    assert {array.shape for array in parameters_of(model).values()} == {(5, 3), (5,), (2, 5), (2,)}
    assert sys.path[0] == str(own)
    (own / "own_site_layers.py").unlink()
    with site_code(config, own), pytest.raises(ConfigError, match="No module named 'own_site_layers'"):
        # What the folder lacks is not taken from the bundle instead.
        build_model(config.model, input_shape=(3,), num_outputs=2, seed=1)
