"""Convolutions on a GPU in float32, and the same bits whenever they are run anew.

Left to itself, torch lets them round their inputs to the ten bits of TF32, by a thousandth of a value, and choose
algorithms that add in whatever order threads come. What is left out on purpose: products of matrices, which torch runs
in float32 unless a user asks for less.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["products_in_float32"]


@contextmanager
def products_in_float32() -> Iterator[None]:
    """Run convolutions on GPUs in float32, by algorithms that repeat their bits; nothing changes on a processor."""
    flags = torch.backends.cudnn.flags
    with flags(enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
        yield
