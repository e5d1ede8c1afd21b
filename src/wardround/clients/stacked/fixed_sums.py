"""Exact sums of what several hospitals send, made where their arrays are: the bits of `exact_sums.accumulate`.

Every x * weight is rounded once to a multiple of 2^-FRACTION_BITS, halves to even, as there; whole numbers add up alike
in any order and on any device. What is left out on purpose: residues, whose sums need no such care.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wardround.clients.closed_form.portions import numbers_at_a_time
from wardround.exact_sums import FRACTION_BITS, LARGEST_VALUE, FixedSum, merge

__all__ = ["add_weighted"]

_MOST_FLOATS = 2**17
"""Numbers that are scaled at a time, so that they stay in the processor's caches."""


def add_weighted(total: FixedSum, names: Sequence[str], rows: Sequence[Tensor], weights: Sequence[float]) -> list[bool]:
    """Add every hospital's arrays times its weight to the total, exactly; return whose were added.

    Left out are those of a hospital of which a value is not finite or is too large, or whose weight is no share: what
    is wrong with them is for `exact_sums.accumulate` to say.

    Args:
        total: the running total; an empty one takes on the names and shapes.
        names: of the arrays.
        rows: of each name, (hospitals, ...) float32 or float64.
        weights: of each hospital, as `exact_sums.accumulate` takes them.

    Raises:
        UpdateError: the names or shapes are not the total's.
    """
    is_good = torch.tensor([0.0 < weight <= 1.0 for weight in weights], device=rows[0].device)
    for values in rows:
        flat = values.reshape(len(values), -1)
        if flat.shape[1]:
            is_good &= flat.abs().amax(dim=1) < LARGEST_VALUE  # a nan is not
    added: list[bool] = is_good.tolist()
    if any(added):
        chosen = None if all(added) else is_good
        scales = torch.tensor(weights, dtype=torch.float64, device=rows[0].device) * 2.0**FRACTION_BITS
        scales = scales if chosen is None else scales[chosen]
        sums = [_whole_sum(values if chosen is None else values[chosen], scales) for values in rows]
        merge(total, {name: np.asarray(each.cpu().numpy()) for name, each in zip(names, sums, strict=True)})
    return added


def _whole_sum(values: Tensor, scales: Tensor) -> Tensor:
    """Return the sum over the first dimension of rint(values * scales), int64."""
    flat = values.reshape(len(values), -1)
    total = torch.zeros(flat.shape[1], dtype=torch.int64, device=flat.device)
    size = max(1, numbers_at_a_time(flat.device, _MOST_FLOATS) // max(1, len(flat)))
    for start in range(0, flat.shape[1], size):
        some = slice(start, start + size)
        scaled = torch.mul(flat[:, some].double(), scales[:, None]).round_()  # a copy, also of float64
        torch.sum(scaled.long(), dim=0, out=total[some])
    return total.view(values.shape[1:])
