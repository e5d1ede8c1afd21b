"""A plan before any training: the same whether the model was counted or built, and refused where a model can't be."""

from dataclasses import replace

import pytest
from small_runs import small_config

from wardround.clients.trainers import build_trainer
from wardround.config import ModelConfig
from wardround.datasets import load_federation
from wardround.errors import ConfigError
from wardround.models import build_model
from wardround.simulations import plan

DISTRIBUTED = {"placement": "distributed", "noise-multiplier": 20.0}


def test_the_model_is_counted_as_it_is_built():
    sections = {"privacy": DISTRIBUTED, "aggregation": {"protocol": "secure-sum"}, "training": {"local-steps": 1}}
    counted = plan(small_config(**sections))
    built = plan(small_config(**sections | {"training": {"local-steps": 1, "grad-sample-mode": "functorch"}}))
    assert counted.num_parameters == built.num_parameters == 31 * 2
    assert counted.hospitals == built.hospitals


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
