"""The steps of local training that cells share: plain ones, private ones, and the clipped sum of one Poisson batch.

What a cell makes of them and sends is in `cells`. What is left out on purpose: any state kept between rounds (an
optimizer starts afresh, so that a resumed run goes on as an uninterrupted one).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wardround.clients.gradients import (
    GhostOptimizer,
    GhostTwin,
    LossPerRecord,
    PrivateOptimizer,
    accumulate_batch,
)
from wardround.clients.held_model import HeldModel
from wardround.clients.programs import RecordProgram
from wardround.clients.tensors import HospitalTensors
from wardround.config import TrainingConfig
from wardround.exact_sums import Arrays
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["Counts", "LocalRound", "Steps", "by_record", "plain_steps", "private_steps", "summed_batch"]

_Plain = TypeVar("_Plain", bound=PrivateOptimizer)
_Ghost = TypeVar("_Ghost", bound=GhostOptimizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was executed, counted where it happened.

    Attributes:
        num_steps: batches that the sampler drew, empty ones included.
        num_scrubbed: records whose gradient was not finite and was left out, summed over steps, and updates likewise.
        loss: mean training loss per sampled row; nan where none was sampled.
        num_noise_draws: how often noise was drawn.
        noise_multiplier: stddev of the noise drawn / sensitivity, of all shares together; 0.0 where none is drawn.
    """

    num_steps: int
    num_scrubbed: int
    loss: float
    num_noise_draws: int = 0
    noise_multiplier: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """What steps are taken with: a model, and the settings of its training.

    Attributes:
        held: the model.
        training: optimizer and learning rate.
        loss: of each row.
        device: that trains.
        most_floats: of per-record gradients at a time (>= 1); a batch with more is worked off in parts.
    """

    held: HeldModel
    training: TrainingConfig
    loss: LossPerRecord
    device: torch.device
    most_floats: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [parameter for parameter in self.held.now.parameters() if parameter.requires_grad]

    def optimizer(self) -> torch.optim.Optimizer:
        """Return a new optimizer of the parameters."""
        training = self.training
        if training.optimizer == "adam":
            return torch.optim.Adam(self.parameters, lr=training.learning_rate)
        return torch.optim.SGD(self.parameters, lr=training.learning_rate, momentum=training.momentum)

    def pull_back(self, anchor: Sequence[Tensor], proximal_mu: float) -> None:
        """Add the gradient of the proximal term mu/2 |w - w_global|^2 (Li et al. 2020, FedProx, eq. 2)."""
        for parameter, start in zip(self.parameters, anchor, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start, alpha=proximal_mu)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalRound:
    """What a hospital does its part in a round with.

    Attributes:
        received: parameters that it was sent; the model has them.
        tensors: its records.
        assignment: what it is asked to do.
        key: of the release; each purpose has a stream of its own.
        sampler: draws the batches.
        proximal_mu: strength of FedProx' pull (>= 0).
    """

    received: Mapping[str, NDArray[Any]]
    tensors: HospitalTensors
    assignment: Assignment
    key: Key
    sampler: PoissonSampler
    proximal_mu: float


def plain_steps(steps: Steps, local: LocalRound) -> Counts:
    """Train on Poisson batches with neither clip nor noise; the sum of a batch is divided by the expected size."""
    optimizer, model, tensors = steps.optimizer(), steps.held.now, local.tensors
    anchor = _copies(steps)
    losses = []
    num_scrubbed = 0
    model.train()
    for _ in range(local.assignment.schedule.num_steps):
        rows, owners = tensors.rows_of(local.sampler.draw().to(steps.device))
        optimizer.zero_grad(set_to_none=False)
        batch_losses = steps.loss(model(tensors.train_features[rows]), tensors.train_labels[rows])
        finite = batch_losses.isfinite()
        if not bool(finite.all()):
            num_scrubbed += int((~finite).sum())
            rows, owners = rows[finite], None if owners is None else owners[finite]
            batch_losses = steps.loss(model(tensors.train_features[rows]), tensors.train_labels[rows])
        weighted = batch_losses if owners is None else batch_losses / torch.bincount(owners)[owners]
        torch.autograd.backward(weighted.sum() / local.assignment.schedule.expected_batch_size)
        if local.proximal_mu:
            steps.pull_back(anchor, local.proximal_mu)
        optimizer.step()
        losses.append(batch_losses.detach())
    return Counts(num_steps=local.sampler.num_draws, num_scrubbed=num_scrubbed, loss=_mean_loss(losses))


