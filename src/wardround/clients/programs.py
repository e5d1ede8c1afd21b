"""A model's code turned into a program of one record, before any record is seen; the code itself never meets data.

The forward, the loss and their gradient are recorded once for one empty record: tensors that have shapes and no
values. What is recorded is a list of the framework's own operations, and only that list is run on patients, under
`vmap` over the records of a batch. So no record can see another, and nothing that a forward does on the side (an
attribute, a list, a cache, a file) can carry anything from one record, batch, round or hospital to the next: it isn't
there when the data is. What can't be recorded as a pure function is refused. What is left out on purpose: batches.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.func import functionalize, vmap
from torch.fx import GraphModule
from torch.nn.attention import SDPBackend, sdpa_kernel

from wardround.clients.losses import LossPerRecord
from wardround.clients.memories import memory_of
from wardround.clients.purity import WRITES, Impure, check_pure, zero_what_is_empty
from wardround.digests import digest_of
from wardround.errors import WardroundError

__all__ = ["RecordProgram", "program_digest", "record_once", "record_program", "refusing"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordProgram:
    """What a model does with one record: its gradient in training mode, its outputs in evaluation mode.

    Attributes:
        parameters: the trainable ones, read anew at every call.
        constants: frozen parameters and buffers, as they were before training; never written to.
    """

    parameters: tuple[Any, ...]
    constants: tuple[Tensor, ...]
    gradient: GraphModule
    scores: GraphModule

    @property
    def digest(self) -> bytes:
        """Digest of what leaves a gradient, apart from parameters, 32 bytes: of its operations and all constants."""
        return digest_of(program_digest(self.gradient), _tensors_digest(dict(enumerate(self.constants))))

    def gradients_of(self, features: Tensor, labels: Tensor) -> Tensor:
        """Leave every record's gradient (n, ...) in each parameter's `grad_sample`, and return the losses (n,).

        Random layers draw anew for every record. Features are (n, ...) and labels (n,), n >= 1.
        """
        run = vmap(self.gradient, in_dims=(None, None, 0, 0), randomness="different")
        gradients, losses = run(*self._fixed(), features.unsqueeze(1), labels.unsqueeze(1))
        for parameter, rows in zip(self.parameters, gradients, strict=True):
            parameter.grad_sample = rows
        return losses.squeeze(1)  # type: ignore[no-any-return]

    def outputs_of(self, features: Tensor) -> Tensor:
        """Return the outputs (n, k) of records (n, ...), n >= 1, in evaluation mode."""
        run = vmap(self.scores, in_dims=(None, None, 0), randomness="different")
        return run(*self._fixed(), features.unsqueeze(1)).squeeze(1)  # type: ignore[no-any-return]

    def _fixed(self) -> tuple[list[Tensor], list[Tensor]]:
        return [parameter.detach() for parameter in self.parameters], list(self.constants)


def record_program(
    model: nn.Module, record_shape: tuple[int, ...], label_type: torch.dtype, loss: LossPerRecord
) -> RecordProgram:
    """Return the program of a model, whose parameters it shares.

    The model's code runs here, on copies and on tensors without values, twice for each mode: what differs between two
    runs, or is written anywhere in the module, is state that a program of one record can't have.

    The model is on the device that it will be trained on.

    Raises:
        ConfigError: the model can't be run record by record, and why.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    constants = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    constants |= {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    device = next(iter(parameters.values())).device
    record = torch.zeros((1, *record_shape), device=device)
    label = torch.zeros(1, dtype=label_type, device=device)
    fixed = ([p.detach() for p in parameters.values()], list(constants.values()))
    names = (*parameters, *constants)

    def outputs(copied: nn.Module, parameters: list[Tensor], constants: list[Tensor], record: Tensor) -> Any:
        with _filled(copied, dict(zip(names, [*parameters, *constants], strict=True))):
            return copied(record)

    def gradient(
        copied: nn.Module, parameters: list[Tensor], constants: list[Tensor], record: Tensor, label: Tensor
    ) -> Any:
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        with torch.enable_grad():
            losses = loss(outputs(copied, leaves, constants, record), label)
            gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        return list(gradients), losses.detach()

    program = RecordProgram(
        parameters=tuple(parameters.values()),
        constants=tuple(constants.values()),
        gradient=_recorded(model, True, gradient, (*fixed, record, label)),
        scores=_recorded(model, False, torch.no_grad()(outputs), (*fixed, record)),
    )
    _try(program, record.repeat(2, *(1 for _ in record_shape)), label.repeat(2))
    return program


def _try(program: RecordProgram, records: Tensor, labels: Tensor) -> None:
    """Run two empty records, so that an operation that vmap can't serve is found before any data is."""
    try:
        with _own_randomness(records.device):
            program.gradients_of(records, labels)
            program.outputs_of(records)
    except Exception as error:
        raise Impure(f"{type(error).__name__}: {_first_line(error)}") from error
    finally:
        for parameter in program.parameters:
            parameter.grad_sample = None


