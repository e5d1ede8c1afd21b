"""Local training of one hospital for one round, as assigned, and what was really executed.

One `LocalTrainer` serves every hospital of a process; how its model carries nothing from one to the next is told in
`held_model`, and what is trained and sent is the cell's (`cells`). What is left out on purpose: any accounting, as the
server charges the assignment before it is sent.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import nn

from wardround.clients.cells import torch_half
from wardround.clients.gradients import MOST_GRADIENT_FLOATS, quiet_hooks
from wardround.clients.held_model import HeldModel
from wardround.clients.losses import loss_per_record
from wardround.clients.modes import Mode
from wardround.clients.release_keys import ReleaseKeys
from wardround.clients.steps import LocalRound, Steps
from wardround.clients.tensors import HospitalTensors
from wardround.config import TrainingConfig
from wardround.exact_sums import Arrays
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.executions import check_execution
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment, Execution, TrainingMeasures
from wardround.streams import Draw, Source

__all__ = ["HospitalTensors", "LocalTrainer", "Trained", "resolve_device"]


class Trained(NamedTuple):
    """What came of training: what is sent, what of it is public, and what is measured in simulation only."""

    arrays: Arrays
    execution: Execution
    measures: TrainingMeasures


class LocalTrainer:
    """Trains one model for one hospital after the other; everything else it is given is immutable.

    Attributes:
        held: the model.
        steps: what steps are taken with.
        device: that trains.
    """

    def __init__(
        self,
        model: nn.Module,
        training: TrainingConfig,
        *,
        task: str,
        source: Source,
        protects_records: bool = True,
        most_floats: int = MOST_GRADIENT_FLOATS,
    ) -> None:
        """Copy the model and keep the settings.

        Args:
            model: as it was built; it is copied, and stays as it is.
            training: optimizer, learning rate, mode, device.
            task: classification (cross-entropy) or regression (squared error).
            source: of what a release draws: batches, noise, rounding and a model's own dropout (`identity.source_of`).
            protects_records: whether test records too are scored one by one where the forward is the model's own.
            most_floats: of per-record gradients at a time (>= 1), which bounds memory and changes last bits alone.

        Raises:
            ConfigError: the model can't be copied.
        """
        self.device = resolve_device(training.device)
        self._keys = ReleaseKeys(source, self.device)
        loss = loss_per_record(task)
        self.held = HeldModel(
            model, device=self.device, asked=training.grad_sample_mode, loss=loss, protects_records=protects_records
        )
        self.steps = Steps(held=self.held, training=training, loss=loss, device=self.device, most_floats=most_floats)

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""
        return self.held.now

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.steps.parameters)

    def mode_for(self, record_shape: tuple[int, ...]) -> Mode:
        """Return how gradients by record are computed for records of a shape.

        Raises:
            ConfigError: not as the settings ask.
        """
        return self.held.mode_for(record_shape)

    def scoring_model(self, arrays: Mapping[str, NDArray[Any]], tensors: HospitalTensors) -> nn.Module:
        """Return a module with these parameters for the hospital's test records; nothing of them stays in it.

        Raises:
            UpdateError: the arrays don't fit the model.
        """
        return self.held.scoring(arrays, tensors)

    def train(
        self,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        *,
        proximal_mu: float = 0.0,
    ) -> Trained:
        """Return what the hospital sends, as its cell says, the count of what was executed, and what was measured.

        Raises:
            UpdateError: the arrays don't fit the model.
            ProtocolError: what was executed is not what was assigned.
        """
        started = time.perf_counter()
        half = torch_half(assignment.event.cell)
        if assignment.adaptive_clipping:
            arrays = {name: array for name, array in arrays.items() if name != COUNT_NAME}
        key = self._keys.key(arrays, tensors, assignment, proximal_mu)
        self.held.begin(arrays, tensors, whole_batches=not half.records_apart)
        sampler = PoissonSampler(tensors.num_train, assignment.schedule.sample_rate, key.generator(Draw.SAMPLING))
        local = LocalRound(
            received=arrays, tensors=tensors, assignment=assignment, key=key, sampler=sampler, proximal_mu=proximal_mu
        )
        with quiet_hooks(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout and the like in a user's model; never the noise.
            torch.manual_seed(int(key.generator(Draw.LAYERS).integers(2**63)))
            sent, counts = half.train(self.steps, local)
        execution = Execution(
            hospital_id=assignment.hospital_id,
            round_number=assignment.round_number,
            sample_rate=sampler.sample_rate,
            num_steps=counts.num_steps,
            num_noise_draws=counts.num_noise_draws,
            noise_multiplier=counts.noise_multiplier,
        )
        check_execution(assignment, execution)
        measures = TrainingMeasures(
            num_examples=tensors.num_train,
            num_scrubbed=counts.num_scrubbed,
            loss=counts.loss,
            seconds=time.perf_counter() - started,
        )
        return Trained(sent, execution, measures)


def resolve_device(name: str) -> torch.device:
    """Return the torch device for cpu, cuda or auto (cuda where there is one)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
