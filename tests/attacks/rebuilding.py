"""Test records out of mean losses: what evaluation in clear gives away of a linear model's test set."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR, SCALE = 40.0, 1e4


def rebuild(
    loss: Callable[[Any, float], float], num_features: int, num_records: int, *, most_queries: int = 4000
) -> tuple[list[NDArray[np.float64]], int]:
    """Return records that are rebuilt one by one, and how many queries it took.

    With logits (0, s (w x + b)) and a large s the loss of a record of class 0 is s max(0, w x + b), of class 1
    s max(0, -w x - b): piecewise linear in b. For b far below, only class 1 counts, with a known slope; what is left
    grows from zero where b passes the outermost record along w. There, one feature of w at a time is changed, and the
    rest changes by that record's feature.

    Args:
        loss: mean loss of the test records under weights and a bias.
        num_features: of a record.
        num_records: test records.
        most_queries: to stop at.
    """
    draws, num_queries = np.random.default_rng(1), 0

    def total(weights: Any, bias: float) -> float:
        nonlocal num_queries
        num_queries += 1
        return num_records * loss(SCALE * weights, SCALE * bias) / SCALE

    found: list[NDArray[np.float64]] = []
    while len(found) < num_records and num_queries < most_queries:
        weights = draws.normal(size=num_features)
        weights /= np.linalg.norm(weights)
        far = total(weights, -FAR)
        slope = total(weights, -FAR - 1) - far

        def rest(bias: float, weights: Any = weights, far: float = far, slope: float = slope) -> float:
            return total(weights, bias) - (far + slope * (-FAR - bias))

        low, high, value, bias = -10.0, 10.0, 0.0, 0.0
        while high - low > 0.01 and not 1e-3 <= value <= 0.06:
            bias = (low + high) / 2
            value = rest(bias)
            low, high = (bias, high) if value < 1e-3 else (low, bias)
        is_alone = 1e-3 <= value <= 0.06 and abs(rest(bias - value / 2) - value / 2) < 1e-3
        if not is_alone or any(abs(record @ weights - (value - bias)) < 0.03 for record in found):
            continue
        step, record = 0.2 * value, np.zeros(num_features)
        for feature in range(num_features):
            moved = weights.copy()
            moved[feature] += step
            record[feature] = (rest(bias, moved, total(moved, -FAR)) - value) / step
        found.append(record)
    return found, num_queries
