"""The steps of local training that cells share: plain ones, private ones, and the clipped sum of one Poisson batch.

What a cell makes of them and sends is in `cells`. What is left out on purpose: any state kept between rounds (an
optimizer starts afresh, so that a resumed run goes on as an uninterrupted one).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import torch
from torch import Tensor

from wardround.agreed.learning_rates import learning_rate_in
from wardround.clients.gradients import ClippedSum, PerRecord, chunks
from wardround.clients.held_model import HeldModel
from wardround.clients.hospital_sides import SideInRound
from wardround.clients.optimizers import LocalOptimizer
from wardround.clients.tensors import HospitalTensors
from wardround.exact_sums import Arrays
from wardround.models import load_parameters
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Draw, Key

__all__ = ["Counts", "LocalRound", "Steps", "add_batch", "plain_steps", "private_steps"]


class Steps(Enum):
    """What a hospital does before anything leaves it.

    Plain or private steps; the clipped sum of one batch; or the sum of records that are rounded one by one.
    """

    PLAIN, PRIVATE, SUM, ROUNDED_SUM = auto(), auto(), auto(), auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was executed beside the batches that the sampler counts, counted where it happened.

    Attributes:
        num_scrubbed: records whose gradient was not finite and was left out, summed over steps, and updates likewise.
        loss: mean training loss per sampled row, with the weights of classes; nan where none was sampled.
        num_noise_draws: how often noise was drawn.
        noise_multiplier: stddev of the noise drawn / sensitivity, of all shares together; 0.0 where none is drawn.
    """

    num_scrubbed: int
    loss: float
    num_noise_draws: int = 0
    noise_multiplier: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalRound:
    """What a hospital does its part in a round with.

    Attributes:
        received: parameters that all were sent; the model has them.
        key: of the release; each purpose has a stream of its own.
        sampler: draws the batches.
        proximal_mu: strength of FedProx' pull (>= 0).
        side: what the strategy makes of the gradient of a step; None where it has no hospital side.
        own: parameters that it begins from in place of those; the pull goes to what all were sent.
    """

    received: Arrays
    tensors: HospitalTensors
    assignment: Assignment
    key: Key
    sampler: PoissonSampler
    proximal_mu: float
    side: SideInRound | None = None
    own: Arrays = field(default_factory=dict)

    @property
    def clip(self) -> float:
        """L2 clip of a record's gradient or of the whole update."""
        return float(self.assignment.max_grad_norm or 0.0)

    def batch(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the features and labels of the next batch, and whose each row is where that is not the row's own."""
        rows, owners = self.tensors.rows_of(self.sampler.draw().to(device))
        return self.tensors.train_features[rows], self.tensors.train_labels[rows], owners

    @property
    def expected_batch_size(self) -> float:
        """Records of a batch on average, synthetic ones among them, which no number that is assigned tells of."""
        expected, tensors = self.assignment.schedule.expected_batch_size, self.tensors
        if not tensors.num_synthetic:
            return expected
        return expected * tensors.num_train / (tensors.num_train - tensors.num_synthetic)

    @property
    def layers_seed(self) -> int:
        """What random layers, such as dropout, draw from, in 0..2**63 - 1; never the noise."""
        return int(self.key.generator(Draw.LAYERS).integers(2**63))


def plain_steps(held: HeldModel, local: LocalRound) -> Counts:
    """Train on Poisson batches with neither clip nor noise; the sum of a batch is divided by the expected size.

    A large batch goes through the model in parts, whose gradients add up.
    """
    optimizer, model = _optimizer(held, local), held.model
    anchor = _begun(held, local)
    losses = []
    num_scrubbed = 0
    model.train()
    for _ in range(local.assignment.schedule.num_steps):
        features, labels, owners = local.batch(held.device)
        # None, so that the next pass leaves its gradient where it made it, and adds it to nothing.
        optimizer.forget_gradients()
        most = held.rows_at_a_time(local.tensors.record_shape) or len(labels)
        for rows in chunks(len(labels), max(1, most), owners) or [slice(0, 0)]:
            given = features[rows], labels[rows], None if owners is None else owners[rows]
            of_rows, num_lost = _add_gradient(held, *given, local.expected_batch_size)
            losses.append(of_rows)
            num_scrubbed += num_lost
        _apply(local.side, held)
        if local.proximal_mu:
            _pull_back(held, anchor, local.proximal_mu)
        optimizer.step()
    optimizer.forget_gradients()
    return Counts(num_scrubbed=num_scrubbed, loss=_mean_loss(losses))


def _add_gradient(
    held: HeldModel, features: Tensor, labels: Tensor, owners: Tensor | None, expected: float
) -> tuple[Tensor, int]:
    """Add the gradient of rows' losses over an expected batch; return those that are finite, and how many are not."""
    losses, num_lost = held.loss(held.model(held.laid_out(features)), labels), 0
    finite = losses.isfinite()
    if not bool(finite.all()):
        num_lost = int((~finite).sum())
        features, labels, owners = features[finite], labels[finite], None if owners is None else owners[finite]
        losses = held.loss(held.model(held.laid_out(features)), labels)
    weighted = losses if owners is None else losses / torch.bincount(owners)[owners]
    torch.autograd.backward(weighted.sum() / expected)
    return losses.detach(), num_lost


def private_steps(held: HeldModel, local: LocalRound, noise: GaussianNoise) -> Counts:
    """Train with DP-SGD: clipped gradients of Poisson batches, noise in every step (Abadi et al. 2016, algorithm 1).

    A step of any optimizer is a function of the noisy sums so far, the parameters that came before, and settings. By
    induction over steps so are the parameters, and with them weight decay and FedProx' pull, which look at nothing
    else: what is billed is the sums, and the rest is post-processing.
    """
    optimizer, parameters, anchor = _optimizer(held, local), held.parameters, _begun(held, local)
    stddev = local.assignment.event.noise_multiplier * local.assignment.distance
    module = held.by_record(local.tensors, local.clip)
    losses = []
    num_scrubbed = 0
    for _ in range(local.assignment.schedule.num_steps):
        summed = ClippedSum(parameters, local.clip, held.copies, is_automatic=held.clips_automatically)
        losses.append(_add_batch(held, local, module, summed))
        num_scrubbed += summed.num_scrubbed
        drawn = noise.noise_for(parameters, stddev)
        for parameter, total, part in zip(parameters, summed.values(), drawn, strict=True):
            parameter.grad = (total + part).to(parameter.dtype) / local.assignment.schedule.expected_batch_size
        # What depends on no record but by the noisy gradient comes after the noise (post-processing).
        _apply(local.side, held)
        if local.proximal_mu:
            _pull_back(held, anchor, local.proximal_mu)
        optimizer.step()
        optimizer.forget_gradients()
    return Counts(
        num_scrubbed=num_scrubbed,
        loss=_mean_loss(losses),
        num_noise_draws=noise.num_draws,
        noise_multiplier=noise.stddev / local.assignment.distance,
    )


def add_batch(held: HeldModel, local: LocalRound, summed: ClippedSum) -> Counts:
    """Add one Poisson batch to a clipped sum; the model stays as it is."""
    losses = _add_batch(held, local, held.by_record(local.tensors, local.clip), summed)
    return Counts(num_scrubbed=summed.num_scrubbed, loss=_mean_loss([losses]))


def _add_batch(held: HeldModel, local: LocalRound, module: PerRecord, summed: ClippedSum) -> Tensor:
    features, labels, owners = local.batch(held.device)
    return summed.add_batch(module, features, labels, held.loss, owners, most_floats=held.most_floats)


def _optimizer(held: HeldModel, local: LocalRound) -> LocalOptimizer:
    learning_rate = learning_rate_in(held.training, local.assignment.round_number)
    return LocalOptimizer(held.parameters, held.training, learning_rate)


def _apply(side: SideInRound | None, held: HeldModel) -> None:
    """Replace the gradients of a step by what the strategy's hospital side makes of them."""
    if side is None:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in held.parameters]
    for parameter, gradient in zip(held.parameters, side.step(gradients), strict=True):
        parameter.grad = gradient


def _pull_back(held: HeldModel, anchor: Sequence[Tensor], proximal_mu: float) -> None:
    """Add the gradient of mu/2 |w - w_global|^2 (Li et al. 2020, FedProx, eq. 2; Liu et al. 2022, MR-MTL)."""
    for parameter, start in zip(held.parameters, anchor, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start, alpha=proximal_mu)


def _begun(held: HeldModel, local: LocalRound) -> list[Tensor]:
    """Return what a pull goes to, what all were sent, nothing where there is none; and begin from what is its own."""
    anchor = [parameter.detach().clone() for parameter in held.parameters] if local.proximal_mu else []
    if local.own:
        load_parameters(held.model, local.received | local.own)
    return anchor


def _mean_loss(losses: list[Tensor]) -> float:
    together = torch.cat(losses)
    together = together[together.isfinite()]
    return float(together.mean()) if len(together) else float("nan")
