"""The steps of local training of several hospitals at once: what `clients.steps` does for one.

Each hospital draws its batches and its noise from its own key, and stops after its own number of steps. Left out on
purpose: a strategy's hospital side, and any state kept between rounds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from wardround.agreed.learning_rates import learning_rate_in
from wardround.clients.closed_form.layers import layers_of
from wardround.clients.held_model import HeldModel
from wardround.clients.optimizers import LocalOptimizer
from wardround.clients.rounded_records import RoundedRecords
from wardround.clients.stacked.batches import StepBatch, step_batches, windows
from wardround.clients.stacked.rows import Rows
from wardround.clients.stacked.sums import Stack, Tally, clipped_records, clipped_sums, plain_sums
from wardround.clients.steps import Counts, LocalRound, Steps
from wardround.exact_sums import check_alike
from wardround.privacy.noise import GaussianNoise, fill_together
from wardround.streams import Draw

__all__ = ["STEPS_TOGETHER", "Made", "StepsTogether"]

Made = tuple[Sequence[Tensor], list[Counts]]
"""What hospitals' steps make of each parameter, (hospitals, ...), and what each executed."""

StepsTogether = Callable[[HeldModel, Sequence[LocalRound], int], Made]
"""What hospitals' steps make, in their order: those with more steps come first.

All train in one round, with one strength of FedProx' pull, on records of one shape; the held model has the parameters.
The number is that of the records of a block (`batches.block_rows`).
"""


def _plain_steps(held: HeldModel, locals_: Sequence[LocalRound], num_rows: int) -> Made:
    stack = _stack(held, locals_, are_clipped=False)
    optimizer = _optimizer(held, locals_[0], stack)
    anchors = [parameter.detach() for parameter in held.parameters]
    for batch, _ in _batches(held, stack, locals_, num_rows):
        sums = plain_sums(stack, batch)
        _step(stack, optimizer, batch, [part / _expected(locals_, batch, part) for part in sums], anchors, locals_[0])
    return stack.parameters, [_counts(stack, place) for place in range(len(locals_))]


def _private_steps(held: HeldModel, locals_: Sequence[LocalRound], num_rows: int) -> Made:
    """DP-SGD (Abadi et al. 2016, algorithm 1) of each hospital; what follows its noisy sums is post-processing."""
    stack = _stack(held, locals_, are_clipped=True)
    optimizer = _optimizer(held, locals_[0], stack)
    anchors = [parameter.detach() for parameter in held.parameters]
    noise = [GaussianNoise(local.key.generator(Draw.NOISE), held.device) for local in locals_]
    for batch, drawn in _batches(held, stack, locals_, num_rows, noise):
        noisy = zip(clipped_sums(stack, batch), _parts(drawn[: batch.num_hospitals, batch.index], stack), strict=True)
        gradients = [(total + part).float() for total, part in noisy]
        gradients = [part / _expected(locals_, batch, part) for part in gradients]
        _step(stack, optimizer, batch, gradients, anchors, locals_[0])
    counts = [
        _counts(stack, place, num_noise_draws=each.num_draws, noise_multiplier=each.stddev / local.assignment.distance)
        for place, (each, local) in enumerate(zip(noise, locals_, strict=True))
    ]
    return stack.parameters, counts


def _sums(held: HeldModel, locals_: Sequence[LocalRound], num_rows: int) -> Made:
    """The clipped sum of one batch of each hospital; the model stays as it is."""
    stack = _stack(held, locals_, are_clipped=True)
    (batch,) = step_batches(locals_, 0, 1, num_rows, stack.nobody, held.device)
    sums = clipped_sums(stack, batch)
    return sums, [_counts(stack, place) for place in range(len(locals_))]


def _rounded_sums(held: HeldModel, locals_: Sequence[LocalRound], num_rows: int) -> Made:
    """The sum of one batch's clipped gradients of each hospital, rounded record by record by draws of its own."""
    stack = _stack(held, locals_, are_clipped=True)
    (batch,) = step_batches(locals_, 0, 1, num_rows, stack.nobody, held.device)
    rounded = [RoundedRecords(local, held.num_parameters) for local in locals_]
    for places, clipped, factors, drawn in clipped_records(stack, batch):
        for index, place in enumerate(places):
            of_one = [part.of_hospital(index) for part in clipped]
            rounded[place].add(of_one, factors[index : index + 1], drawn[index])
    integers = _parts(torch.from_numpy(np.stack([each.total() for each in rounded])), stack)
    return integers, [_counts(stack, place) for place in range(len(locals_))]


STEPS_TOGETHER: Mapping[Steps, StepsTogether] = {
    Steps.PLAIN: _plain_steps,
    Steps.PRIVATE: _private_steps,
    Steps.SUM: _sums,
    Steps.ROUNDED_SUM: _rounded_sums,
}
"""By what hospitals do."""


