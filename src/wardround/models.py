"""Torch models by name or by a user's factory, made fit for per-record gradients, and their named parameters.

The models are the field's usual ones with normalisation that never mixes records (GroupNorm). What is left out on
purpose: pretrained weights, and any layer that sees a whole batch at once.
"""

import importlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from wardround.config import ModelConfig
from wardround.errors import ConfigError, UpdateError, WardroundError

__all__ = ["ResidualBlock", "build_model", "load_parameters", "parameters_of"]

_VGG19_STAGES = (2, 2, 4, 4, 4)  # convolutions a stage: Simonyan and Zisserman 2015, table 1, column E


def build_model(
    config: ModelConfig, *, input_shape: Sequence[int], num_outputs: int, seed: int, private: bool = True
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with its initial parameters, and notes on what was changed to make it fit.

    The same arguments give the same parameters in every process.

    Args:
        config: name and sizes.
        input_shape: shape of one record, (d,) or (channels, height, width).
        num_outputs: classes, or 1 for regression.
        seed: of the initial parameters.
        private: refuse a model that mixes records. Layers that do (batch normalisation, for one) are replaced anyway.

    Raises:
        ConfigError: the name is unknown, the data don't fit the model, or a user's factory failed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _named_or_users(config, tuple(input_shape), num_outputs)
        notes: tuple[str, ...] = ()
        # Without privacy too: the same job then trains the same model whatever its privacy.
        if errors := ModuleValidator.validate(model, strict=False):
            model, notes = _fixed(config.name, model, errors)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f'model "{config.name}" has no trainable parameter ([model] name)')
    _try_one_batch(config.name, model, tuple(input_shape), num_outputs)
    if private:
        _check_records_apart(config.name, model, tuple(input_shape))
    return model, notes


def parameters_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return copies of the trainable parameters by name, as arrays on the CPU."""
    return {
        name: parameter.detach().cpu().numpy().copy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


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
            # A copy, because arrays that came through shared memory are read-only.
            parameter.copy_(torch.tensor(array))


def _named_or_users(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    if ":" in config.name:
        return _users_model(config.name, input_shape, num_outputs)
    if config.name not in _BUILDERS:
        raise ConfigError(
            f'model name = "{config.name}" must be one of {", ".join(_BUILDERS)} or "package.module:factory" '
            "([model] name)"
        )
    if config.name in _IMAGE_MODELS and len(input_shape) != 3:
        raise ConfigError(
            f'model name = "{config.name}" needs images, these records have shape {input_shape}: '
            'use "logistic" or "mlp" ([model] name)'
        )
    return _BUILDERS[config.name](config, input_shape, num_outputs)


def _users_model(name: str, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    module_name, _, factory_name = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
        model = factory(input_shape=input_shape, num_outputs=num_outputs)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'model name = "{name}" could not be built: {type(error).__name__}: {error}. '
            "It must be a callable with arguments input_shape and num_outputs, importable from here ([model] name)"
        ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f'model name = "{name}" returned {type(model).__name__}, not a torch.nn.Module')
    return model


def _fixed(name: str, model: nn.Module, errors: Sequence[Exception]) -> tuple[nn.Module, tuple[str, ...]]:
    reasons = "; ".join(str(error).splitlines()[0] for error in errors)
    try:
        model = ModuleValidator.fix(model)
    except Exception as error:
        raise ConfigError(f'model "{name}" can\'t be trained with per-record gradients: {error}') from error
    if left := ModuleValidator.validate(model, strict=False):
        raise ConfigError(
            f'model "{name}" can\'t be trained with per-record gradients: {left[0]}. '
            'Replace the layer, or set [privacy] placement = "none"'
        )
    return model, (f'model "{name}" was changed so that no layer mixes records: {reasons}',)


def _try_one_batch(name: str, model: nn.Module, input_shape: tuple[int, ...], num_outputs: int) -> None:
    """Run two empty records through the model, so that a misfit is found before any hospital is charged."""
    try:
        was_training = model.training
        with torch.no_grad():
            buffers = [buffer.clone() for buffer in model.buffers()]
            model.train()(torch.zeros((2, *input_shape)))
            changed = any(not torch.equal(*pair) for pair in zip(buffers, model.buffers(), strict=True))
            output = model.eval()(torch.zeros((2, *input_shape)))
        model.train(was_training)
    except Exception as error:
        raise ConfigError(
            f'model "{name}" can\'t take records of shape {input_shape}: {type(error).__name__}: {error}'
        ) from error
    if changed:
        raise ConfigError(
            f'model "{name}" keeps statistics of its batches in buffers, which neither travel nor are protected: '
            "remove them"
        )
    if tuple(output.shape) != (2, num_outputs):
        raise ConfigError(f'model "{name}" returned shape {tuple(output.shape)} for 2 records, want (2, {num_outputs})')


def _check_records_apart(name: str, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Refuse a model whose output for one record changes with another record of the batch.

    Per-record clipping bounds nothing there, and no list of layers can rule out what a user's forward does.
    """
    outputs = []
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            record, *others = torch.randn((3, 1, *input_shape))
            for other in others:
                torch.manual_seed(1)  # the same dropout, if there is any
                outputs.append(model(torch.cat([record, other]))[0])
    except Exception as error:
        raise ConfigError(
            f'model "{name}" failed on two random records in training mode: {type(error).__name__}: {error}. Correct '
            "its forward ([model] name)"
        ) from error
    if not torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ConfigError(
            f'model "{name}" mixes records: its output for one changes with another in the batch, so no clipping '
            'protects it. Change the model, or set [privacy] placement = "none"'
        )


