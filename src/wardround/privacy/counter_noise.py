"""Normal numbers from a counter: the n-th of a stream follows from the stream's 128 bits and n, on whatever device.

Philox 4x32 with ten rounds turns a counter of four 32-bit words and a key of two into four words. A stream's 128 bits
are the key and the two upper words of the counter; the two lower ones count. A generator that is seeded with 64 bits
would give one of 2^32 releases the noise of another with probability 0.5, and two releases with the same noise can be
subtracted. Left out on purpose: where the 128 bits come from (`streams`), and the scale (`noise`).

Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", sections 3.3 and 4; Box and
Muller 1958.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["NORMALS_PER_BLOCK", "counter_normals", "counter_words", "stream_words"]

NORMALS_PER_BLOCK = 2
_MOST_BLOCKS = 2**22
_NUM_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF


def stream_words(generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Return the 128 bits of a stream, as four words of 32 bits, drawn from a generator that is the stream's own."""
    first, second, third, fourth = (int(word) for word in generator.integers(2**32, size=4, dtype=np.uint32))
    return first, second, third, fourth


def counter_words(counter: Sequence[Tensor], key: Sequence[Tensor | int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four words for each counter (paper, section 3.3, Philox-4x32-10).

    Args:
        counter: four int64 tensors that broadcast, lowest word first, each in [0, 2^32).
        key: two words likewise, tensors or numbers.
    """
    zero, one, two, three = counter
    low, high = key
    for round_number in range(_NUM_ROUNDS):
        if round_number:
            low, high = (low + _WEYL[0]) & _WORD, (high + _WEYL[1]) & _WORD
        # 64-bit products wrap around as two's complement, whose bits are those of the unsigned product.
        left, right = zero * _MULTIPLIERS[0], two * _MULTIPLIERS[1]
        zero, one = ((right >> 32) & _WORD) ^ one ^ low, right & _WORD
        two, three = ((left >> 32) & _WORD) ^ three ^ high, left & _WORD
    return zero, one, two, three


def counter_normals(
    streams: Sequence[tuple[int, int, int, int]], first_block: int, num_normals: int, device: torch.device
) -> Tensor:
    """Return N(0, 1) of several streams, (streams, num_normals) float32, each from its block `first_block` on.

    A block makes two numbers: radius sqrt(-2 log u) with u in (0, 1] of 53 bits, so that the farthest is at 8.57, and
    an angle of 53 bits.

    Args:
        streams: their 128 bits (see `stream_words`).
        first_block: of each stream, >= 0; what was drawn before took those below.
        num_normals: of each stream, >= 0.
        device: where they are made.
    """
    num_blocks = -(-num_normals // NORMALS_PER_BLOCK)
    words = torch.tensor(streams, dtype=torch.int64, device=device).reshape(-1, 4, 1)
    drawn = torch.empty(len(streams), num_blocks * NORMALS_PER_BLOCK, dtype=torch.float32, device=device)
    step = max(1, _MOST_BLOCKS // max(1, len(streams)))
    for start in range(0, num_blocks, step):
        end = min(start + step, num_blocks)
        block = torch.arange(first_block + start, first_block + end, device=device)
        counter = (block & _WORD, block >> 32, words[:, 2], words[:, 3])
        made = counter_words(counter, (words[:, 0], words[:, 1]))
        radius = (-2 * (1 - _unit(made[0], made[1])).log()).sqrt()
        angle = _unit(made[2], made[3]) * (2 * math.pi)
        pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        drawn[:, NORMALS_PER_BLOCK * start : NORMALS_PER_BLOCK * end] = pairs.flatten(1)
    return drawn[:, :num_normals]


def _unit(high: Tensor, low: Tensor) -> Tensor:
    """Return numbers in [0, 1), multiples of 2^-53, of two words each."""
    return ((high << 21) | (low >> 11)).double() * 2.0**-53
