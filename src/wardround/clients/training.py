"""Local training of one hospital for one round, as assigned, and what was really executed.

One `LocalTrainer` serves every hospital of a process: one model, whose parameters are overwritten at the start of a
round. What is left out on purpose: any accounting (the server charges the assignment before it is sent) and any
state kept between rounds (the local optimizer starts afresh, so that a redone round ends in the same bits).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wardround.clients.gradients import (
    GhostOptimizer,
    PrivateOptimizer,
    accumulate_batch,
    per_record_module,
    quiet_hooks,
)
from wardround.clients.losses import loss_per_record
from wardround.config import TrainingConfig
from wardround.errors import ProtocolError
from wardround.models import load_parameters, parameters_of
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment, Execution, check_execution
from wardround.streams import LAYERS, NOISE, SAMPLING, stream

__all__ = ["HospitalTensors", "LocalTrainer", "resolve_device"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalTensors:
    """One hospital's rows on the device: features (n, ...) float32, labels (n,) int64 or float32.

    `train_owners` (n,) int64, ascending from 0, is the patient of each training row; None where every row is one.
    """

    train_features: Tensor
    train_labels: Tensor
    test_features: Tensor
    test_labels: Tensor
    train_owners: Tensor | None = None

    @property
    def num_records(self) -> int:
        """Number of training records: of patients, where patients own several rows."""
        return len(self.train_labels) if self.train_owners is None else int(self.train_owners[-1]) + 1

    def rows_of(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the rows of a batch of records, and the record of each row where they differ."""
        if self.train_owners is None:
            return batch, None
        chosen = torch.zeros(self.num_records, dtype=torch.bool, device=self.train_owners.device)
        chosen[batch] = True
        rows = chosen[self.train_owners].nonzero().squeeze(1)
        return rows, self.train_owners[rows]


