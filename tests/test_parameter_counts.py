"""The number of parameters in closed form is that of the model which torch builds, and None where it is not known."""

import pytest

from wardround.config import ModelConfig
from wardround.models import build_model, parameters_of
from wardround.parameter_counts import count_parameters


@pytest.mark.parametrize(
    ("name", "input_shape", "sizes"),
    [
        ("logistic", (13,), {}),
        ("logistic", (3, 5, 4), {}),
        ("mlp", (13,), {}),
        ("mlp", (1, 8, 8), {"hidden_sizes": (7, 3)}),
        ("mlp", (13,), {"hidden_sizes": ()}),
        ("cnn", (1, 28, 28), {}),
        ("cnn", (3, 9, 7), {"channels": (4, 6, 5)}),
        ("cnn", (2, 1, 1), {"channels": (3, 3)}),
        ("lstm", (12, 5), {}),
        ("lstm", (2, 6, 4), {"width": 9, "num_layers": 3}),
        ("transformer", (12, 5), {}),
        ("transformer", (2, 6, 4), {"width": 10, "num_heads": 5, "num_layers": 3}),
    ],
)
@pytest.mark.parametrize("num_outputs", [1, 10])
def test_counts_what_is_built(name, input_shape, sizes, num_outputs):
    config = ModelConfig(name=name, **sizes)
    model, _ = build_model(config, input_shape=input_shape, num_outputs=num_outputs, seed=1)
    built = sum(array.size for array in parameters_of(model).values())
    assert count_parameters(config, input_shape=input_shape, num_outputs=num_outputs) == built


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [("resnet18", (3, 32, 32)), ("vgg19", (3, 32, 32)), ("own.models:net", (4,)), ("cnn", (4,)), ("lstm", (4,))],
)
def test_leaves_to_torch_what_only_torch_knows(name, input_shape):
    assert count_parameters(ModelConfig(name=name), input_shape=input_shape, num_outputs=2) is None
