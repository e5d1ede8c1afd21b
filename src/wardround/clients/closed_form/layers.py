"""Models whose gradients by record are known in closed form, run for several hospitals with parameters of their own.

Hospitals are the first dimension of everything, records the second: a layer takes (hospitals, records, ...) and its
parameters are (hospitals, ...). No operation here crosses either: products are batched over hospitals, a row of a
product is made of one record's row and its hospital's parameters, and layers without parameters are run on all records
in a row, which they keep apart (`clients.forwards`). What is left out on purpose: any layer that is not the framework's
own, of the very types that are listed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wardround.clients.closed_form.by_record import ByRecord
from wardround.clients.closed_form.convolutions import Convolution, convolution, is_faster_channels_last
from wardround.clients.closed_form.parts import Linear, Norm, Parametrised
from wardround.models import ResidualBlock

__all__ = ["Dropped", "Layer", "Tap", "floats_by_record", "layers_of", "run", "uncovered_because"]


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """Two ways that are added, and relu of the sum (`models.ResidualBlock`)."""

    body: "list[Layer]"
    shortcut: "list[Layer]"


Layer = Parametrised | Residual | nn.Module

Dropped = Callable[[nn.Dropout, Tensor], Tensor]
"""What a dropout layer makes of what is given to it, (hospitals, records, ...), where its own draws would not do."""


class Tap(NamedTuple):
    """What went in (or what it was made of it) and out of a layer with trained parameters, for a block of records."""

    layer: Parametrised
    given: Tensor
    made: Tensor

    def by_record(self, gradient: Tensor) -> ByRecord:
        """Return the records' gradients, of the losses' gradient by what the layer made."""
        return self.layer.by_record(self.given, gradient)

    def sums(self, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of the records' gradients, (hospitals, ...)."""
        return self.layer.sums(self.given, gradient)

    def emptied(self, gradient: Tensor, kept: Tensor) -> "tuple[Tap, Tensor]":
        """Return both with zeros for the records that are not kept (hospitals, records): 0 * nan is nan."""
        found = [each.where(kept.view(*kept.shape, *(1,) * (each.dim() - 2)), 0.0) for each in (self.given, gradient)]
        return self._replace(given=found[0]), found[1]


def uncovered_because(model: nn.Module) -> str | None:
    """Return why gradients of a known forward (`clients.forwards`) have no closed form here; None where they do.

    By the very types, and as a clause: nothing is tried.
    """
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None and type(module) not in _WITH_PARAMETERS:
            return f"{name or 'the model'} ({type(module).__name__}) has no closed form"
    return None


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a model that is covered, in their order; they name their trained parameters."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    places = {id(parameter): place for place, parameter in enumerate(trained)}
    is_channels_last = is_faster_channels_last(model)

    def place(parameter: Tensor | None) -> int | Tensor | None:
        return None if parameter is None else places.get(id(parameter), parameter.detach())

    def listed(module: nn.Module) -> list[Layer]:
        if type(module) is nn.Sequential:
            return [layer for part in module for layer in listed(part)]
        if type(module) is ResidualBlock:
            return [Residual(listed(module.body), listed(module.shortcut))]
        if next(module.parameters(recurse=False), None) is None:
            return [module]
        layer = _WITH_PARAMETERS[type(module)](module, place(module.weight), place(module.bias))  # type: ignore[arg-type]
        return [replace(layer, is_channels_last=is_channels_last) if isinstance(layer, Convolution) else layer]

    return listed(model)


