"""Record x distributed: every record's clipped gradient rounded, the integers summed with a share of the noise."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clients.cells.half import Arrays, TorchHalf, with_noise
from wardround.clients.checks import check_records_apart
from wardround.clients.gradient_sums import GhostSum, RoundedSum
from wardround.clients.steps import Counts, Steps, by_record, summed_batch
from wardround.clients.tensors import HospitalTensors
from wardround.clients.updates import noisy_residues
from wardround.errors import ConfigError
from wardround.privacy.sampling import PoissonSampler
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["RECORD_DISTRIBUTED"]


def _train(
    steps: Steps,
    arrays: Mapping[str, NDArray[Any]],
    tensors: HospitalTensors,
    assignment: Assignment,
    key: Key,
    sampler: PoissonSampler,
    proximal_mu: float,
) -> tuple[Arrays, Counts]:
    module, optimizer = by_record(steps, tensors, assignment, RoundedSum, GhostSum)
    if not isinstance(optimizer, RoundedSum):
        raise ConfigError(
            'grad-sample-mode = "ghost" never has single gradients, which are rounded one by one here: set "auto" '
            "([training] grad-sample-mode)"
        )
    event = assignment.event
    optimizer.round_with(
        scale=event.scaled_norm / float(assignment.max_grad_norm or 0.0),
        norm_bound_squared=norm_bound_squared(event.scaled_norm, event.dimension),
        generator=key.generator(Draw.ROUNDING),
    )
    nothing, counts = summed_batch(steps, module, optimizer, tensors, sampler)
    sent, noise_multiplier = noisy_residues(optimizer.integer_sum, nothing, assignment, key.generator(Draw.NOISE))
    return sent, with_noise(counts, noise_multiplier)


def _noise_alone(zeros: Mapping[str, NDArray[Any]], assignment: Assignment, key: Key) -> Arrays:
    nothing = np.zeros(sum(array.size for array in zeros.values()), np.int64)
    return noisy_residues(nothing, zeros, assignment, key.generator(Draw.NOISE))[0]


RECORD_DISTRIBUTED = TorchHalf(
    name="record-distributed", records_apart=True, check=check_records_apart, train=_train, noise_alone=_noise_alone
)
