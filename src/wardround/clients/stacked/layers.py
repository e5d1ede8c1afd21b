"""The layers that several hospitals run at once, and what the gradient of a record by a layer's parameters is made of.

Hospitals are the first dimension of everything, records the second: a layer takes (hospitals, records, ...) and each
hospital has its own parameters (hospitals, ...). No operation here crosses either: products are batched over hospitals,
a row of a product is made of one record's row and its hospital's parameters, and activations are elementwise.

The gradient by a linear layer's weight (out, in) of a record at one position is the outer product of the loss'
gradient g (out,) by the layer's output with its input a (in,), and by the bias it is g. So its squared norm is
|a|^2 |g|^2 + |g|^2, and a sum of gradients times factors f is one product of matrices, (f g)^T a, without any single
gradient in between.

Source: Goodfellow 2015 (arXiv 1510.01799), section 2; Li et al. 2022 (arXiv 2110.05679), section 4; Bu et al. 2023
(arXiv 2210.00038), book-keeping. What is left out on purpose: layers whose rows depend on anything else, and those of
which a record has several positions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

__all__ = ["Layer", "Tap", "layers_of", "run", "several_positions_because", "unstacked_because"]

_ELEMENTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Tanhshrink,
    nn.Softshrink, nn.Hardshrink, nn.Threshold,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tap:
    """What went in and out of a layer with trained parameters, for a block of records.

    Attributes:
        given: its input a, (hospitals, records, in) float32, or as float64.
        made: its output, (hospitals, records, out) float32, whose gradient is asked for.
        weight: where its weight stands among the trained parameters; None where it is not trained.
        bias: its bias likewise.
    """

    given: Tensor
    made: Tensor
    weight: int | None
    bias: int | None

    def squared_norms(self, gradient: Tensor) -> Tensor:
        """Return the squared norm of every record's gradient by this layer's parameters, (hospitals, records).

        The gradient by the layer's output is (hospitals, records, out), of the input's type.
        """
        of_weight = torch.linalg.vecdot(self.given, self.given) if self.weight is not None else 0.0
        return (of_weight + float(self.bias is not None)) * torch.linalg.vecdot(gradient, gradient)

    def sums(self, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of gradients over records, (hospitals, ...).

        The gradient by the layer's output is (hospitals, records, out), of the input's type, and may be times factors.
        """
        if self.weight is not None:
            yield self.weight, torch.bmm(gradient.transpose(1, 2), self.given)
        if self.bias is not None:
            yield self.bias, gradient.sum(dim=1)

    def double(self) -> "Tap":
        """Return it with its input in float64."""
        return replace(self, given=self.given.double())

    def emptied(self, gradient: Tensor, kept: Tensor) -> "tuple[Tap, Tensor]":
        """Return the tap and the gradient with zeros for the records that are not kept: a factor of 0 hides no nan."""
        rows = kept[:, :, None]
        return replace(self, given=self.given.where(rows, 0.0)), gradient.where(rows, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """A linear layer; places are those among the trained parameters, tensors stay as they are for all hospitals."""

    weight: int | Tensor
    bias: int | Tensor | None

    def output(self, given: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Return given times weights, plus biases, (hospitals, records, out)."""
        num_hospitals = len(given)
        weight = _of_hospitals(self.weight, parameters, num_hospitals).transpose(1, 2)
        if self.bias is None:
            return torch.bmm(given, weight)
        return torch.baddbmm(_of_hospitals(self.bias, parameters, num_hospitals)[:, None], given, weight)


Layer = _Linear | nn.Module
"""A linear layer, a module that works on every element by itself, or `nn.Flatten` of all but the records."""


def unstacked_because(model: nn.Module) -> str | None:
    """Return why a model of a known forward (`forwards.unknown_because`) is not stacked, as a clause; None where it is.

    By the very types: nothing is tried.
    """
    for name, module in _leaves(model):
        where = f"{name or 'the model'} ({type(module).__name__})"
        if type(module) is nn.Flatten:
            if (module.start_dim, module.end_dim) != (1, -1):
                return f"{where} flattens some dimensions only"
        elif type(module) is not nn.Linear and type(module) not in _ELEMENTWISE:
            return f"{where} is not among the layers whose gradients' norms are in closed form here"
    return None


def several_positions_because(model: nn.Module, record_shape: tuple[int, ...]) -> str | None:
    """Return why a linear layer would see several positions of a record of this shape; None where none does."""
    num_dimensions = len(record_shape)
    for name, module in _leaves(model):
        if type(module) is nn.Flatten:
            num_dimensions = 1
        elif type(module) is nn.Linear and num_dimensions != 1:
            return f"{name or 'the model'} (Linear) takes several positions of a record"
    return None


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a model that can be stacked, in their order; a linear layer names its trained parameters."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    places = {id(parameter): place for place, parameter in enumerate(trained)}

    def place(parameter: Tensor | None) -> int | Tensor | None:
        return None if parameter is None else places.get(id(parameter), parameter.detach())

    layers: list[Layer] = []
    for _, module in _leaves(model):
        weight = place(module.weight) if isinstance(module, nn.Linear) else None
        layers.append(module if weight is None else _Linear(weight, place(module.bias)))  # type: ignore[arg-type]
    return layers


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
        for layer in layers:
            if isinstance(layer, _Linear):
                given, before = layer.output(given, parameters), given
                weight, bias = (each if isinstance(each, int) else None for each in (layer.weight, layer.bias))
                if weight is not None or bias is not None:
                    made = given if given.requires_grad else given.requires_grad_()
                    taps.append(Tap(given=before.detach(), made=made, weight=weight, bias=bias))
            elif type(layer) is nn.Flatten:
                given = given.flatten(2) if given.dim() > 2 else given
            else:
                given = layer(given)
        losses = losses_of(given)
        counted = losses if kept is None else losses.where(kept & losses.isfinite(), 0.0)
        gradients = torch.autograd.grad(counted.sum(), [tap.made for tap in taps])
    return losses.detach(), taps, list(gradients)


def _leaves(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers in the order in which a model of nothing but `nn.Sequential` runs them."""
    if type(module) is nn.Sequential:
        for key, part in module._modules.items():
            if part is not None:
                yield from _leaves(part, f"{name}.{key}" if name else key)
    else:
        yield name, module


def _of_hospitals(parameter: int | Tensor, parameters: Sequence[Tensor], num_hospitals: int) -> Tensor:
    if isinstance(parameter, int):
        return parameters[parameter]
    return parameter.expand(num_hospitals, *parameter.shape)
