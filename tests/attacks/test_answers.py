"""What a real site answers, to whatever it is asked: nothing that was measured, and no word of its table."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from real_sites import NAMES, Attack, Sites, attack, octets_of, rows_of, settings, write_rows
from rebuilding import rebuild
from small_runs import small_config

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.clients.training import LocalTrainer
from wardround.datasets import Dataset, load_federation
from wardround.datasets.hospital_data import make_hospital
from wardround.errors import WardroundError
from wardround.privacy.ledger import open_ledger
from wardround.rounds import Evaluation, Execution, HospitalProfile, ProfileMeasures, TrainingMeasures
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node

GRADIENT_SUM = {"local-steps": None, "num-rounds": 1}
CELLS = {
    "record local": settings(training={"num-rounds": 1}),
    "record distributed": settings(training=GRADIENT_SUM, privacy={"placement": "distributed"}),
    "record central": settings(training=GRADIENT_SUM, privacy={"placement": "central"}),
    "hospital local": settings(training={"num-rounds": 1}, privacy={"unit": "hospital"}),
    "hospital distributed": settings(
        training={"num-rounds": 1}, privacy={"unit": "hospital", "placement": "distributed"}
    ),
    "hospital central": settings(training={"num-rounds": 1}, privacy={"unit": "hospital", "placement": "central"}),
}
MEASURED = {
    name.replace("_", "-")
    for record in (ProfileMeasures, TrainingMeasures, Evaluation)
    for name in record.__dataclass_fields__
} - {"hospital-id"}
PUBLIC = {name.replace("_", "-") for record in (HospitalProfile, Execution) for name in record.__dataclass_fields__}
OF_THE_SUM = {
    *("name", "sealing-key", "masking-key", "signature", "receivers", "sealed", "commitment"),
    *("seeds-of", "seed-shares", "keys-of", "key-shares"),
}


@pytest.mark.parametrize("cell", CELLS)
def test_replies_of_a_real_site_have_no_field_for_what_is_measured(
    cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attack(Sites(tmp_path, CELLS[cell]), monkeypatch, Attack())
    assert outcome.failure == ""
    assert outcome.grid.sent("mask") == outcome.grid.sent("query.profile") == set(NAMES)
    for name, asked, reply in outcome.grid.replies:
        assert not reply.has_error()
        for record in reply.content.values():
            if isinstance(record, ArrayRecord):
                # Masked: whole 32-bit words, uniform to everyone.
                assert {array.dtype for array in record.values()} == {"uint32"}
                continue
            assert not set(record) & MEASURED, (name, asked)
            assert set(record) <= (OF_THE_SUM if wire.SECAGG in reply.content else PUBLIC), (name, asked)


def numbers_of(outcome: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what the sites said of themselves in clear, in an order of its own: that of the round is drawn."""
    said = [
        (name, asked, dict(record.items()))
        for name, asked, reply in outcome.grid.replies
        for kind, record in reply.content.items()
        if kind in (wire.PROFILE, wire.METRICS)
    ]
    return sorted(said, key=repr)


def test_two_tables_with_as_many_patients_get_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in them: every label and every number may be another one."""
    one = Sites(tmp_path / "one", settings())
    other = Sites(tmp_path / "other", settings(), keys_of=one)
    for name in NAMES:
        changed = [row | {"died": "no", "age": "30", "lactate": "30"} for row in rows_of(name)]
        write_rows(other.folder / name / "patients.csv", changed)
    first, second = (attack(sites, monkeypatch, Attack()) for sites in (one, other))
    assert numbers_of(first) == numbers_of(second)
    assert len(numbers_of(first)) == 3 * len(NAMES)


def test_the_server_of_real_sites_writes_nothing_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attack(Sites(tmp_path, settings()), monkeypatch, Attack())
    assert outcome.failure == ""
    tables = {}
    for name in ("rounds.csv", "hospitals.csv"):
        header, *rows = [line.split(",") for line in (outcome.folder / name).read_text().splitlines()]
        tables[name] = [dict(zip(header, row, strict=True)) for row in rows]
        for row in tables[name]:
            assert not any(row.get(key) for key in ("loss", "accuracy", "auc")), name
    assert len(tables["rounds.csv"]) == 3
    summary = json.loads((outcome.folder / "summary.json").read_text())
    assert all(summary.get(key) is None for key in ("accuracy", "auc", "auc_pooled", "majority_accuracy"))
    with open_ledger(outcome.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
    assert len(entries) == 2 * len(NAMES)
    assert {entry.fingerprint for entry in entries} <= {"", "not told"}


def test_no_digest_of_the_right_guess_is_in_anything_that_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker has the whole table, and only wants to know whether it is the one that the site trains on."""
    trained = trained_on(monkeypatch)
    sites = Sites(tmp_path, settings())
    outcome = attack(sites, monkeypatch, Attack())
    left = b"".join(
        [*(octets_of(reply) for _, _, reply in outcome.grid.replies), *map(Path.read_bytes, files_of(outcome.folder))]
    )
    guesses = {name: guesses_of(sites.folder / name / "patients.csv", *trained[name]) for name in NAMES}
    for digests in guesses.values():
        for digest in digests:
            assert digest not in left
            assert digest.hex().encode() not in left
    # The site's own digest, beside its key, is none of these guesses, and stays there.
    for name in NAMES:
        noted = [
            json.loads(path.read_text())["data"] for path in files_of(sites.folder / name / f"{name}.key-released")
        ]
        assert len(set(noted)) == 1
        assert noted[0].encode() not in left
        assert bytes.fromhex(noted[0]) not in {*guesses[name]}


