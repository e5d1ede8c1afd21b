"""Local training of one hospital for one round, as assigned, and what was really executed.

One `LocalTrainer` serves every hospital of a process; how its model carries nothing from one to the next is told in
`held_model`. What is left out on purpose: any accounting (the server charges the assignment before it is sent), and any
state kept between rounds (the local optimizer starts afresh, so that a resumed run goes on as an uninterrupted one).
"""

import time
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wardround.clients.gradient_sums import GhostSum, GradientSum, RoundedSum
from wardround.clients.gradients import GhostOptimizer, PrivateOptimizer, accumulate_batch, quiet_hooks
from wardround.clients.held_model import HeldModel
from wardround.clients.losses import loss_per_record
from wardround.clients.modes import Mode
from wardround.clients.programs import RecordProgram
from wardround.clients.release_keys import ReleaseKeys
from wardround.clients.tensors import HospitalTensors
from wardround.clients.updates import noisy_residues, release_update
from wardround.config import TrainingConfig
from wardround.models import parameters_of
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.executions import check_execution
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.privacy.skellam import norm_bound_squared
from wardround.rounds import Assignment, Execution, TrainingMeasures
from wardround.streams import Draw, Key, Source

_Optimizer = TypeVar("_Optimizer", bound=PrivateOptimizer | GhostOptimizer)

__all__ = ["HospitalTensors", "LocalTrainer", "resolve_device"]