class LocalTrainer:
    """Trains one model for one hospital after the other; everything else it is given is immutable."""

    def __init__(self, model: nn.Module, training: TrainingConfig, *, task: str, seed: int) -> None:
        """Keep the model and the settings.

        Args:
            model: fit for per-record gradients; its parameters are overwritten by every training.
            training: optimizer, learning rate, mode, device.
            task: classification (cross-entropy) or regression (squared error).
            seed: of the simulation; sampling and noise have streams of their own per round and hospital.
        """
        self.device = resolve_device(training.device)
        self.model = model.to(self.device)
        self._training = training
        self._seed = seed
        self._loss = loss_per_record(task)
        self._modules: dict[float, nn.Module] = {}

    def train(
        self,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        *,
        proximal_mu: float = 0.0,
    ) -> tuple[dict[str, NDArray[Any]], Execution]:
        """Return the parameters after the assigned steps, and the count of what was executed.

        Raises:
            UpdateError: the arrays don't fit the model.
            ProtocolError: what was executed is not what was assigned.
        """
        started = time.perf_counter()
        load_parameters(self.model, arrays)
        sampler = PoissonSampler(tensors.num_records, assignment.sample_rate, self._stream(SAMPLING, assignment))
        with quiet_hooks(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout and the like in a user's model; never the noise.
            torch.manual_seed(int(self._stream(LAYERS, assignment).integers(2**63)))
            steps = self._private_steps if assignment.max_grad_norm is not None else self._plain_steps
            counts = steps(tensors, assignment, sampler, proximal_mu)
        execution = Execution(
            hospital_id=assignment.hospital_id,
            round_number=assignment.round_number,
            sample_rate=sampler.sample_rate,
            num_examples=tensors.num_records,
            num_empty_batches=sampler.num_empty,
            seconds=time.perf_counter() - started,
            **counts,
        )
        check_execution(assignment, execution)
        return parameters_of(self.model), execution

    def _private_steps(
        self, tensors: HospitalTensors, assignment: Assignment, sampler: PoissonSampler, proximal_mu: float
    ) -> dict[str, Any]:
        max_grad_norm = float(assignment.max_grad_norm or 0.0)
        module = self._per_record(max_grad_norm)
        noise = GaussianNoise(self._stream(NOISE, assignment), self.device)
        kind = GhostOptimizer if self._training.grad_sample_mode == "ghost" else PrivateOptimizer
        optimizer = kind(
            self._optimizer(),
            noise_multiplier=assignment.noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=assignment.expected_batch_size,
        )
        optimizer.draw_from(noise)
        if proximal_mu:
            # The pull depends on no record, so it is added after the noise (post-processing).
            anchor = [parameter.detach().clone() for parameter in self._parameters()]
            optimizer.attach_step_hook(lambda _: self._pull_back(anchor, proximal_mu))
        losses = []
        module.train()
        for _ in range(assignment.num_steps):
            rows, owners = tensors.rows_of(sampler.draw().to(self.device))
            features, labels = tensors.train_features[rows], tensors.train_labels[rows]
            losses.append(accumulate_batch(module, optimizer, features, labels, self._loss, owners))
        return {
            "num_steps": sampler.num_draws,
            "num_noise_draws": noise.num_draws,
            "noise_multiplier": noise.stddev / max_grad_norm,
            "num_scrubbed": optimizer.num_scrubbed,
            "loss": _mean_loss(losses),
        }

    def _plain_steps(
        self, tensors: HospitalTensors, assignment: Assignment, sampler: PoissonSampler, proximal_mu: float
    ) -> dict[str, Any]:
        """Train on the same Poisson batches with neither clip nor noise; the sum is divided by the expected size."""
        optimizer = self._optimizer()
        anchor = [parameter.detach().clone() for parameter in self._parameters()]
        losses = []
        num_scrubbed = 0
        self.model.train()
        for _ in range(assignment.num_steps):
            rows, owners = tensors.rows_of(sampler.draw().to(self.device))
            optimizer.zero_grad(set_to_none=False)
            batch_losses = self._loss(self.model(tensors.train_features[rows]), tensors.train_labels[rows])
            finite = batch_losses.isfinite()
            if not bool(finite.all()):
                num_scrubbed += int((~finite).sum())
                rows, owners = rows[finite], None if owners is None else owners[finite]
                batch_losses = self._loss(self.model(tensors.train_features[rows]), tensors.train_labels[rows])
            weighted = batch_losses if owners is None else batch_losses / torch.bincount(owners)[owners]
            torch.autograd.backward(weighted.sum() / assignment.expected_batch_size)
            if proximal_mu:
                self._pull_back(anchor, proximal_mu)
            optimizer.step()
            losses.append(batch_losses.detach())
        return {
            "num_steps": sampler.num_draws,
            "num_noise_draws": 0,
            "noise_multiplier": 0.0,
            "num_scrubbed": num_scrubbed,
            "loss": _mean_loss(losses),
        }

    def _per_record(self, max_grad_norm: float) -> nn.Module:
        if not self._modules:
            mode = self._training.grad_sample_mode
            self._modules[max_grad_norm] = per_record_module(self.model, mode, max_grad_norm)
        if max_grad_norm not in self._modules:
            raise ProtocolError(f"max-grad-norm changed to {max_grad_norm} within a run; it is fixed by [privacy]")
        return self._modules[max_grad_norm]

    def _optimizer(self) -> torch.optim.Optimizer:
        training = self._training
        if training.optimizer == "adam":
            return torch.optim.Adam(self._parameters(), lr=training.learning_rate)
        return torch.optim.SGD(self._parameters(), lr=training.learning_rate, momentum=training.momentum)

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _pull_back(self, anchor: list[Tensor], proximal_mu: float) -> None:
        """Add the gradient of the proximal term mu/2 |w - w_global|^2 (Li et al. 2020, FedProx, eq. 2)."""
        for parameter, start in zip(self._parameters(), anchor, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start, alpha=proximal_mu)

    def _stream(self, purpose: int, assignment: Assignment) -> np.random.Generator:
        return stream(self._seed, purpose, assignment.round_number, assignment.hospital_id)


def resolve_device(name: str) -> torch.device:
    """Return the torch device for cpu, cuda or auto (cuda where there is one)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _mean_loss(losses: list[Tensor]) -> float:
    together = torch.cat(losses)
    together = together[together.isfinite()]
    return float(together.mean()) if len(together) else float("nan")