def test_the_guess_is_right_where_hospitals_are_simulated(tmp_path: Path) -> None:
    grid, federation = simulated()
    (reply,) = grid.send_and_receive([Message(RecordDict(), dst_node_id=1, message_type="query.profile")])
    first = federation.hospitals[0]
    told = bytes.fromhex(str(reply.content[wire.PROFILE]["fingerprint"]))  # type: ignore[index, call-overload]
    write_rows(tmp_path / "guess.csv", rows_of("north"))
    assert told in guesses_of(tmp_path / "guess.csv", np.array(first.train_features), np.array(first.train_labels))


def guesses_of(path: Path, features: Any, labels: Any) -> set[bytes]:
    """Return digests of a table that a server could know: of its file, and of its training data as made of it."""
    columns = tuple(f"feature {number}" for number in range(features.shape[1]))
    dataset = Dataset(
        name="guess",
        task="classification",
        features=features,
        labels=labels,
        class_names=("no", "yes"),
        feature_names=columns,
    )
    hospital = make_hospital(dataset, "guess", np.arange(len(labels)), np.arange(0))
    return {hashlib.sha256(path.read_bytes()).digest(), bytes.fromhex(hospital.fingerprint)}


def simulated() -> tuple[InlineGrid, Any]:
    """Return a grid over simulated hospitals with seven test records, and their data."""
    config = small_config(federation={"num-hospitals": 5, "test-fraction": 0.06})
    federation = load_federation(config.federation)
    nodes = [Node(node_id=1, node_config={"partition-id": 0})]
    return InlineGrid(lambda: make_client_app(config, federation), nodes), federation


def asking_for_loss(grid: Any, names: tuple[str, str]) -> Callable[[Any, float], float]:
    """Return the mean loss at node 1 of a linear model with two classes, by weights and bias of the second one."""

    def loss(weights: Any, bias: float) -> float:
        arrays = {names[0]: np.stack([0 * weights, weights]), names[1]: np.array([0, bias])}
        record = wire.array_record({name: array.astype(np.float32) for name, array in arrays.items()})
        content = RecordDict({wire.ARRAYS: record, wire.CONFIG: ConfigRecord()})
        (reply,) = grid.send_and_receive([Message(content, dst_node_id=1, message_type="evaluate")])
        if reply.has_error():
            raise PermissionError(reply.error.reason)
        return float(reply.content[wire.METRICS]["loss"])  # type: ignore[index, call-overload, arg-type]

    return loss


def test_test_records_can_be_rebuilt_from_losses_and_a_site_tells_none(tmp_path: Path) -> None:
    grid, federation = simulated()
    records = federation.hospitals[0].test_features
    rebuilt, num_queries = rebuild(asking_for_loss(grid, ("1.weight", "1.bias")), records.shape[1], len(records))
    assert len(rebuilt) == len(records) == 7
    assert num_queries < 1000
    # Every record is there, all thirty of its features to a hundredth.
    assert max(min(np.abs(record - guess).max() for guess in rebuilt) for record in records) < 0.01
    site = Sites(tmp_path, settings()).grid()
    with pytest.raises(PermissionError, match="evaluat"):
        rebuild(asking_for_loss(site, ("1.weight", "1.bias")), 6, 7)
    assert site.sent("evaluate") == set()


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Refused(WardroundError):
    """One of the product's own errors, but no refusal."""


# The ways in which a table is not as it should be: a row with cells that nobody must see.
SECRET = "Q7391"
CONSTANT = "ProtocolError: site north could not do this: its log says why"
BROKEN: dict[str, Callable[[list[dict[str, str]]], list[dict[str, str]]]] = {
    "a level that is none": lambda rows: [*rows, rows[0] | {"patient": SECRET, "sex": SECRET}],
    "a number out of range": lambda rows: [*rows, rows[0] | {"patient": SECRET, "age": "739173"}],
    "a text for a number": lambda rows: [*rows, rows[0] | {"patient": SECRET, "age": SECRET}],
    "an empty cell": lambda rows: [*rows, rows[0] | {"patient": SECRET, "age": ""}],
    "a class that is none": lambda rows: [*rows, rows[0] | {"patient": SECRET, "died": SECRET}],
    "a column missing": lambda rows: [{key: row[key] for key in row if key != "sex"} for row in rows],
    "a column of another name": lambda rows: [
        {SECRET if key == "sex" else key: row[key] for key in row} for row in rows
    ],
    "too many patients": lambda rows: [row | {"patient": f"{SECRET}-{number}"} for number, row in enumerate(rows * 3)],
}