def run(
    layers: Sequence[Layer],
    parameters: Sequence[Tensor],
    given: Tensor,
    losses_of: Callable[[Tensor], Tensor],
    kept: Tensor | None = None,
    dropped: Dropped | None = None,
) -> tuple[Tensor, list[Tap], list[Tensor]]:
    """Return the records' losses, the taps, and the gradients of losses by the taps' outputs.

    One forward, and one backward that ends at the outputs of the first trained layer.

    Args:
        layers: of `layers_of`.
        parameters: of every hospital, (hospitals, ...) float32.
        given: features (hospitals, records, ...) float32.
        losses_of: (hospitals, records, out) -> (hospitals, records).
        kept: (hospitals, records), whose losses count; all where it is None. Of those kept, none whose loss is not
            finite counts.
        dropped: of dropout layers in training mode; where it is None they draw from torch's own generator.
    """
    taps: list[Tap] = []
    with torch.enable_grad():
        losses = losses_of(_through(layers, parameters, given, taps, dropped))
        counted = losses if kept is None else losses.where(kept & losses.isfinite(), 0.0)
        gradients = torch.autograd.grad(counted.sum(), [tap.made for tap in taps])
    return losses.detach(), taps, list(gradients)


def floats_by_record(model: nn.Module, record_shape: tuple[int, ...]) -> int:
    """Return about how many numbers a record takes on its way, its formed gradients included; of shapes alone."""
    return sum(tap.layer.floats(tap.given, tap.made) for tap in _of_one_record(model, record_shape))


def activations_by_record(model: nn.Module, record_shape: tuple[int, ...]) -> int:
    """Return about how many numbers a record takes on its way, no gradient by record among them; of shapes alone."""
    return sum(tap.given.numel() + tap.made.numel() for tap in _of_one_record(model, record_shape))


def _of_one_record(model: nn.Module, record_shape: tuple[int, ...]) -> list[Tap]:
    parameters = [parameter.detach()[None] for parameter in model.parameters() if parameter.requires_grad]
    taps: list[Tap] = []
    was_training = model.training
    model.eval()  # nothing is drawn for it
    with torch.no_grad():
        given = torch.zeros((1, 1, *record_shape), device=next(model.parameters()).device)
        _through(layers_of(model), parameters, given, taps)
    model.train(was_training)
    return taps


def _through(
    layers: Sequence[Layer],
    parameters: Sequence[Tensor],
    given: Tensor,
    taps: list[Tap],
    dropped: Dropped | None = None,
) -> Tensor:
    for layer in layers:
        if dropped and type(layer) is nn.Dropout and layer.training:
            given = dropped(layer, given)
        elif isinstance(layer, nn.Module):
            made = _kept_in_order(layer(given.flatten(0, 1)))
            given = made.view(*given.shape[:2], *made.shape[1:])
        elif isinstance(layer, Residual):
            ways = [_through(each, parameters, given, taps, dropped) for each in (layer.body, layer.shortcut)]
            given = functional.relu(ways[0] + ways[1])
        else:
            before, given = layer.outputs(given, parameters)
            if layer.is_trained:
                given = given if given.requires_grad else given.requires_grad_(torch.is_grad_enabled())
                taps.append(Tap(layer, before.detach(), given))
    return given


def _kept_in_order(made: Tensor) -> Tensor:
    """Let the gradient of images come in the order in which they lie in memory, as pooling is slow else."""
    if made.requires_grad and made.dim() == 4:
        made.register_hook(_contiguous if made.is_contiguous() else _channels_last)  # type: ignore[no-untyped-call]
    return made


def _contiguous(images: Tensor) -> Tensor:
    return images.contiguous()


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _linear(_: nn.Module, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    return Linear(weight, bias)


def _group_norm(module: nn.GroupNorm, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    def normalise(given: Tensor) -> Tensor:
        flat = functional.group_norm(given.flatten(0, 1), module.num_groups, eps=module.eps)
        return flat.view(given.shape)

    return Norm(weight, bias, normalise=normalise, channels=(module.num_channels,), channels_first=True)


def _layer_norm(module: nn.LayerNorm, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    def normalise(given: Tensor) -> Tensor:
        return functional.layer_norm(given, module.normalized_shape, eps=module.eps)

    return Norm(weight, bias, normalise=normalise, channels=tuple(module.normalized_shape), channels_first=False)


_WITH_PARAMETERS: dict[type[nn.Module], Callable[..., Parametrised]] = {
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Conv1d: partial(convolution, is_flat=True),
    nn.Conv2d: partial(convolution, is_flat=False),
}
