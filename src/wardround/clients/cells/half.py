"""What torch does for one cell, as a record of functions: what is checked, what is trained and sent, what is noise.

The other half of a cell, all that needs no torch, is in `privacy.cells` under the same name. What is left out on
purpose: the steps themselves (see `clients.steps`), and any accounting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import nn

from wardround.clients.held_model import HeldModel
from wardround.clients.modes import Mode, choose_mode
from wardround.clients.steps import Counts, Steps
from wardround.clients.tensors import HospitalTensors
from wardround.datasets import Federation
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["Arrays", "Check", "NoiseAlone", "TorchHalf", "Train", "with_noise"]

Arrays = dict[str, NDArray[Any]]
Check = Callable[[HeldModel, Federation], Mode | None]
"""Returns how gradients by record are computed, None where batches are whole; ConfigError for a model that can't be
trusted."""
NoiseAlone = Callable[[Mapping[str, NDArray[Any]], Assignment, Key], Arrays]
"""Returns what a hospital sends of which nothing but noise is left, given zeros in the place of parameters."""


class Train(Protocol):
    """Training at the hospital for one round."""

    def __call__(
        self,
        steps: Steps,
        arrays: Mapping[str, NDArray[Any]],
        tensors: HospitalTensors,
        assignment: Assignment,
        key: Key,
        sampler: PoissonSampler,
        proximal_mu: float,
    ) -> tuple[Arrays, Counts]:
        """Return what is sent, and what was executed.

        Args:
            steps: what steps are taken with; the model has the parameters of `arrays`.
            arrays: parameters that the hospital received.
            tensors: its records.
            assignment: what it is asked to do.
            key: of the release; each purpose has a stream of its own.
            sampler: draws the batches.
            proximal_mu: strength of FedProx' pull (>= 0).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchHalf:
    """What torch does for one cell.

    Attributes:
        name: of the cell, as `privacy.cells` has it.
        records_apart: whether every record's gradient is clipped by itself, so that no forward may see several records
            at once; elsewhere the model sees whole batches, and a hospital after the other gets a model of its own.
        check: refuses models, before anything is charged.
        train: what the hospital computes and sends.
        noise_alone: what would be sent of nothing, by which noise is measured.
    """

    name: str
    records_apart: bool
    check: Check
    train: Train
    noise_alone: NoiseAlone

    def mode_of(self, asked: str, model: nn.Module, record_shape: tuple[int, ...]) -> Mode | None:
        """Return how gradients by record are computed; None where batches are whole.

        Args:
            asked: [training] grad-sample-mode.
            model: as it will be trained.
            record_shape: of one record.

        Raises:
            ConfigError: the mode that was asked for can't serve the model.
        """
        return choose_mode(asked, model, record_shape) if self.records_apart else None


def with_noise(counts: Counts, noise_multiplier: float) -> Counts:
    """Return the counts with one draw of noise that was made at the end."""
    return replace(counts, num_noise_draws=1, noise_multiplier=noise_multiplier)
