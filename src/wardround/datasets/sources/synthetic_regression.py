"""A regression made on the spot: a known function of six features with Gaussian noise; no file, no patients."""

from pathlib import Path

import numpy as np

from wardround.config import FederationConfig
from wardround.datasets.records import REGRESSION, Dataset
from wardround.datasets.source import Source

__all__ = ["SOURCES"]

NUM_ROWS, NUM_FEATURES, SEED = 100_000, 6, 42
NOISE_STANDARD_DEVIATION = 0.1


def load_synthetic_regression(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return 100,000 rows of six features uniform on [-1, 1] and the sum of five terms of them and noise.

    target = sin(pi x0) + x1^2 + x2 x3 + exp(x4) + x5^3 + 0.1 N(0, 1): sine, quadratic, interaction, exponential and
    cubic. The rows are always the same: drawn from seed 42, not from [federation] seed.
    """
    generator = np.random.default_rng(SEED)
    x = generator.uniform(-1, 1, size=(NUM_ROWS, NUM_FEATURES))
    target = np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2 + x[:, 2] * x[:, 3] + np.exp(x[:, 4]) + x[:, 5] ** 3
    target += generator.normal(scale=NOISE_STANDARD_DEVIATION, size=NUM_ROWS)
    return Dataset(
        name="synthetic-regression",
        task=REGRESSION,
        features=x.astype(np.float32),
        labels=target.astype(np.float32),
        class_names=(),
        feature_names=tuple(f"x{index}" for index in range(NUM_FEATURES)),
        notes=(
            "source: drawn from seed 42; target = sin(pi x0) + x1^2 + x2 x3 + exp(x4) + x5^3 + noise of standard "
            f"deviation {NOISE_STANDARD_DEVIATION}",
            "normalisation: none needed (features are uniform on [-1, 1]); the target is as drawn",
        ),
    )


SOURCES = (
    Source(
        name="synthetic-regression",
        place=90,
        sentence="a known function of six features with Gaussian noise",
        task=REGRESSION,
        num_rows=100_000,
        load=load_synthetic_regression,
    ),
)
