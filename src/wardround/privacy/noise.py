"""Gaussian noise from a stream of its own, counted as it is drawn.

For simulation only: the stream follows from the run's seed, so whoever knows the seed can subtract the noise.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wardround.privacy.counter_noise import NORMALS_PER_BLOCK, counter_normals, stream_words

__all__ = ["GaussianNoise", "fill_together"]


class GaussianNoise:
    """Draws the noise of one hospital in one round, and counts it.

    On a CPU the numbers come from the NumPy stream itself: torch's CPU generator keeps 32 bits of its seed, so two of
    10^5 hospital-rounds would be likely to share all their noise. On any other device they are made there, from a
    counter and 128 bits of the NumPy stream (`counter_noise`): torch's generators keep 64 bits of theirs.

    Attributes:
        num_draws: noisy steps so far.
        stddev: standard deviation used in every step so far; nan before the first.
    """

    def __init__(
        self, generator: np.random.Generator, device: torch.device, *, from_counter: bool | None = None
    ) -> None:
        """Draw from `generator` for parameters on `device`; `from_counter` None: on any device but a CPU."""
        self.num_draws = 0
        self.stddev = float("nan")
        self._generator = generator
        is_counted = device.type != "cpu" if from_counter is None else from_counter
        self._stream = stream_words(generator) if is_counted else None
        self._next_block = 0

    def noise_for(self, parameters: Sequence[Tensor], stddev: float) -> list[Tensor]:
        """Return one step's noise: N(0, stddev^2) for every coordinate of every parameter, independent.

        Parameters give the shapes, dtypes and device. A stddev (>= 0) of 0 gives zeros, and is counted as well.

        Raises:
            ValueError: the scale changed within a round.
        """
        if self._stream is None and stddev != 0:
            self._count(1, stddev)
            drawn = [self._normals(parameter) for parameter in parameters]
        else:
            sizes = [parameter.numel() for parameter in parameters]
            flat = torch.empty(1, sum(sizes), device=parameters[0].device)
            self.fill(flat, stddev)
            drawn = list(torch.split(flat[0], sizes))
        pairs = zip(drawn, parameters, strict=True)
        return [(part.reshape(parameter.shape) * stddev).to(parameter.dtype) for part, parameter in pairs]

    def fill(self, drawn: Tensor, stddev: float) -> None:
        """Fill (steps, coordinates), contiguous float32, with the next steps' noise before it is scaled: N(0, 1).

        Times the stddev they are the numbers of as many calls of `noise_for`, whose parameters follow each other in a
        row. A stddev (>= 0) of 0 leaves zeros, and draws nothing.

        Raises:
            ValueError: the scale changed within a round.
        """
        if self._stream is not None and stddev != 0:
            fill_together([self], drawn[None], [len(drawn)], [stddev])
            return
        self._count(len(drawn), stddev)
        if stddev == 0:
            drawn.zero_()
        else:
            self._generator.standard_normal(out=drawn.numpy(), dtype=np.float32)

    def taken(self, num_steps: int, stddev: float, size: int) -> tuple[int, tuple[int, int, int, int]] | None:
        """Return from which block on, and of which stream, the next steps' numbers are, and count them as drawn.

        None where they don't come from a counter, or are none: then nothing is counted.

        Raises:
            ValueError: the scale changed within a round.
        """
        if self._stream is None or stddev == 0:
            return None
        self._count(num_steps, stddev)
        first_block, self._next_block = self._next_block, self._next_block + num_steps * _blocks(size)
        return first_block, self._stream

    def _count(self, num_draws: int, stddev: float) -> None:
        if self.num_draws and stddev != self.stddev:
            raise ValueError(f"the noise scale changed within a round from {self.stddev} to {stddev}")
        self.num_draws += num_draws
        self.stddev = stddev

    def _normals(self, parameter: Tensor) -> Tensor:
        drawn = np.asarray(self._generator.standard_normal(tuple(parameter.shape), dtype=np.float32))
        return torch.from_numpy(drawn)


def fill_together(
    noises: Sequence[GaussianNoise], drawn: Tensor, num_steps: Sequence[int], stddevs: Sequence[float]
) -> None:
    """Fill (hospitals, steps, coordinates), contiguous float32, with the next steps' noise of each, as `fill` does.

    What stands beyond a hospital's own number of steps is not to be used. Streams from counters are drawn all at once.

    Raises:
        ValueError: the scale changed within a round.
    """
    of_blocks: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = {}
    for place, (noise, steps, stddev) in enumerate(zip(noises, num_steps, stddevs, strict=True)):
        taken = noise.taken(steps, stddev, drawn.shape[2])
        if taken is None:
            noise.fill(drawn[place, :steps], stddev)
        else:
            first_block, stream = taken
            of_blocks.setdefault(first_block, []).append((place, stream))
    num_normals = drawn.shape[1] * _blocks(drawn.shape[2]) * NORMALS_PER_BLOCK
    for first_block, found in of_blocks.items():
        made = counter_normals([stream for _, stream in found], first_block, num_normals, drawn.device)
        places = torch.tensor([place for place, _ in found], device=drawn.device)
        drawn[places] = made.view(len(found), drawn.shape[1], -1)[:, :, : drawn.shape[2]]


def _blocks(size: int) -> int:
    """Return how many blocks of a counter a step takes, which begins in one of its own."""
    return -(-size // NORMALS_PER_BLOCK)
