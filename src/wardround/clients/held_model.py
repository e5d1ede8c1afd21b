"""The one model of a process that trains hospital after hospital, held so that it carries nothing between them.

A known forward keeps no state beside its parameters, which are overwritten. Any other is a program of one record, or,
where no record is protected, a fresh copy of what it was before any data. What is left out on purpose: training.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wardround.clients.closed_form.alone import ClosedForm
from wardround.clients.closed_form.convolutions import convolution, is_faster_channels_last, with_channels_last
from wardround.clients.closed_form.layers import activations_by_record, uncovered_because
from wardround.clients.forwards import check_unwatched, unknown_because
from wardround.clients.gradients import MOST_GRADIENT_FLOATS, PerRecord, per_record_module, trained_parameters
from wardround.clients.losses import loss_of_many, loss_per_record
from wardround.clients.modes import Mode, choose_mode
from wardround.clients.programs import RecordProgram, record_program
from wardround.clients.release_keys import ReleaseKeys
from wardround.clients.tensors import HospitalTensors
from wardround.config import TrainingConfig
from wardround.datasets.constants import Balance
from wardround.digests import digest_of
from wardround.errors import ConfigError, ProtocolError
from wardround.exact_sums import Arrays
from wardround.models import load_parameters
from wardround.streams import Source

__all__ = ["HeldModel", "fresh_copy", "resolve_device"]

_LAYERS_OF_GRADIENTS = 4
"""Numbers on the way through a model that are held at a time, in those of gradients by record: 2 GiB."""


class HeldModel:
    """A model, what it was before any data, and what was made of it to train.

    Attributes:
        model: the module whose parameters are trained.
        most_floats: of per-record gradients at a time (>= 1), which bounds memory and changes last bits alone.
        copies: (classes,) float64, how often a record of each class counts in a clipped sum; None where each does once.
        balance_digest: of what a record of each class counts, 32 bytes; b"" where nothing but the settings says so.
        record_floats: by the way it is run and the shape of records, what `stacked.together` found of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        training: TrainingConfig,
        *,
        task: str,
        source: Source,
        edges: Sequence[float] = (),
        protects_records: bool = True,
        clips_automatically: bool = False,
        most_floats: int = MOST_GRADIENT_FLOATS,
    ) -> None:
        """Hold copies of the model, which stays as it is.

        Args:
            model: before any data.
            training: all of [training].
            task: classification, regression or survival.
            source: of what a release draws: batches, noise, rounding and a model's own dropout (`identity.source_of`).
            edges: of the intervals of a survival; none of another task.
            protects_records: whether test records too are scored one by one where the forward is the model's own.
            clips_automatically: whether every record's gradient is scaled to nearly the clip ([privacy] clipping).
            most_floats: see above.

        Raises:
            ConfigError: the model can't be copied, or not as it is.
        """
        for name, parameter in model.named_parameters():
            if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
                raise ConfigError(f"the model's parameter {name} has hooks, which are not run here: remove them")
        self.training, self.device = training, resolve_device(training.device)
        self._task, self._edges, self.most_floats = task, tuple(edges), most_floats
        self.copies: Tensor | None = None
        self.balance_digest = b""
        # Copies both: nobody outside, a factory that keeps what it returned included, has a hold of either.
        self._pristine = fresh_copy(model)
        self.model = fresh_copy(model).to(self.device)
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters)
        convolutions = [part for part in self.model.modules() if type(part) is nn.Conv2d]
        # The order goes on from layer to layer inside of torch, so that every one of them has to bear it.
        self._has_images = bool(convolutions) and self.device.type == "cpu" and is_faster_channels_last(self.model)
        self._has_images &= all(convolution(each, 0, 0, is_flat=False).runs_channels_last for each in convolutions)
        self.keys = ReleaseKeys(source, self.device)
        self._protects_records, self.clips_automatically = protects_records, clips_automatically
        self.record_floats: dict[tuple[bool, bool, tuple[int, ...]], int] = {}
        self._unknown: dict[tuple[int, ...], str | None] = {}
        self._rows_at_a_time: dict[tuple[int, ...], int | None] = {}
        self._modes: dict[tuple[int, ...], Mode] = {}
        self._wrapped: tuple[float, nn.Module | ClosedForm] | None = None
        self._programs: dict[tuple[tuple[int, ...], torch.dtype], RecordProgram] = {}
        self._weigh(training.loss_weights)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return trained_parameters(self.model)

    def weigh(self, balance: Balance) -> None:
        """Let records count by their classes from now on, beside the weights of the settings.

        Where no record is clipped by itself, as often as one counts is a weight of its loss.
        """
        copies = balance.copies
        own = self.training.loss_weights or (1.0,) * len(copies)
        weights = [weight * other for weight, other in zip(balance.loss_weights, own, strict=True)]
        self.copies = None
        if not self._protects_records:
            weights = [weight * number for weight, number in zip(weights, copies, strict=True)]
        elif max(copies) > 1:
            self.copies = torch.tensor(copies, dtype=torch.float64, device=self.device)
        self.balance_digest = digest_of(b"balance", repr(balance).encode())
        self._weigh(weights)

    def _weigh(self, weights: Sequence[float] | None) -> None:
        told = self._task, weights, self._edges
        self.loss, self.loss_of_many = loss_per_record(*told), loss_of_many(*told)
        self._programs.clear()

    def mode_for(self, record_shape: tuple[int, ...]) -> Mode:
        """Return how gradients by record are computed for records of a shape.

        Raises:
            ConfigError: not as the settings ask.
        """
        if record_shape not in self._modes:
            unknown = self.unknown_because(record_shape)
            self._modes[record_shape] = choose_mode(self.training.grad_sample_mode, self.model, unknown)
        return self._modes[record_shape]

    def unknown_because(self, record_shape: tuple[int, ...]) -> str | None:
        """Return why the forward is not a known one for records of a shape; None where it is known."""
        if record_shape not in self._unknown:
            # Of the very module that is trained, not of one that it was copied from, and before anything is hooked to
            # it. Copies of a known one are known: nothing in it has a say in how it is copied.
            found = unknown_because(self.model, record_shape, ghost=self.training.grad_sample_mode == "ghost")
            self._unknown[record_shape] = found
        return self._unknown[record_shape]

    def laid_out(self, features: Tensor) -> Tensor:
        """Return a batch as the model's layers want it in memory: images on a CPU with channels last, mostly.

        It holds the same numbers, and stays as it is where group norms see it (`is_faster_channels_last`). Of a known
        forward alone: no layer of it asks how its input lies in memory.
        """
        if not self._has_images or features.dim() != 4 or self.unknown_because(tuple(features.shape[1:])):
            return features
        return with_channels_last(features)

    def rows_at_a_time(self, record_shape: tuple[int, ...]) -> int | None:
        """Return how many rows of a large batch without a clip go through the model at a time; None where all do.

        Of a known forward alone, no layer of which sees several records at once.
        """
        if record_shape not in self._rows_at_a_time:
            is_apart = not (self.unknown_because(record_shape) or uncovered_because(self.model))
            floats = activations_by_record(self.model, record_shape) if is_apart else 0
            self._rows_at_a_time[record_shape] = max(1, _LAYERS_OF_GRADIENTS * self.most_floats // max(1, floats))
            if not is_apart:
                self._rows_at_a_time[record_shape] = None
        return self._rows_at_a_time[record_shape]

    def begin(self, arrays: Arrays, tensors: HospitalTensors, *, whole_batches: bool) -> None:
        """Load the parameters of a round, into a fresh copy where the model's own code is about to run on batches.

        Raises:
            UpdateError: the arrays don't fit the model.
        """
        if whole_batches and self.unknown_because(tensors.record_shape):
            self.model = fresh_copy(self._pristine).to(self.device)
            self._programs.clear()
        load_parameters(self.model, arrays)

    def by_record(self, tensors: HospitalTensors, max_grad_norm: float) -> PerRecord:
        """Return what leaves every record's gradient, in training mode.

        Raises:
            ConfigError: the model can't be run in the mode, or something in the process looks on.
            ProtocolError: the clip is another than before.
        """
        check_unwatched()
        mode = self.mode_for(tensors.record_shape)
        if mode.name == "per-record":
            return self.program(tensors.record_shape, tensors.train_labels.dtype)
        if self._wrapped is None:
            self._wrapped = max_grad_norm, per_record_module(self.model, mode.name, max_grad_norm)
        if self._wrapped[0] != max_grad_norm:
            raise ProtocolError(f"max-grad-norm changed to {max_grad_norm} within a run; it is fixed by [privacy]")
        return self._wrapped[1].train()

    def scores_records_apart(self, record_shape: tuple[int, ...]) -> bool:
        """Return whether `scoring_model` keeps the records of a batch apart, so that it may be of several hospitals."""
        return self._protects_records or self.unknown_because(record_shape) is None

    def scoring_model(self, arrays: Arrays, tensors: HospitalTensors) -> Callable[[Tensor], Tensor]:
        """Return what gives the outputs of the hospital's test records for these parameters, and keeps nothing of them.

        Raises:
            UpdateError: the arrays don't fit the model.
        """
        self.begin(arrays, tensors, whole_batches=not self._protects_records)
        if self._protects_records and self.unknown_because(tensors.record_shape):
            return self.program(tensors.record_shape, tensors.train_labels.dtype).outputs_of
        model = self.model.eval()
        return (lambda features: model(self.laid_out(features))) if self._has_images else model

    def program(self, record_shape: tuple[int, ...], label_type: torch.dtype) -> RecordProgram:
        """Return the model's program of one record, recorded once for a shape and a type of labels.

        Raises:
            ConfigError: the model can't be run record by record, and why.
        """
        key = record_shape, label_type
        if key not in self._programs:
            self._programs[key] = record_program(self.model, record_shape, label_type, self.loss)
        return self._programs[key]

    def recorded_digest(self, tensors: HospitalTensors) -> bytes:
        """Return the digest of what was recorded to compute gradients by record, 32 bytes; b"" where nothing is.

        A forward that is recorded may have read anything as it was: a file, a variable of the environment. A known one
        reads nothing.
        """
        if self.mode_for(tensors.record_shape).name != "per-record":
            return b""
        return self.program(tensors.record_shape, tensors.train_labels.dtype).digest


def fresh_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares nothing with the model that is reachable from its attributes.

    Raises:
        ConfigError: the model holds something that can't be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ConfigError(
            f"the model can't be copied, so it could carry something from one hospital to the next: "
            f"{type(error).__name__}: {error}. Keep generators, files and modules out of its attributes ([model] name)"
        ) from error


def resolve_device(name: str) -> torch.device:
    """Return the torch device for cpu, cuda or auto (cuda where there is one)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
