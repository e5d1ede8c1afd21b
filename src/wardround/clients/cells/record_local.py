"""Records, noise at the hospital: DP-SGD, noise in every step; the parameters that come of it are sent."""

from dataclasses import dataclass

import torch

from wardround.clients.cells.half import TorchHalf
from wardround.clients.held_model import HeldModel
from wardround.clients.steps import Counts, LocalRound, Steps, private_steps
from wardround.exact_sums import Arrays
from wardround.models import parameters_of
from wardround.privacy.noise import GaussianNoise
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["RecordLocal"]


@dataclass(frozen=True, slots=True)
class RecordLocal(TorchHalf):
    """DP-SGD."""

    steps = Steps.PRIVATE

    def train(self, held: HeldModel, local: LocalRound) -> tuple[Arrays, Counts]:
        """Return the parameters after private steps."""
        counts = private_steps(held, local, GaussianNoise(local.key.generator(Draw.NOISE), held.device))
        return parameters_of(held.model), counts

    def noise_alone(self, zeros: Arrays, assignment: Assignment, key: Key) -> Arrays:
        """Return the noise of one step, before the step divides it by the batch."""
        stddev = assignment.event.noise_multiplier * assignment.distance
        noise = GaussianNoise(key.generator(Draw.NOISE), torch.device("cpu"))
        drawn = noise.noise_for([torch.from_numpy(array) for array in zeros.values()], stddev)
        return {name: part.numpy() for name, part in zip(zeros, drawn, strict=True)}