def _stack(held: HeldModel, locals_: Sequence[LocalRound], *, are_clipped: bool) -> Stack:
    held.model.train()
    num_hospitals = len(locals_)
    labels = [local.tensors.train_labels for local in locals_]
    zeros = torch.zeros(num_hospitals, dtype=torch.float64, device=held.device)
    clips = [[local.clip] for local in locals_] if are_clipped else None
    tensors = locals_[0].tensors
    by_program = are_clipped and held.mode_for(tensors.record_shape).name == "per-record"
    layers = held.program(tensors.record_shape, tensors.train_labels.dtype) if by_program else layers_of(held.model)
    are_random = any(type(part) is nn.Dropout for part in held.model.modules())
    return Stack(
        layers=layers,
        parameters=_begun(held, locals_),
        records=Rows([local.tensors.train_features for local in locals_]),
        labels=torch.cat([*labels, labels[0].new_zeros(1)]),
        loss=held.loss_of_many,
        clips=None if clips is None else torch.tensor(clips, dtype=torch.float64, device=held.device),
        copies=held.copies if are_clipped else None,
        generators=[_generator(local, held.device) for local in locals_ if are_random],
        is_automatic=held.clips_automatically,
        tally=Tally(losses=zeros, num_losses=zeros.clone(), num_scrubbed=zeros.clone()),
    )


def _begun(held: HeldModel, locals_: Sequence[LocalRound]) -> list[Tensor]:
    """Return what hospitals begin from, (hospitals, ...) of each parameter: what all were sent, or what is their own.

    Raises:
        UpdateError: what is a hospital's own does not fit the model.
    """
    begun = []
    for name, parameter in held.model.named_parameters():
        if parameter.requires_grad:
            rows = parameter.detach().expand(len(locals_), *parameter.shape).clone()
            for row, local in zip(rows, locals_, strict=True):
                if (own := local.own.get(name)) is not None:
                    check_alike({name: own}, {name: row})
                    row.copy_(torch.tensor(own))
            begun.append(rows)
    return begun


def _generator(local: LocalRound, device: torch.device) -> torch.Generator:
    generator = torch.Generator(device)
    generator.manual_seed(local.layers_seed)
    return generator


def _optimizer(held: HeldModel, local: LocalRound, stack: Stack) -> LocalOptimizer:
    learning_rate = learning_rate_in(held.training, local.assignment.round_number)
    return LocalOptimizer(stack.parameters, held.training, learning_rate)


def _batches(
    held: HeldModel, stack: Stack, locals_: Sequence[LocalRound], num_rows: int, noise: Sequence[GaussianNoise] = ()
) -> Iterator[tuple[StepBatch, Tensor]]:
    """Yield the batches of step after step, and the noise of all steps of the window that it is in."""
    size = sum(parameter[0].numel() for parameter in stack.parameters) if noise else 0
    for start, end in windows(locals_, num_rows, size):
        drawn = _noise(locals_, noise, start, end, size, held.device)
        for batch in step_batches(locals_, start, end, num_rows, stack.nobody, held.device):
            yield batch, drawn


def _noise(
    locals_: Sequence[LocalRound],
    noise: Sequence[GaussianNoise],
    start: int,
    end: int,
    size: int,
    device: torch.device,
) -> Tensor:
    """Return (hospitals, steps, coordinates) float32; what is beyond a hospital's steps is not used."""
    drawn = torch.zeros(len(noise), end - start, size, device=device)
    stddevs = [local.assignment.event.noise_multiplier * local.assignment.distance for local in locals_[: len(noise)]]
    num_steps = [min(local.assignment.schedule.num_steps, end) - start for local in locals_[: len(noise)]]
    # Who has made all steps stands last.
    active = sum(steps > 0 for steps in num_steps)
    fill_together(noise[:active], drawn[:active], num_steps[:active], stddevs[:active])
    return drawn.mul_(torch.tensor(stddevs, dtype=torch.float32, device=device)[:, None, None])


def _parts(flat: Tensor, stack: Stack) -> list[Tensor]:
    """Return (hospitals, coordinates) by parameter."""
    shapes = [parameter.shape[1:] for parameter in stack.parameters]
    parts = torch.split(flat, [shape.numel() for shape in shapes], dim=1)
    return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]


def _expected(locals_: Sequence[LocalRound], batch: StepBatch, like: Tensor) -> Tensor:
    sizes = [local.expected_batch_size for local in locals_[: batch.num_hospitals]]
    return torch.tensor(sizes, dtype=torch.float32, device=like.device).view(-1, *(1 for _ in like.shape[1:]))


def _step(
    stack: Stack,
    optimizer: LocalOptimizer,
    batch: StepBatch,
    gradients: Sequence[Tensor],
    anchors: Sequence[nn.Parameter | Tensor],
    local: LocalRound,
) -> None:
    """Move the parameters of the hospitals that take the step."""
    moved = [parameter[: batch.num_hospitals] for parameter in stack.parameters]
    optimizer.keep(moved)
    for parameter, gradient, anchor in zip(moved, gradients, anchors, strict=True):
        if local.proximal_mu:
            gradient.add_(parameter - anchor, alpha=local.proximal_mu)
        parameter.grad = gradient
    optimizer.step()


def _counts(stack: Stack, place: int, **noise: float) -> Counts:
    num_losses = float(stack.tally.num_losses[place])
    return Counts(
        num_scrubbed=int(stack.tally.num_scrubbed[place]),
        loss=float(stack.tally.losses[place]) / num_losses if num_losses else float("nan"),
        num_noise_draws=int(noise.get("num_noise_draws", 0)),
        noise_multiplier=noise.get("noise_multiplier", 0.0),
    )
