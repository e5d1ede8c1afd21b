"""Torch models by name or by a user's factory, made fit for per-record gradients, and their named parameters.

What is left out on purpose: what a model does with a batch, which is asked where it is trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround.config import ModelConfig
from wardround.errors import ConfigError, UpdateError, WardroundError
from wardround.exact_sums import Arrays
from wardround.models.fitting import check_records_apart, copied, take_shapes, try_one_batch, without_batch_statistics
from wardround.models.named import BUILDERS, IMAGE_MODELS
from wardround.models.sequences import SEQUENCE_MODELS
from wardround.objects import called_with, from_name

__all__ = ["build_model", "load_parameters", "parameters_of"]

_NUMPY_TYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
"""Whose memory torch shares with NumPy."""


def build_model(
    config: ModelConfig, *, input_shape: Sequence[int], num_outputs: int, seed: int, private: bool = True
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with its initial parameters, and notes on what was changed to make it fit.

    The same arguments give the same parameters in every process.

    Args:
        config: name and sizes.
        input_shape: shape of one record, (d,), (steps, features) or (channels, height, width).
        num_outputs: classes, or 1 for regression.
        seed: of the initial parameters.
        private: refuse a model that mixes records. Layers that do (batch normalisation, for one) are replaced anyway.

    Raises:
        ConfigError: the name is unknown, the data don't fit the model, or a user's factory failed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _named_or_users(config, tuple(input_shape), num_outputs)
        take_shapes(config.name, model, tuple(input_shape))
        # Without privacy too: the same job then trains the same model whatever its privacy.
        model, notes = without_batch_statistics(config.name, model, tuple(input_shape))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f'model "{config.name}" has no trainable parameter ([model] name)')
    try_one_batch(config.name, model, tuple(input_shape), num_outputs)
    if private and ":" in config.name:
        check_records_apart(config.name, model, tuple(input_shape))
    return model, notes


def parameters_of(model: nn.Module, *, are_copied: bool = True) -> Arrays:
    """Return the trainable parameters by name, as arrays on the CPU: copies, or the model's own memory to read from."""
    found = {name: p.detach().cpu().numpy() for name, p in model.named_parameters() if p.requires_grad}
    return {name: array.copy() for name, array in found.items()} if are_copied else found


def load_parameters(model: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Copy named arrays into the model's trainable parameters, in place.

    Raises:
        UpdateError: names or shapes differ.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if parameters.keys() != arrays.keys():
        different = sorted(parameters.keys() ^ arrays.keys())
        raise UpdateError(f"the parameters {', '.join(different[:5])} are on one side only: both need the same [model]")
    with torch.no_grad():
        for name, parameter in parameters.items():
            array = arrays[name]
            if tuple(array.shape) != tuple(parameter.shape):
                raise UpdateError(f"parameter {name} has shape {array.shape}, the model wants {tuple(parameter.shape)}")
            if parameter.device.type == "cpu" and _NUMPY_TYPES.get(parameter.dtype) == array.dtype:
                np.copyto(parameter.detach().numpy(), array)
            else:
                # A copy, because arrays that came through shared memory are read-only.
                parameter.copy_(torch.tensor(array))


def _named_or_users(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    if ":" in config.name:
        return _users_model(config, input_shape, num_outputs)
    if config.name not in BUILDERS:
        raise ConfigError(
            f'model name = "{config.name}" must be one of {", ".join(BUILDERS)} or "package.module:factory" '
            "([model] name)"
        )
    if config.name in IMAGE_MODELS and len(input_shape) != 3:
        raise ConfigError(
            f'model name = "{config.name}" needs images, these records have shape {input_shape}: '
            'use "logistic" or "mlp" ([model] name)'
        )
    if config.name in SEQUENCE_MODELS and len(input_shape) not in (2, 3):
        raise ConfigError(
            f'model name = "{config.name}" needs sequences (steps, features) or images, which are read row by row, and '
            f'these records have shape {input_shape}: use "logistic" or "mlp" ([model] name)'
        )
    return BUILDERS[config.name](config, input_shape, num_outputs)


def _users_model(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    name = config.name
    try:
        made = from_name(name, config.handed)
        if isinstance(made, nn.Module):
            model = copied(name, made)
        else:
            model = called_with(made, input_shape=input_shape, num_outputs=num_outputs)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'model name = "{name}" could not be built: {type(error).__name__}: {error}. It must be a torch module, or '
            "a callable that returns one and may take the arguments input_shape and num_outputs, importable from here "
            "([model] name)"
        ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f'model name = "{name}" returned {type(model).__name__}, not a torch.nn.Module')
    return model
