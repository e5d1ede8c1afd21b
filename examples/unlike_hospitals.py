"""Thirty hospitals with digits of 8 x 8 pixels that differ in their devices, or in how they code what they see.

For `[federation] dataset = "unlike_hospitals:devices"` or `"unlike_hospitals:codes"`, and `[model] name =
"unlike_hospitals:build"`. Which records a hospital has is drawn once: about 60 of all ten digits.
"""

import math

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from wardround import Federation

_NUM_HOSPITALS, _EVERY = 30, 3
_HIDDEN = 32


def devices() -> Federation:
    """Return images whose contrast and brightness are the hospital's, and at every third hospital bright is dark."""
    random, shifted = np.random.default_rng(7), {}
    for number, (name, (images, digits)) in enumerate(_dealt().items()):
        contrast, brightness = random.uniform(0.5, 1.5), random.uniform(-0.3, 0.3)
        seen = 1 - images if number % _EVERY == 0 else images
        shifted[name] = (contrast * seen + brightness).astype(np.float32), digits
    return Federation.from_arrays(shifted)


def codes() -> Federation:
    """Return images that are alike, with 1 for odd digits, and at every third hospital 1 for even ones."""
    return Federation.from_arrays(
        {
            name: (images, (digits + (number % _EVERY == 0)) % 2)
            for number, (name, (images, digits)) in enumerate(_dealt().items())
        }
    )


def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return a network that standardises every image by itself, and then scales and shifts all its pixels alike."""
    return nn.Sequential(
        nn.GroupNorm(1, input_shape[0]),
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), _HIDDEN),
        nn.Tanh(),
        nn.Linear(_HIDDEN, num_outputs),
    )


def _dealt() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    dealt = np.array_split(np.random.default_rng(2026).permutation(len(images)), _NUM_HOSPITALS)
    return {f"hospital-{number:02d}": (images[rows], digits.target[rows]) for number, rows in enumerate(dealt)}
