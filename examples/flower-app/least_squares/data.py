"""Every hospital's data, made from its name, and one step of gradient descent on it."""

import numpy as np
from numpy.typing import NDArray

NUM_FEATURES = 5
MOST_EXAMPLES = 200
TRUE_WEIGHTS = np.linspace(-1.0, 1.0, NUM_FEATURES)


def load_data(hospital: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features (num_examples, 5) and targets (num_examples,) of a hospital; hospitals differ in size."""
    rng = np.random.default_rng(list(hospital.encode()))
    num_examples = int(rng.integers(50, MOST_EXAMPLES + 1))
    features = rng.normal(size=(num_examples, NUM_FEATURES))
    return features, features @ TRUE_WEIGHTS + rng.normal(scale=0.1, size=num_examples)


def train_step(weights: NDArray[np.float32], hospital: str, learning_rate: float) -> NDArray[np.float32]:
    """Return the weights after one step of gradient descent on the hospital's mean squared error."""
    features, targets = load_data(hospital)
    gradient = features.T @ (features @ weights - targets) / len(targets)
    return (weights - learning_rate * gradient).astype(np.float32)
