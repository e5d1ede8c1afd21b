"""The layers that several hospitals run at once, each with parameters of its own.

Hospitals are the first dimension of everything, records the second: a layer takes (hospitals, records, ...) and its
parameters are (hospitals, ...). No operation here crosses either: products are batched over hospitals, a row of a
product is made of one record's row and its hospital's parameters, and layers without parameters are run on all records
in a row, which they keep apart (`clients.forwards`). What is left out on purpose: layers that draw at random,
embeddings, and convolutions, which are slower padded than one hospital after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wardround.clients.stacked.closed_forms import ByRecord
from wardround.clients.stacked.parts import Linear, Norm, Parametrised

__all__ = ["Layer", "Tap", "floats_by_record", "layers_of", "run", "unstacked_because"]

_AT_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


Layer = Parametrised | nn.Module


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


def unstacked_because(model: nn.Module) -> str | None:
    """Return why a model of a known forward (`forwards.unknown_because`) is not stacked, as a clause; None where it is.

    By the very types: nothing is tried.
    """
    for name, module in model.named_modules():
        where = f"{name or 'the model'} ({type(module).__name__})"
        if type(module) in _AT_RANDOM:
            return f"{where} draws at random"
        if next(module.parameters(recurse=False), None) is not None and type(module) not in _WITH_PARAMETERS:
            return f"{where} is not among the layers that hospitals run together, or no faster so"
    return None


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a model that can be stacked, in their order; they name their trained parameters."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    places = {id(parameter): place for place, parameter in enumerate(trained)}

    def place(parameter: Tensor | None) -> int | Tensor | None:
        return None if parameter is None else places.get(id(parameter), parameter.detach())

    def listed(module: nn.Module) -> list[Layer]:
        if type(module) is nn.Sequential:
            return [layer for part in module for layer in listed(part)]
        if next(module.parameters(recurse=False), None) is None:
            return [module]
        made = _WITH_PARAMETERS[type(module)]
        return [made(module, place(module.weight), place(module.bias))]  # type: ignore[arg-type]

    return listed(model)


def run(
    layers: Sequence[Layer],
    parameters: Sequence[Tensor],
    given: Tensor,
    losses_of: Callable[[Tensor], Tensor],
    kept: Tensor | None = None,
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
    """
    taps: list[Tap] = []
    with torch.enable_grad():
        losses = losses_of(_through(layers, parameters, given, taps))
        counted = losses if kept is None else losses.where(kept & losses.isfinite(), 0.0)
        gradients = torch.autograd.grad(counted.sum(), [tap.made for tap in taps])
    return losses.detach(), taps, list(gradients)


def floats_by_record(model: nn.Module, record_shape: tuple[int, ...]) -> int:
    """Return about how many numbers a record takes on its way, its formed gradients included; of shapes alone."""
    parameters = [parameter.detach()[None] for parameter in model.parameters() if parameter.requires_grad]
    taps: list[Tap] = []
    with torch.no_grad():
        _through(layers_of(model), parameters, torch.zeros((1, 1, *record_shape)), taps)
    return sum(tap.layer.floats(tap.given, tap.made) for tap in taps)


def _through(layers: Sequence[Layer], parameters: Sequence[Tensor], given: Tensor, taps: list[Tap]) -> Tensor:
    for layer in layers:
        if isinstance(layer, nn.Module):
            given = layer(given.flatten(0, 1)).unflatten(0, given.shape[:2])
        else:
            before, given = layer.outputs(given, parameters)
            if layer.is_trained:
                given = given if given.requires_grad else given.requires_grad_(torch.is_grad_enabled())
                taps.append(Tap(layer, before.detach(), given))
    return given


def _linear(_: nn.Module, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    return Linear(weight, bias)


def _group_norm(module: nn.GroupNorm, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    def normalise(given: Tensor) -> Tensor:
        return functional.group_norm(given.flatten(0, 1), module.num_groups, eps=module.eps).view(given.shape)

    return Norm(weight, bias, normalise=normalise, num_channels=module.num_channels, channels_first=True)


def _layer_norm(module: nn.LayerNorm, weight: int | Tensor, bias: int | Tensor | None) -> Parametrised:
    def normalise(given: Tensor) -> Tensor:
        return functional.layer_norm(given, module.normalized_shape, eps=module.eps)

    size = torch.Size(module.normalized_shape).numel()
    return Norm(weight, bias, normalise=normalise, num_channels=size, channels_first=False)


_WITH_PARAMETERS: dict[type[nn.Module], Callable[..., Parametrised]] = {
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