def _logistic(_: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def _mlp(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    sizes = (math.prod(input_shape), *config.hidden_sizes)
    layers: list[nn.Module] = [nn.Flatten()]
    for size_in, size_out in itertools.pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], num_outputs))


def _cnn(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Convolutions with tanh, which keeps per-record gradients smaller than relu (Papernot et al. 2021)."""
    channels = (input_shape[0], *config.channels)
    layers: list[nn.Module] = []
    for channels_in, channels_out in itertools.pairwise(channels):
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2, ceil_mode=True)]
    height, width = (_halved(size, len(config.channels)) for size in input_shape[1:])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * width, num_outputs))


def _resnet18(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """ResNet-18 (He et al. 2016) with GroupNorm and, for images below 64 pixels, the 3x3 stem used on CIFAR-10."""
    width = config.width
    small = min(input_shape[1:]) < 64
    stem: list[nn.Module] = [
        nn.Conv2d(
            input_shape[0], width, 3 if small else 7, stride=1 if small else 2, padding=1 if small else 3, bias=False
        ),
        _group_norm(width),
        nn.ReLU(),
    ]
    if not small:
        stem.append(nn.MaxPool2d(3, stride=2, padding=1))
    blocks: list[nn.Module] = []
    channels_in = width
    for stage in range(4):
        channels_out = width * 2**stage
        blocks += [
            ResidualBlock(channels_in, channels_out, stride=1 if stage == 0 else 2),
            ResidualBlock(channels_out, channels_out, stride=1),
        ]
        channels_in = channels_out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_outputs)]
    return nn.Sequential(*stem, *blocks, *head)


def _vgg19(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """VGG-19 (Simonyan and Zisserman 2015) with GroupNorm and one linear layer on the last feature map."""
    layers: list[nn.Module] = []
    channels_in = input_shape[0]
    for stage, num_convolutions in enumerate(_VGG19_STAGES):
        channels_out = config.width * min(2**stage, 8)
        for _ in range(num_convolutions):
            layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), _group_norm(channels_out), nn.ReLU()]
            channels_in = channels_out
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_outputs))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, figure 2); records stay apart if they do in its parts."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            _group_norm(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            _group_norm(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), _group_norm(channels_out)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return relu(body + shortcut) of images (n, channels, height, width)."""
        return torch.relu(self.body(images) + self.shortcut(images))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = -(-size // 2)
    return size


_IMAGE_MODELS = ("cnn", "resnet18", "vgg19")
_BUILDERS: dict[str, Callable[[ModelConfig, tuple[int, ...], int], nn.Module]] = {
    "logistic": _logistic,
    "mlp": _mlp,
    "cnn": _cnn,
    "resnet18": _resnet18,
    "vgg19": _vgg19,
}