ACTIONS = ("query.profile", "query.other", "query", "train", "train.other", "evaluate", "evaluate.other")


def errors_of(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the site of "north" replies to the product's own server, and to every action out of turn."""
    errors = attack(sites, monkeypatch, Attack()).grid.errors("north")
    grid = sites.grid()
    arrays = wire.array_record({"1.weight": np.zeros((2, 6), np.float32), "1.bias": np.zeros(2, np.float32)})
    for action in ACTIONS:
        for content in ({}, {wire.ARRAYS: arrays, wire.CONFIG: ConfigRecord()}):
            node_id = NAMES.index("north") + 1
            message = Message(RecordDict(dict(content)), dst_node_id=node_id, message_type=action)
            (reply,) = grid.send_and_receive([message])
            errors.append(reply.error.reason if reply.has_error() else "answered")
    return errors


def with_table(folder: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Sites:
    sites = Sites(folder, settings(training={"num-rounds": 1}))
    write_rows(sites.folder / "north" / "patients.csv", change(rows_of("north")))
    return sites


@pytest.fixture(scope="module")
def usual_errors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what a site replies whose table has a text for a number."""
    sites = with_table(tmp_path_factory.mktemp("usual") / "sites", BROKEN["a text for a number"])
    with pytest.MonkeyPatch.context() as monkeypatch:
        return errors_of(sites, monkeypatch)


@pytest.mark.parametrize("kind", BROKEN)
def test_no_error_of_any_action_quotes_the_table(
    kind: str,
    usual_errors: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = errors_of(with_table(tmp_path / "sites", BROKEN[kind]), monkeypatch)
    assert "answered" not in errors
    for error in errors:
        assert SECRET not in error
        assert "73917" not in error
    # The site's own log has what happened; the site that could not even say who it is says one constant sentence.
    assert "DataError" in caplog.text
    assert errors[0] == CONSTANT
    # Nor do they say which kind of fault it is, or that it is this one.
    assert errors == usual_errors
    assert "patients.csv" not in "".join(errors)


@pytest.mark.parametrize("content", [b"", b"\0\xff\xfe", b"patient,died\n", b"\x93NUMPY" + bytes(9)], ids=repr)
def test_a_file_that_is_no_table_is_refused_in_the_same_words(
    content: bytes, usual_errors: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = with_table(tmp_path / "sites", list)
    (sites.folder / "north" / "patients.csv").write_bytes(content)
    assert errors_of(sites, monkeypatch) == usual_errors


def test_a_model_or_a_library_that_fails_at_a_site_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised in training, of whatever kind: an exit of the program too."""
    told = set()
    for number, error in enumerate([ValueError(SECRET), KeyError(SECRET), Refused(SECRET), SystemExit(SECRET)]):
        sites = Sites(tmp_path / str(number), settings(training={"num-rounds": 1}))

        def failing(self: LocalTrainer, *given: Any, error: BaseException = error, **named: Any) -> Any:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(LocalTrainer, "train", failing)
            outcome = attack(sites, patch, Attack())
        assert outcome.moved is None
        told |= set(outcome.grid.errors("north"))
    assert told == {CONSTANT}


def test_a_table_that_does_not_fit_is_refused_in_the_same_words_whatever_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A class of another name, or levels that are shifted by a column: the one site is left out, by name."""
    sites = Sites(tmp_path, settings(training={"num-rounds": 1}))
    shifted = [row | {"sex": "no", "died": "yes" if row["sex"] == "female" else "no"} for row in rows_of("west")]
    write_rows(sites.folder / "west" / "patients.csv", shifted)
    outcome = attack(sites, monkeypatch, Attack())
    assert outcome.failure == ""
    assert outcome.grid.sent("mask") == set(NAMES) - {"west"}
    assert not outcome.grid.sent("query.profile") & {"west"}
    # Its own log says where: the column is named.
    assert "sex" in caplog.text
    assert "sex" not in "".join(outcome.grid.errors())


def trained_on(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a dictionary that fills with the training data of every hospital that trains."""
    kept: dict[str, Any] = {}
    real = LocalTrainer.train

    def watching(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        kept[assignment.hospital_id] = tensors.train_features.numpy(), tensors.train_labels.numpy()
        return real(self, arrays, tensors, assignment, **options)

    monkeypatch.setattr(LocalTrainer, "train", watching)
    return kept


def test_who_trains_does_not_hang_on_anybodys_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = trained_on(monkeypatch)
    sites = Sites(tmp_path, settings(training={"num-rounds": 1}), runs=10)
    attack(sites, monkeypatch, Attack())
    before = {name: features.copy() for name, (features, _) in trained.items()}
    flipped = [row | {"died": "no" if row["died"] == "yes" else "yes"} for row in rows_of("north")]
    write_rows(sites.folder / "north" / "patients.csv", flipped)
    attack(sites, monkeypatch, Attack())
    for name in NAMES:
        np.testing.assert_array_equal(trained[name][0], before[name])
