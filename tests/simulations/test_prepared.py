"""What is made before any training: once, the same if the model was counted or built; refused where it can't be."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from flwr.serverapp.strategy import FedAvg
from small_runs import small_config

from wardround.clients.trainers import build_trainer
from wardround.config import ModelConfig, config_to_toml
from wardround.datasets import load_federation
from wardround.errors import ConfigError, ProtocolError
from wardround.models import build_model
from wardround.privacy.ledger import open_ledger
from wardround.server.record.run_folder import create_run_folder
from wardround.server.round.introductions import connect
from wardround.server.round.loop import federate
from wardround.simulations.prepared import plan, prepare
from wardround.simulations.runs import open_grid, run
from wardround.strategies import strategy_of

DISTRIBUTED = {"placement": "distributed", "noise-multiplier": 20.0}


def prepared_of(**sections):
    config = small_config(**sections)
    return prepare(config, strategy_of(config))


def test_the_model_is_counted_as_it_is_built():
    sections = {"privacy": DISTRIBUTED, "aggregation": {"protocol": "secure-sum"}, "training": {"local-steps": 1}}
    counted = plan(small_config(**sections))
    built = plan(small_config(**sections | {"training": {"local-steps": 1, "grad-sample-mode": "functorch"}}))
    assert counted.num_parameters == built.num_parameters == 31 * 2
    assert counted.hospitals == built.hospitals


@pytest.mark.parametrize(
    ("sections", "mode"),
    [
        ({}, "public"),
        ({"features": {"standardise": "hospital"}}, "hospital"),
        ({"features": {"standardise": "none"}}, "none"),
        ({"federation": {"dataset": "digits"}}, None),
        ({"federation": {"dataset": "digits"}, "features": {"standardise": "public"}}, "public"),
    ],
)
def test_settings_name_how_numbers_were_standardised_where_there_are_some(sections, mode):
    config = small_config(**sections)
    assert plan(config).config.features.standardise == mode
    prepared = prepared_of(**sections)
    assert prepared.config.features.standardise == mode
    assert prepared.federation.standardise == (mode or "public")
    assert all(h.profile.own_statistics == (mode == "hospital") for h in prepared.plan.hospitals)
    assert prepare(config, strategy_of(config), is_begun=True).config.features == config.features


def test_a_model_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r'"cnn" needs images'):
        plan(small_config(model={"name": "cnn"}))


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_every_model_that_is_only_counted_can_be_trained_with_privacy(name):
    config = replace(
        small_config(federation={"dataset": "digits"}), model=ModelConfig(name=name, channels=(4,), hidden_sizes=(5,))
    )
    federation = load_federation(config.federation)
    _, changes = build_model(config.model, input_shape=federation.input_shape, num_outputs=10, seed=1)
    assert changes == ()
    build_trainer(config, federation)  # which refuses a model that can't be trusted


MADE: Counter[str] = Counter()


def counted_strategy():
    MADE["strategy"] += 1
    strategy = FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
    strategy.needs_only_sum = True
    return strategy


def counted_model(*, input_shape, num_outputs):
    MADE["model"] += 1
    return torch.nn.Linear(input_shape[0], num_outputs)


def test_a_run_makes_its_strategy_once_and_its_model_once_for_itself_and_its_hospitals(tmp_path):
    MADE.clear()
    names = {
        "aggregation": {"strategy": f"{__name__}:counted_strategy"},
        "model": {"name": f"{__name__}:counted_model"},
    }
    run(small_config(training={"num-rounds": 1}, **names), out=tmp_path / "run")
    assert MADE == {"strategy": 1, "model": 1}


def test_a_strategy_that_cannot_be_had_is_refused_before_ray_is_started_and_data_is_read(tmp_path):
    """In a process of its own, where no Ray was started yet."""
    config = small_config(simulation={"engine": "ray"}, aggregation={"strategy": "no_such_module:made"})
    (tmp_path / "c.toml").write_text(config_to_toml(config))
    program = f"""
import sys
from wardround import load_config, run
from wardround.errors import ConfigError
try:
    run(load_config({str(tmp_path / "c.toml")!r}), out={str(tmp_path / "run")!r}, say=print)
except ConfigError as error:
    print("refused", "ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["refused False"], done.stderr


def test_what_was_prepared_is_what_the_run_began_with(tmp_path):
    prepared = prepared_of(training={"num-rounds": 1})
    assert prepared.plan == plan(prepared.config)
    outcome = run(prepared.config, out=tmp_path / "run").outcome
    planned = {hospital.profile.hospital_id: hospital.noise_multiplier for hospital in prepared.plan.hospitals}
    assert outcome.noise_multiplier == planned
    facts = outcome.facts
    assert set(prepared.facts.notes) <= set(facts.notes)
    assert replace(facts, notes=prepared.facts.notes, noise=None, dates=None) == prepared.facts


@pytest.mark.parametrize("other", [{"federation": {"seed": 8}}, {"federation": {"num-hospitals": 4}}])
def test_a_plan_for_other_hospitals_or_data_is_refused_before_anything_is_charged(other, tmp_path):
    prepared, elsewhere = prepared_of(), prepared_of(**other)
    folder = create_run_folder(tmp_path / "run", prepared.config)
    with (
        open_grid(prepared.config, prepared.federation) as grid,
        pytest.raises(ProtocolError, match="planned for other hospitals or data than the nodes have, which differ in"),
    ):
        federate(
            prepared.config,
            connect(grid),
            folder,
            prepared.initial,
            strategy=prepared.strategy,
            facts=prepared.facts,
            planned=elsewhere.plan,
        )
    with open_ledger(folder.ledger) as ledger:
        assert ledger.rounds() == [] and list(ledger.entries()) == []
