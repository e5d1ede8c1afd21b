"""A server that wants other settings, data or code at a site than the site's own file names."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from real_sites import (
    NAMES,
    SCHEMA,
    VICTIM,
    Attack,
    Outcome,
    Sites,
    attack,
    cosine,
    flat,
    octets_of,
    settings,
    without_own_checks,
    write_rows,
)

from wardround.clients.training import LocalTrainer
from wardround.config import Config, check_agreement, schema_from_table
from wardround.config.limits import keys_of
from wardround.errors import ConfigError
from wardround.identity import agreed_digest

IDLE = 1e-30
HONEST = settings(training={"num-rounds": 1})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what each site's training changed, by name: what the attacker is after."""
    kept: dict[str, Any] = {}
    real = LocalTrainer.train

    def watching(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        before = {name: np.array(array) for name, array in arrays.items()}
        result = real(self, arrays, tensors, assignment, **options)
        kept[assignment.hospital_id] = flat({name: result[0][name] - before[name] for name in result[0]})
        return result

    monkeypatch.setattr(LocalTrainer, "train", watching)
    return kept


def weighted_mean(trained: Mapping[str, Any], outcome: Outcome) -> Any:
    """Return what an honest round comes to, given what each site's training changed."""
    sizes = {name: outcome.num_train(name) for name in NAMES}
    return sum(sizes[name] * trained[name] for name in NAMES) / sum(sizes.values())


def test_a_run_config_for_all_but_one_does_not_single_that_one_out(
    tmp_path: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(name: str) -> dict[str, str]:
        return {} if name == VICTIM else {"config": "", "set": f"training.learning-rate={IDLE}"}

    outcome = attack(Sites(tmp_path, HONEST), monkeypatch, Attack(run_config=idle))
    assert outcome.moved is not None
    # All four are in it, as if no run config had been there.
    np.testing.assert_allclose(flat(outcome.moved), weighted_mean(trained, outcome), atol=1e-5)
    assert min(np.linalg.norm(trained[name]) for name in NAMES) > 0.01
    assert cosine(flat(outcome.moved), trained[VICTIM]) < 0.95


def others_idle(folder: Path) -> Sites:
    """Return sites of which all but one have a learning rate in their files that leaves them where they are."""
    sites = Sites(folder, HONEST)
    for name in set(NAMES) - {VICTIM}:
        sites.agree(name, settings(training={"num-rounds": 1, "learning-rate": IDLE}))
    return sites


def test_sites_of_different_settings_are_never_in_one_sum(
    tmp_path: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attack(others_idle(tmp_path / "own"), monkeypatch, Attack())
    assert outcome.moved is None
    assert not trained
    # What it would be for: where sites don't compare settings, the sum of four is one site's update.
    without_own_checks(monkeypatch)
    control = attack(others_idle(tmp_path / "trusting"), monkeypatch, Attack())
    assert control.moved is not None
    assert cosine(flat(control.moved), trained[VICTIM]) > 0.9999


# Another value for every key that there is; what other keys must then be to make a whole.
OTHER: dict[str, dict[str, Any]] = {
    "federation.dataset": {
        "federation": {"dataset": "breast-cancer", "target": None, "schema": None} | {"patient-column": None}
    },
    "federation.partition": {"federation": {"partition": "natural"}},
    "federation.num_hospitals": {"federation": {"num-hospitals": 4}},
    "federation.dirichlet_alpha": {"federation": {"dirichlet-alpha": 0.4}},
    "federation.shards_per_hospital": {"federation": {"shards-per-hospital": 3}},
    "federation.min_patients": {"federation": {"min-patients": 3}},
    "federation.class_weights": {"federation": {"class-weights": [0.5, 1.0]}},
    "federation.test_fraction": {"federation": {"test-fraction": 0.21}},
    "federation.seed": {"federation": {"seed": 8}},
    "federation.target": {"federation": {"target": "sex"}},
    "federation.hospital_column": {"federation": {"hospital-column": "clinic"}},
    "federation.patient_column": {"federation": {"patient-column": None}},
    "federation.task": {"federation": {"task": "classification"}},
    "federation.max_records": {"federation": {"max-records": 65}},
    "federation.schema": {"federation": {"schema": dict(reversed(SCHEMA.items()))}},
    "federation.missing_values": {"federation": {"missing-values": ["?"]}},
    "federation.separator": {"federation": {"separator": ";"}},
    "federation.decimal": {"federation": {"decimal": ","}},
    "federation.encoding": {"federation": {"encoding": "latin-1"}},
    "features.standardise": {"features": {"standardise": "public"}},
    "features.statistics_share": {"features": {"statistics-share": 0.2}},
    "model.name": {"model": {"name": "mlp"}},
    "model.hidden_sizes": {"model": {"hidden-sizes": [65]}},
    "model.channels": {"model": {"channels": [16, 33]}},
    "model.width": {"model": {"width": 65}},
    "model.num_layers": {"model": {"num-layers": 2}},
    "model.num_heads": {"model": {"num-heads": 2}},
    "training.num_rounds": {"training": {"num-rounds": 3}},
    "training.fraction_train": {"training": {"fraction-train": 0.75}},
    "privacy.noise_correlation": {
        "training": {"cohorts": "round-robin", "fraction-train": 0.75},
        "privacy": {"unit": "hospital", "placement": "central", "noise-correlation": "banded"},
    },
    "training.cohorts": {"training": {"cohorts": "round-robin"}},
    "training.local_steps": {"training": {"local-steps": 3}},
    "training.local_epochs": {"training": {"local-steps": None, "local-epochs": 1}},
    "training.batch_size": {"training": {"sample-rate": None, "batch-size": 20}},
    "training.sample_rate": {"training": {"sample-rate": 0.51}},
    "training.optimizer": {"training": {"optimizer": "adam"}},
    "training.learning_rate": {"training": {"learning-rate": 0.5000001}},
    "training.learning_rate_schedule": {"training": {"learning-rate-schedule": "cosine"}},
    "training.momentum": {"training": {"momentum": 0.1}},
    "training.weight_decay": {"training": {"weight-decay": 1e-9}},
    "training.loss_weights": {"training": {"loss-weights": [1.0, 1.0000001]}},
    "imbalance.remedy": {"imbalance": {"remedy": "duplicate", "copies": [1, 2]}},
    "imbalance.copies": {"imbalance": {"copies": [1, 2]}},
    "imbalance.max_copies": {"imbalance": {"max-copies": 3}},
    "imbalance.neighbours": {"imbalance": {"neighbours": 4}},
    "training.evaluate_every": {"training": {"evaluate-every": 2}},
    "training.grad_sample_mode": {"training": {"grad-sample-mode": "hooks"}},
    "training.device": {"training": {"device": "auto"}},
    "privacy.unit": {"privacy": {"unit": "hospital"}},
    "privacy.placement": {"privacy": {"placement": "none", "noise-multiplier": None}},
    "privacy.noise_multiplier": {"privacy": {"noise-multiplier": 1.0000001}},
    "privacy.target_epsilon": {"privacy": {"noise-multiplier": None, "target-epsilon": 3.0}},
    "privacy.max_grad_norm": {"privacy": {"max-grad-norm": 0.9999999}},
    "privacy.clipping": {"privacy": {"clipping": "automatic"}},
    "privacy.microbatch_size": {"privacy": {"microbatch-size": 2}, "federation": {"patient-column": None}},
    "privacy.target_delta": {"privacy": {"target-delta": 1.0000001e-3}},
    "privacy.budget_epsilon": {"privacy": {"budget-epsilon": 1e6}},
    "privacy.on_budget": {"privacy": {"on-budget": "drop"}},
    "privacy.patient_overlap": {"privacy": {"patient-overlap": 2}},
    "privacy.adaptive_clipping": {"privacy": {"unit": "hospital", "placement": "central", "adaptive-clipping": True}},
    "privacy.target_quantile": {
        "privacy": {"unit": "hospital", "placement": "central", "adaptive-clipping": True, "target-quantile": 0.4}
    },
    "privacy.clip_learning_rate": {
        "privacy": {"unit": "hospital", "placement": "central", "adaptive-clipping": True, "clip-learning-rate": 0.3}
    },
    "aggregation.strategy": {"aggregation": {"strategy": "fedadam"}},
    "aggregation.protocol": {"aggregation": {"protocol": "secure-sum"}},
    "aggregation.min_survivors": {"aggregation": {"min-survivors": 4}},
    "aggregation.max_colluding": {"aggregation": {"max-colluding": 1}},
    "aggregation.max_update": {"aggregation": {"max-update": 63.0}},
    "aggregation.server_learning_rate": {"aggregation": {"strategy": "fedavgm", "server-learning-rate": 0.9}},
    "aggregation.server_momentum": {"aggregation": {"strategy": "fedavgm", "server-momentum": 0.1}},
    "aggregation.eta": {"aggregation": {"strategy": "fedadam", "eta": 0.2}},
    "aggregation.eta_l": {"aggregation": {"strategy": "fedadam", "eta-l": 0.2}},
    "aggregation.beta_1": {"aggregation": {"strategy": "fedadam", "beta-1": 0.8}},
    "aggregation.beta_2": {"aggregation": {"strategy": "fedadam", "beta-2": 0.8}},
    "aggregation.tau": {"aggregation": {"strategy": "fedadam", "tau": 0.2}},
    "aggregation.proximal_mu": {"aggregation": {"strategy": "fedprox", "proximal-mu": 0.2}},
    "personal.strength": {"personal": {"strength": 0.2}},
}
SITES_OWN = {"federation.path", "federation.data_dir"}
"""Where data lies, which no site takes from settings; [simulation], [evaluation] and [audit] mean nothing to it."""
SERVERS_OWN = {"model.initial", "model.initial_digest"}
"""Where the first model comes from: a site is sent it as it is every other, and protected against all alike."""
REFUSED: dict[str, dict[str, Any]] = {
    "federation.columns": {"columns": ["age"]},
    "federation.drop_columns": {"drop-columns": ["age"]},
    "federation.date_columns": {"date-columns": ["age"]},
    "federation.categorical_columns": {"categorical-columns": ["age"]},
    "federation.positive_class": {"positive-class": "yes"},
    "federation.target_range": {"target-range": [0, 1]},
    "federation.patient_scope": {"patient-scope": "hospital"},
    "federation.time_edges": {"time-edges": [0, 1, 2]},
    "federation.event_column": {"event-column": "sex"},
    "features.bounds": {"bounds": {"age": [18, 100]}},
    "features.extract": {"extract": "scattering"},
    "features.group_norm": {"group-norm": 4},
    "personal.method": {"method": "mr-mtl"},
}
"""What no settings of real sites have."""


def keys_in(config: Config) -> set[str]:
    return {
        f"{section.name}.{name}"
        for section in fields(config)
        if section.name not in ("simulation", "evaluation", "audit") and is_dataclass(getattr(config, section.name))
        for name in keys_of(type(getattr(config, section.name))).values()
    }


def test_every_key_that_there_is_is_tried() -> None:
    assert {*OTHER, *REFUSED} == keys_in(HONEST) - SITES_OWN - SERVERS_OWN


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_real_sites_have_not_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=next(iter(REFUSED[key]))):
        check_agreement(settings(**{key.split(".")[0]: REFUSED[key]}))


@pytest.mark.parametrize("key", OTHER)
def test_a_server_whose_settings_differ_in_any_key_learns_nothing(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = settings(**{"training": {"num-rounds": 1}, **OTHER[key]})
    assert getattr(getattr(other, key.split(".")[0]), key.split(".")[1]) != getattr(
        getattr(HONEST, key.split(".")[0]), key.split(".")[1]
    )
    assert agreed_digest(other) != agreed_digest(HONEST)
    outcome = attack(Sites(tmp_path, HONEST), monkeypatch, Attack(), config=other)
    assert outcome.grid.sent("query.profile") == outcome.grid.sent("advertise") == set()
    assert outcome.failure


def test_a_schema_that_differs_in_anything_has_another_digest() -> None:
    def with_schema(schema: dict[str, Any]) -> bytes:
        return agreed_digest(settings(federation={"schema": schema}))

    changed = [
        dict(reversed(SCHEMA.items())),
        SCHEMA | {"died": {"levels": ["yes", "no"]}},
        SCHEMA | {"died": {"levels": ["no", "yes", "unknown"]}},
        SCHEMA | {"age": {"range": [18, 111], "unit": "years"}},
        SCHEMA | {"age": {"range": [18, 110], "unit": "months"}},
        SCHEMA | {"age": {"range": [18, 110]}},
        SCHEMA | {"lactate": {"range": [0, 30], "unit": "mmol/l"}},
        SCHEMA | {"weight": {"range": [0, 300]}},
        {("Age" if name == "age" else name): column for name, column in SCHEMA.items()},
    ]
    assert len({with_schema(schema) for schema in [SCHEMA, *changed]}) == 1 + len(changed)
    assert schema_from_table(SCHEMA) == HONEST.federation.schema


def test_the_sites_own_log_says_which_settings_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = settings(training={"num-rounds": 1, "learning-rate": IDLE})
    with caplog.at_level(logging.WARNING):
        outcome = attack(Sites(tmp_path, HONEST), monkeypatch, Attack(), config=other)
    assert "learning-rate = 0.5" in caplog.text
    assert "learning-rate = 1e-30" in caplog.text
    assert all("learning-rate" not in reason for reason in outcome.grid.errors())


def test_no_file_column_module_or_placement_of_the_servers_choice_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in the run config that Flower hands to the app; what was asked for is never opened, imported or trained."""
    secret = [{"name": f"Ada Q7391 {number}", "diagnosis": "cancer", "age": str(number)} for number in range(40)]
    write_rows(tmp_path / "payroll.csv", secret)
    (tmp_path / "q7391.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'it-ran')!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    payroll = f"federation.path={tmp_path}/payroll.csv"
    named = {
        "a file": f"{payroll} federation.target=diagnosis",
        "a column": f"{payroll} federation.target=diagnosis federation.hospital-column=name",
        "a key": f"federation.path={tmp_path}/honest/north/north.key federation.target=x",
        "a module": "model.name=q7391:make",
        "a loader": "federation.dataset=q7391:load",
        "a placement": "privacy.placement=none",
    }
    first = Sites(tmp_path / "honest", HONEST)
    honest = told_of(attack(first, monkeypatch, Attack()))
    for place, (what, overrides) in enumerate(named.items()):
        run_config = {"config": "", "set": f"federation.dataset=csv {overrides}", "roster": "", "out": ""}
        sites = Sites(tmp_path / f"attacked-{place}", HONEST, keys_of=first)
        outcome = attack(sites, monkeypatch, Attack(run_config=lambda name, given=run_config: given))
        assert told_of(outcome) == honest, what
        assert not any(b"Q7391" in octets_of(reply) for _, _, reply in outcome.grid.replies), what
    assert not (tmp_path / "it-ran").exists()


def told_of(outcome: Outcome) -> dict[str, Any]:
    """Return what each site said of itself, and of what it did."""
    return {
        f"{name} {asked} {kind}": dict(record.items())
        for name, asked, reply in outcome.grid.replies
        for kind, record in reply.content.items()
        if kind in ("profile", "metrics")
    }


@pytest.mark.parametrize(
    "node_config",
    [
        {"hospital": "north", "site-key": "north.key", "roster": "roster.json", "partition-id": 1},
        {"partition-id": 1, "site": "site.toml"},
        {"site": 1},
        {"site": ""},
        {"Site": "site.toml"},
        {"site": "/dev/zero"},
        {"site": "/nowhere/site.toml"},
    ],
    ids=str,
)
def test_a_real_site_is_started_with_its_file_and_nothing_else(node_config: dict[str, Any], tmp_path: Path) -> None:
    sites = Sites(tmp_path, HONEST)
    grid = sites.grid(Attack(node_config=lambda name: node_config))
    for action in ("query.profile", "train", "evaluate"):
        (reply,) = grid.send_and_receive([Message(RecordDict(), dst_node_id=2, message_type=action)])
        assert reply.has_error()
        assert "Traceback" not in reply.error.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('data = "patients.csv"', 'path = "patients.csv"'),
        ('data = "patients.csv"', 'data = "patients.csv"\nset = "privacy.placement=none"'),
        ('key = "north.key"', 'key = "../south/south.key"'),
        ("runs = 1", "runs = 0"),
        ("runs = 1", "runs = true"),
        ("[site]", "[sites]"),
        ("[federation]", '[federation]\npath = "/etc/passwd"'),
        ("[federation]", '[simulation]\nnoise = "seeded"\n\n[federation]'),
        ('protocol = "secagg+"', 'protocol = "plain"'),
        ("min-survivors = 3", "min-survivors = 2"),
        ("max-records = 64", ""),
    ],
)
def test_a_sites_file_that_is_not_as_it_must_be_answers_nothing(old: str, new: str, tmp_path: Path) -> None:
    sites = Sites(tmp_path, HONEST)
    text = sites.file("north").read_text()
    assert text.count(old) == 1
    sites.file("north").write_text(text.replace(old, new))
    grid = sites.grid()
    errors = set()
    for action in ("query.profile", "train", "evaluate"):
        (reply,) = grid.send_and_receive([Message(RecordDict(), dst_node_id=2, message_type=action)])
        errors.add(reply.error.reason)
    assert len(errors) == 1


CODE = """from torch import nn


def make(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear({width}, num_outputs))
"""


@pytest.mark.slow
def test_code_other_than_the_sites_own_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory is taken from the site's folder; the server's must be the same to the last character."""
    width = len(SCHEMA) - 1 + 2  # a text has a feature for each level, and one that may be missing another
    code = CODE.format(width=width)
    config = settings(training={"num-rounds": 1}, model={"name": "our_model:make"})
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    path = [str(bundle), *sys.path]
    for place, (text, sent) in enumerate([(f"{code}# more\n", set()), (code, set(NAMES))]):
        # In this one process the server's modules are the sites' as well: as if all were started anew.
        monkeypatch.setattr(sys, "path", list(path))
        monkeypatch.delitem(sys.modules, "our_model", raising=False)
        (bundle / "our_model.py").write_text(text)
        sites = Sites(tmp_path / str(place), config)
        for name in NAMES:
            (sites.folder / name / "code").mkdir()
            (sites.folder / name / "code" / "our_model.py").write_text(code)
            sites.agree(name, config, **{"[site]": '[site]\ncode = "code"'})
        outcome = attack(sites, monkeypatch, Attack())
        assert outcome.grid.sent("query.profile") == outcome.grid.sent("mask") == sent, outcome.failure
    sys.modules.pop("our_model", None)
