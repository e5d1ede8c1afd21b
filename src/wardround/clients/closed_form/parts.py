"""Layers with parameters, run with those of several hospitals, and what the gradients of records by them are.

A parameter is a place among the trained ones, of which every hospital has its own, or a tensor that is frozen and the
same for all. What is left out on purpose: the model that they are layers of (see `layers`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wardround.clients.closed_form.by_record import ByRecord, Formed, OuterProducts

__all__ = ["Linear", "Norm", "Parametrised", "of_hospitals"]


@dataclass(frozen=True, slots=True, eq=False)
class Parametrised(ABC):
    """A layer with a weight and perhaps a bias."""

    weight: int | Tensor
    bias: int | Tensor | None

    @property
    def is_trained(self) -> bool:
        """Whether any parameter is trained."""
        return isinstance(self.weight, int) or isinstance(self.bias, int)

    @abstractmethod
    def outputs(self, given: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what gradients are made of, and the outputs, both (hospitals, records, ...)."""

    @abstractmethod
    def by_record(self, given: Tensor, gradient: Tensor) -> ByRecord:
        """Return records' gradients, of what `outputs` returned first and of the losses' gradient by its outputs."""

    def sums(self, given: Tensor, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of the records' gradients, (hospitals, ...)."""
        return self.by_record(given, gradient).sums(given.new_ones(given.shape[:2], dtype=torch.float64))

    def floats(self, given: Tensor, made: Tensor) -> int:
        """Return about how many numbers a record takes here, of one record's; its formed gradient included."""
        return given.numel() + made.numel()

    def formed(self, of_weight: Tensor, of_bias: Tensor) -> Formed:
        """Return gradients by those parameters that are trained."""
        return Formed.of_trained([(self.weight, of_weight), (self.bias, of_bias)])


class Linear(Parametrised):
    """A product with a matrix (out, in), at every position of a record."""

    def outputs(self, given: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the inputs, and the outputs."""
        rows = given.flatten(1, -2)
        weight = of_hospitals(self.weight, parameters, len(given)).transpose(1, 2)
        if self.bias is None:
            made = torch.bmm(rows, weight)
        else:
            made = torch.baddbmm(of_hospitals(self.bias, parameters, len(given))[:, None], rows, weight)
        return given, made.view(*given.shape[:-1], made.shape[-1])

    def by_record(self, given: Tensor, gradient: Tensor) -> ByRecord:
        """Return outer products, or their sums over a record's positions."""
        if given.dim() == 3:
            places = (place if isinstance(place, int) else None for place in (self.weight, self.bias))
            return OuterProducts(given, gradient, *places)
        shape, positions = given.shape[:2], [each.flatten(0, 1).flatten(1, -2) for each in (given, gradient)]
        of_weight = torch.bmm(positions[1].transpose(1, 2), positions[0])
        return self.formed(of_weight.view(*shape, -1), positions[1].sum(dim=1).view(*shape, -1))

    def sums(self, given: Tensor, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the sums, one product for each hospital."""
        rows, gradients = given.flatten(1, -2), gradient.flatten(1, -2)
        if isinstance(self.weight, int):
            yield self.weight, torch.bmm(gradients.transpose(1, 2), rows)
        if isinstance(self.bias, int):
            yield self.bias, gradients.sum(dim=1)

    def floats(self, given: Tensor, made: Tensor) -> int:
        """Return inputs and outputs, and the gradient where there are several positions."""
        return given.numel() + made.numel() + (given.dim() > 3) * given.shape[-1] * made.shape[-1]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Norm(Parametrised):
    """A record's values normalised, times a weight and plus a bias for every channel.

    Attributes:
        normalise: of each record by itself.
        channels: the shape of what has a weight each.
        channels_first: whether they are a record's first dimension, or its last ones.
    """

    normalise: Callable[[Tensor], Tensor]
    channels: tuple[int, ...]
    channels_first: bool

    def outputs(self, given: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the normalised values, and the outputs."""
        normal = self.normalise(given)
        made = normal * self._spread(self.weight, parameters, given)
        if self.bias is not None:
            made = made + self._spread(self.bias, parameters, given)
        return normal, made

    def by_record(self, given: Tensor, gradient: Tensor) -> ByRecord:
        """Return sums over positions."""
        dimensions = tuple(range(3, given.dim()) if self.channels_first else range(2, given.dim() - len(self.channels)))
        found = [gradient * given, gradient]
        return self.formed(*((each.sum(dim=dimensions) if dimensions else each).flatten(2) for each in found))

    def _spread(self, parameter: int | Tensor, parameters: Sequence[Tensor], given: Tensor) -> Tensor:
        """Return a parameter of every hospital so that it meets its channels in (hospitals, records, ...)."""
        found = of_hospitals(parameter, parameters, len(given))
        others = given.dim() - 2 - len(self.channels)
        before, after = (0, others) if self.channels_first else (others, 0)
        return found.reshape(len(given), 1, *(1,) * before, *self.channels, *(1,) * after)


def of_hospitals(parameter: int | Tensor, parameters: Sequence[Tensor], num_hospitals: int) -> Tensor:
    """Return a parameter of every hospital, (hospitals, ...): a trained one by its place, or one that all share."""
    if isinstance(parameter, int):
        return parameters[parameter]
    return parameter.expand(num_hospitals, *parameter.shape)