def private_steps(steps: Steps, local: LocalRound, noise: GaussianNoise) -> Counts:
    """Train with DP-SGD: clipped gradients of Poisson batches, noise in every step (Abadi et al. 2016, algorithm 1)."""
    module, optimizer = by_record(steps, local, PrivateOptimizer, GhostOptimizer)
    optimizer.draw_from(noise)
    if local.proximal_mu:
        # The pull depends on no record, so it is added after the noise (post-processing).
        anchor = _copies(steps)
        optimizer.attach_step_hook(lambda _: steps.pull_back(anchor, local.proximal_mu))
    losses = [_private_step(steps, local, module, optimizer) for _ in range(local.assignment.schedule.num_steps)]
    return Counts(
        num_steps=local.sampler.num_draws,
        num_scrubbed=optimizer.num_scrubbed,
        loss=_mean_loss(losses),
        num_noise_draws=noise.num_draws,
        noise_multiplier=noise.stddev / optimizer.max_grad_norm,
    )


def by_record(
    steps: Steps, local: LocalRound, plain: type[_Plain], ghost: type[_Ghost]
) -> tuple[nn.Module | RecordProgram, _Plain | _Ghost]:
    """Return what leaves every record's gradient, and an optimizer that clips them as assigned.

    Args:
        steps: with the model.
        local: with the records, clip, noise multiplier and expected batch size.
        plain: kind of optimizer where single gradients are left.
        ghost: kind where they arrive summed.
    """
    assignment, max_grad_norm = local.assignment, float(local.assignment.max_grad_norm or 0.0)
    module = steps.held.by_record(local.tensors, max_grad_norm)
    kind = ghost if isinstance(module, GhostTwin) else plain
    optimizer = kind(
        steps.optimizer(),
        noise_multiplier=assignment.event.noise_multiplier,
        max_grad_norm=max_grad_norm,
        expected_batch_size=assignment.schedule.expected_batch_size,
    )
    return module, optimizer


def summed_batch(
    steps: Steps, local: LocalRound, module: nn.Module | RecordProgram, optimizer: Any
) -> tuple[Arrays, Counts]:
    """Return the clipped sum of one Poisson batch by parameter; the model stays as it is.

    Module and optimizer are of `by_record`, of a kind that keeps its sum (see `gradient_sums`).
    """
    losses = _private_step(steps, local, module, optimizer)
    names = [name for name, parameter in steps.held.now.named_parameters() if parameter.requires_grad]
    sums = {name: tensor.cpu().numpy() for name, tensor in zip(names, optimizer.gradient_sum, strict=True)}
    counts = Counts(num_steps=local.sampler.num_draws, num_scrubbed=optimizer.num_scrubbed, loss=_mean_loss([losses]))
    return sums, counts


def _private_step(steps: Steps, local: LocalRound, module: nn.Module | RecordProgram, optimizer: Any) -> Tensor:
    tensors = local.tensors
    rows, owners = tensors.rows_of(local.sampler.draw().to(steps.device))
    features, labels = tensors.train_features[rows], tensors.train_labels[rows]
    return accumulate_batch(module, optimizer, features, labels, steps.loss, owners, most_floats=steps.most_floats)


def _copies(steps: Steps) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in steps.parameters]


def _mean_loss(losses: list[Tensor]) -> float:
    together = torch.cat(losses)
    together = together[together.isfinite()]
    return float(together.mean()) if len(together) else float("nan")
