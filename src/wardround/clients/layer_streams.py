"""The random numbers that layers draw for themselves, such as dropout's: of each release's own stream, and no other.

What is left out on purpose: noise, batches and rounding, which are never drawn from torch's own generators.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["layers_draw_from"]


@contextmanager
def layers_draw_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let layers draw from the seed while this is entered; torch's generators then go on from where they were.

    On the processor its one generator is set, to what `torch.manual_seed` sets it to: that would also queue the seed
    for every kind of device that may yet be used, each with a formatted stack of calls that is never let go of.

    Args:
        seed: in 0..2**63 - 1.
        device: that trains.
    """
    if device.type != "cpu":
        with torch.random.fork_rng(devices=[device]):
            torch.manual_seed(seed)
            yield
        return
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