class LocalTrainer:
    """Trains one model for one hospital after the other; everything else it is given is immutable."""

    def __init__(
        self, model: nn.Module, training: TrainingConfig, *, task: str, source: Source, protects_records: bool = True
    ) -> None:
        """Copy the model and keep the settings.

        Args:
            model: as it was built; it is copied, and stays as it is.
            training: optimizer, learning rate, mode, device.
            task: classification (cross-entropy) or regression (squared error).
            source: of what a release draws: batches, noise, rounding and a model's own dropout.
            protects_records: whether test records too are scored one by one where the forward is the model's own.

        Raises:
            ConfigError: the model can't be copied.
        """
        self.device = resolve_device(training.device)
        self._training = training
        self._keys = ReleaseKeys(source, self.device)
        self._loss = loss_per_record(task)
        self._held = HeldModel(
            model,
            device=self.device,
            asked=training.grad_sample_mode,
            loss=self._loss,
            protects_records=protects_records,
        )

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""
        return self._held.now

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self._parameters())

    def mode_for(self, record_shape: tuple[int, ...]) -> Mode:
        """Return how gradients by record are computed for records of a shape.

        Raises:
            ConfigError: not as the settings ask.
        """
        return self._held.mode_for(record_shape)

    def scoring_model(self, arrays: Mapping[str, NDArray[Any]], tensors: HospitalTensors) -> nn.Module:
        """Return a module with these parameters for the hospital's test records; nothing of them stays in it.

        Raises:
            UpdateError: the arrays don't fit the model.
        """
        return self._held.scoring(arrays, tensors)

    def train(
        self,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        *,
        proximal_mu: float = 0.0,
    ) -> tuple[dict[str, NDArray[Any]], Execution, TrainingMeasures]:
        """Return what the hospital sends, as its cell says, the count of what was executed, and what was measured.

        The parameters after the assigned steps, where noise is local or there is none; see `privacy.cells`.

        Raises:
            UpdateError: the arrays don't fit the model.
            ProtocolError: what was executed is not what was assigned.
        """
        started = time.perf_counter()
        if assignment.adaptive_clipping:
            arrays = {name: array for name, array in arrays.items() if name != COUNT_NAME}
        key = self._keys.key(arrays, tensors, assignment, proximal_mu)
        self._held.begin(arrays, tensors, whole_batches=self._is_plain(assignment))
        sampler = PoissonSampler(tensors.num_records, assignment.schedule.sample_rate, key.generator(Draw.SAMPLING))
        with quiet_hooks(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout and the like in a user's model; never the noise.
            torch.manual_seed(int(key.generator(Draw.LAYERS).integers(2**63)))
            sent, counts = self._work(arrays, tensors, assignment, key, sampler, proximal_mu)
        execution = Execution(
            hospital_id=assignment.hospital_id,
            round_number=assignment.round_number,
            sample_rate=sampler.sample_rate,
            **{name: counts.pop(name) for name in ("num_steps", "num_noise_draws", "noise_multiplier")},
        )
        check_execution(assignment, execution)
        measures = TrainingMeasures(
            num_examples=tensors.num_records,
            num_empty_batches=sampler.num_empty,
            seconds=time.perf_counter() - started,
            **counts,
        )
        return sent, execution, measures

    def _work(
        self,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        key: Key,
        sampler: PoissonSampler,
        proximal_mu: float,
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        if assignment.max_grad_norm is None:
            counts = self._plain_steps(tensors, assignment, sampler, proximal_mu)
            return parameters_of(self.model), counts
        if self._is_plain(assignment):
            counts = self._plain_steps(tensors, assignment, sampler, proximal_mu)
            sent, released = release_update(
                arrays,
                parameters_of(self.model),
                assignment,
                noise=key.generator(Draw.NOISE),
                rounding=key.generator(Draw.ROUNDING),
            )
            counts["num_scrubbed"] += released.pop("num_replaced")
            return sent, counts | released
        if cell_named(assignment.event.cell).sends_sum:
            return self._gradient_sum(tensors, assignment, key, sampler)
        counts = self._private_steps(tensors, assignment, key, sampler, proximal_mu)
        return parameters_of(self.model), counts

    def _gradient_sum(
        self, tensors: HospitalTensors, assignment: Assignment, key: Key, sampler: PoissonSampler
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the clipped gradient sum of one Poisson batch; if distributed rounded and with a share of noise."""
        kind = GhostSum if self.mode_for(tuple(tensors.train_features.shape[1:])).name == "ghost" else GradientSum
        module, optimizer = self._private_optimizer(
            tensors, assignment, RoundedSum if cell_named(assignment.event.cell).needs_secure_sum else kind
        )
        if isinstance(optimizer, RoundedSum):
            optimizer.round_with(
                scale=assignment.event.scaled_norm / float(assignment.max_grad_norm or 0.0),
                norm_bound_squared=norm_bound_squared(assignment.event.scaled_norm, assignment.event.dimension),
                generator=key.generator(Draw.ROUNDING),
            )
        losses = self._private_step(module, optimizer, tensors, sampler)
        counts = {
            "num_steps": sampler.num_draws,
            "num_noise_draws": 0,
            "noise_multiplier": 0.0,
            "num_scrubbed": optimizer.num_scrubbed,
            "loss": _mean_loss([losses]),
        }
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        sums = {name: tensor.cpu().numpy() for name, tensor in zip(names, optimizer.gradient_sum, strict=True)}
        if isinstance(optimizer, RoundedSum):
            noise = key.generator(Draw.NOISE)
            sums, drawn = noisy_residues(optimizer.integer_sum, sums, assignment, noise)
            counts |= drawn
        return sums, counts

    def _private_optimizer(
        self, tensors: HospitalTensors, assignment: Assignment, kind: type[_Optimizer]
    ) -> tuple[nn.Module | RecordProgram, _Optimizer]:
        """Return the model wrapped for per-record gradients, and an optimizer that clips them."""
        max_grad_norm = float(assignment.max_grad_norm or 0.0)
        module = self._held.by_record(tensors, max_grad_norm)
        optimizer = kind(
            self._optimizer(),
            noise_multiplier=assignment.event.noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=assignment.schedule.expected_batch_size,
        )
        return module, optimizer

    def _private_step(
        self, module: nn.Module | RecordProgram, optimizer: Any, tensors: HospitalTensors, sampler: PoissonSampler
    ) -> Tensor:
        rows, owners = tensors.rows_of(sampler.draw().to(self.device))
        features, labels = tensors.train_features[rows], tensors.train_labels[rows]
        return accumulate_batch(module, optimizer, features, labels, self._loss, owners)

    def _private_steps(
        self, tensors: HospitalTensors, assignment: Assignment, key: Key, sampler: PoissonSampler, proximal_mu: float
    ) -> dict[str, Any]:
        noise = GaussianNoise(key.generator(Draw.NOISE), self.device)
        is_ghost = self.mode_for(tuple(tensors.train_features.shape[1:])).name == "ghost"
        kind = GhostOptimizer if is_ghost else PrivateOptimizer
        module, optimizer = self._private_optimizer(tensors, assignment, kind)
        optimizer.draw_from(noise)
        if proximal_mu:
            # The pull depends on no record, so it is added after the noise (post-processing).
            anchor = [parameter.detach().clone() for parameter in self._parameters()]
            optimizer.attach_step_hook(lambda _: self._pull_back(anchor, proximal_mu))
        losses = []
        for _ in range(assignment.schedule.num_steps):
            losses.append(self._private_step(module, optimizer, tensors, sampler))
        return {
            "num_steps": sampler.num_draws,
            "num_noise_draws": noise.num_draws,
            "noise_multiplier": noise.stddev / optimizer.max_grad_norm,
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
        for _ in range(assignment.schedule.num_steps):
            rows, owners = tensors.rows_of(sampler.draw().to(self.device))
            optimizer.zero_grad(set_to_none=False)
            batch_losses = self._loss(self.model(tensors.train_features[rows]), tensors.train_labels[rows])
            finite = batch_losses.isfinite()
            if not bool(finite.all()):
                num_scrubbed += int((~finite).sum())
                rows, owners = rows[finite], None if owners is None else owners[finite]
                batch_losses = self._loss(self.model(tensors.train_features[rows]), tensors.train_labels[rows])
            weighted = batch_losses if owners is None else batch_losses / torch.bincount(owners)[owners]
            torch.autograd.backward(weighted.sum() / assignment.schedule.expected_batch_size)
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

    @staticmethod
    def _is_plain(assignment: Assignment) -> bool:
        return assignment.max_grad_norm is None or cell_named(assignment.event.cell).unit == "hospital"

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


def resolve_device(name: str) -> torch.device:
    """Return the torch device for cpu, cuda or auto (cuda where there is one)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _mean_loss(losses: list[Tensor]) -> float:
    together = torch.cat(losses)
    together = together[together.isfinite()]
    return float(together.mean()) if len(together) else float("nan")
