"""Gaussian noise from a stream of its own, counted as it is drawn.

For simulation only: the stream follows from the run's seed, so whoever knows the seed can subtract the noise.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wardround.privacy.counter_noise import NORMALS_PER_BLOCK, counter_normals, stream_words

__all__ = ["GaussianNoise"]


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
        self._count(1, stddev)
        if stddev == 0:
            return [torch.zeros_like(parameter) for parameter in parameters]
        if self._stream is None:
            drawn = [self._normals(parameter) for parameter in parameters]
        else:
            sizes = [parameter.numel() for parameter in parameters]
            drawn = list(torch.split(self._counted(self._stream, 1, sum(sizes), parameters[0].device)[0], sizes))
        pairs = zip(drawn, parameters, strict=True)
        return [(part.reshape(parameter.shape) * stddev).to(parameter.dtype) for part, parameter in pairs]

    def fill(self, drawn: Tensor, stddev: float) -> None:
        """Fill (steps, coordinates), contiguous float32, with the next steps' noise before it is scaled: N(0, 1).

        Times the stddev they are the numbers of as many calls of `noise_for`, whose parameters follow each other in a
        row. A stddev (>= 0) of 0 leaves zeros, and draws nothing.

        Raises:
            ValueError: the scale changed within a round.
        """
        self._count(len(drawn), stddev)
        if stddev == 0:
            drawn.zero_()
        elif self._stream is not None:
            drawn.copy_(self._counted(self._stream, drawn.shape[0], drawn.shape[1], drawn.device))
        else:
            self._generator.standard_normal(out=drawn.numpy(), dtype=np.float32)

    def _count(self, num_draws: int, stddev: float) -> None:
        if self.num_draws and stddev != self.stddev:
            raise ValueError(f"the noise scale changed within a round from {self.stddev} to {stddev}")
        self.num_draws += num_draws
        self.stddev = stddev

    def _normals(self, parameter: Tensor) -> Tensor:
        drawn = np.asarray(self._generator.standard_normal(tuple(parameter.shape), dtype=np.float32))
        return torch.from_numpy(drawn)

    def _counted(self, stream: tuple[int, int, int, int], num_steps: int, size: int, device: torch.device) -> Tensor:
        """Return (steps, coordinates) from the counter, each step from a block of its own on."""
        num_blocks = num_steps * -(-size // NORMALS_PER_BLOCK)
        drawn: Tensor = counter_normals([stream], self._next_block, num_blocks * NORMALS_PER_BLOCK, device)
        self._next_block += num_blocks
        return drawn.view(num_steps, -1)[:, :size]
