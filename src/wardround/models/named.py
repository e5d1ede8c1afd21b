"""The field's usual models by name, with normalisation that never mixes records (GroupNorm).

What is left out on purpose: pretrained weights, and any layer that sees a whole batch at once.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wardround.config import ModelConfig
from wardround.models.sequences import lstm, transformer

__all__ = ["BUILDERS", "IMAGE_MODELS", "ResidualBlock"]

_VGG19_STAGES = (2, 2, 4, 4, 4)  # convolutions a stage: Simonyan and Zisserman 2015, table 1, column E


def _logistic(_: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """A linear model from zero: its loss is convex, and random weights would be one more noise to unlearn."""
    linear = nn.Linear(math.prod(input_shape), num_outputs)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    return nn.Sequential(nn.Flatten(), linear)


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
    size, stride, padding = (3, 1, 1) if small else (7, 2, 3)
    stem: list[nn.Module] = [
        nn.Conv2d(input_shape[0], width, size, stride=stride, padding=padding, bias=False),
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


IMAGE_MODELS = ("cnn", "resnet18", "vgg19")
BUILDERS: dict[str, Callable[[ModelConfig, tuple[int, ...], int], nn.Module]] = {
    "logistic": _logistic,
    "mlp": _mlp,
    "cnn": _cnn,
    "resnet18": _resnet18,
    "vgg19": _vgg19,
    "lstm": lstm,
    "transformer": transformer,
}