@contextmanager
def _filled(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Put tensors into every place of the parameters and buffers of their names; shared ones have several."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    given = {id(own[name]): tensor for name, tensor in tensors.items()}
    places = [place for module in model.modules() for place in (module._parameters, module._buffers)]
    before = [(place, key, value) for place in places for key, value in place.items() if value is not None]
    try:
        for place, key, value in before:
            place[key] = given[id(value)]  # type: ignore[assignment]
        yield
    finally:
        for place, key, value in before:
            place[key] = value  # type: ignore[assignment]


def _recorded(model: nn.Module, training: bool, run: Callable[..., Any], given: tuple[Any, ...]) -> GraphModule:
    """Record twice, each time on a fresh copy, and return the program if both are the same pure function."""
    with refusing():
        copied = copy.deepcopy(model).train(training)
        before = memory_of(copied)
        written = _as_written(partial(run, copied), given)
        program = _functional(written, given)
        if changed := memory_of(copied).differs_from(before):
            raise Impure(f"it writes to {changed} in its forward, which would outlive the call")
        # What follows from code that is the same is the same.
        again = _as_written(partial(run, copy.deepcopy(model).train(training)), given)
    if not _same(written, again):
        raise Impure("its forward is not the same twice: it remembers an earlier call, or draws outside of torch")
    return program


@contextmanager
def refusing() -> Iterator[None]:
    """Say why code can't be recorded, whatever it was that failed.

    Raises:
        Impure: the reason.
    """
    # This imports what takes seconds, and there are processes that record nothing.
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        yield
    except WardroundError:
        raise
    except (GuardOnDataDependentSymNode, DataDependentOutputException) as error:
        raise Impure("what it does next depends on the values that it is given (an if, a loop, .item())") from error
    except DynamicOutputShapeException as error:
        raise Impure("the shape of something in it depends on the values that it is given") from error
    except Exception as error:
        if "mutating a non-functional tensor" in str(error):
            raise Impure(WRITES) from error
        raise Impure(f"{type(error).__name__}: {_first_line(error)}") from error


def record_once(run: Callable[..., Any], given: tuple[Any, ...]) -> GraphModule:
    """Return what a function does with tensors of these shapes as a pure program; their values don't count.

    Args:
        run: of as many arguments as are given.
        given: tensors, or lists of them; the last one is on the device that the program is for.

    Raises:
        Impure: the program would not be a function of what it is given.
        Exception: what `run` raises.
    """
    return _functional(_as_written(run, given), given)


def _as_written(run: Callable[..., Any], given: tuple[Any, ...]) -> GraphModule:
    """Return the operations of a function one after the other, writes to what it makes itself included."""
    written = _traced(run, given)
    check_pure(written, writes=False)
    _own_constants(written)
    return written


def _functional(written: GraphModule, given: tuple[Any, ...]) -> GraphModule:
    """Return the pure program of what was recorded as written."""
    recorded = _traced(functionalize(written), given)
    check_pure(recorded, writes=True)
    zero_what_is_empty(recorded)
    _own_constants(recorded)
    return recorded


def _traced(run: Callable[..., Any], given: tuple[Any, ...]) -> GraphModule:
    # As above.
    from torch.fx.experimental.proxy_tensor import make_fx

    with _own_randomness(given[-1].device), _plain_operations():
        return make_fx(run, tracing_mode="fake", _allow_non_fake_inputs=True)(*given)


def program_digest(program: GraphModule) -> bytes:
    """Return a digest of a recorded program's operations and of the constants among them, 32 bytes."""
    return digest_of(program.code.encode(), _tensors_digest(_constants(program)))


def _tensors_digest(tensors: Mapping[Any, Tensor]) -> bytes:
    return digest_of(
        *(
            part
            for name, tensor in tensors.items()
            for part in (
                f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(),
                tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
            )
        )
    )


def _constants(program: GraphModule) -> dict[str, Tensor]:
    """Return what the code holds by name; frozen parameters of nobody's are among them."""
    return dict(program.named_buffers()) | dict(program.named_parameters())


def _own_constants(recorded: GraphModule) -> None:
    """Replace what the code holds by copies as they are now: nobody else has them."""
    for name, constant in _constants(recorded).items():
        delattr(recorded, name)
        recorded.register_buffer(name, constant.detach().clone())


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Record attention and recurrence in plain operations: fused ones draw by themselves, or can't be batched."""
    attention, recurrence = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        torch._C._set_mkldnn_enabled(recurrence)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Draw from a stream of one's own, and leave the one that layers draw from in training where it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _same(first: GraphModule, second: GraphModule) -> bool:
    return program_digest(first) == program_digest(second)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "").rstrip(".")
