"""How many numbers are worked on at a time: as many as a processor's caches hold, or as keep a GPU busy.

What is left out on purpose: any say of how much memory is free. Bits of sums may depend on these sizes, which follow
from the kind of device alone.
"""

import torch

__all__ = ["numbers_at_a_time"]

_ON_A_GPU = 2**28
"""1 GiB of float32: thousands of times what all its multiprocessors hold."""


def numbers_at_a_time(device: torch.device, in_caches: int) -> int:
    """Return how many numbers are worked on at a time on a device.

    >>> numbers_at_a_time(torch.device("cpu"), 2**17)
    131072
    >>> numbers_at_a_time(torch.device("cuda"), 2**17)
    268435456

    Args:
        device: where they are.
        in_caches: how many stay in a processor's caches (> 0).
    """
    return in_caches if device.type == "cpu" else _ON_A_GPU
