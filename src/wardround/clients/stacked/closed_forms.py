"""What the gradients of records by one layer are: their norms, and their sum times factors.

The gradient by a linear layer's weight (out, in) of a record at one position is the outer product of the loss' gradient
g (out,) by the layer's output with its input a (in,), and by the bias it is g. So its squared norm is
|a|^2 |g|^2 + |g|^2, and a sum of gradients times factors f is one product of matrices, (f g)^T a, without any single
gradient in between. Where a record has several positions, or the layer is no product, its gradient is formed.

Source: Goodfellow 2015 (arXiv 1510.01799), section 2; Li et al. 2022 (arXiv 2110.05679), section 4; Bu et al. 2023
(arXiv 2210.00038), book-keeping. What is left out on purpose: any record's row that depends on another's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ByRecord", "Formed", "OuterProducts"]


@dataclass(frozen=True, slots=True, eq=False)
class OuterProducts:
    """Gradients by a linear layer of records that have one position.

    Attributes:
        given: a, (hospitals, records, in).
        gradient: g, (hospitals, records, out).
        weight: where the weight stands among the trained parameters; None where it is not trained.
        bias: the bias likewise.
    """

    given: Tensor
    gradient: Tensor
    weight: int | None
    bias: int | None

    def double(self) -> "OuterProducts":
        """Return them in float64: what they are products of, so that nothing is rounded."""
        return OuterProducts(self.given.double(), self.gradient.double(), self.weight, self.bias)

    def squared_norms(self) -> Tensor:
        """Return every record's, over the layer's parameters, (hospitals, records)."""
        of_weight = torch.linalg.vecdot(self.given, self.given) if self.weight is not None else 0.0
        of_bias: Tensor = torch.linalg.vecdot(self.gradient, self.gradient)
        return of_bias * (of_weight + float(self.bias is not None))

    def emptied(self, kept: Tensor) -> "OuterProducts":
        """Return them with zeros for records that are not kept (hospitals, records): a factor of 0 hides no nan."""
        rows = kept[:, :, None]
        return OuterProducts(self.given.where(rows, 0.0), self.gradient.where(rows, 0.0), self.weight, self.bias)

    def sums(self, factors: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of gradients times factors, (hospitals, ...)."""
        scaled = self.gradient * factors[:, :, None]
        if self.weight is not None:
            yield self.weight, torch.bmm(scaled.transpose(1, 2), self.given)
        if self.bias is not None:
            yield self.bias, scaled.sum(dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Formed:
    """Gradients that are there, of each of some trained parameters, (hospitals, records, p).

    Attributes:
        places: where the parameters stand among the trained ones.
        rows: the gradients.
    """

    places: Sequence[int]
    rows: Sequence[Tensor]

    def double(self) -> "Formed":
        """Return them in float64."""
        return Formed(self.places, [rows.double() for rows in self.rows])

    def squared_norms(self) -> Tensor:
        """Return every record's, over the layer's parameters, (hospitals, records)."""
        return torch.stack([torch.linalg.vecdot(rows, rows) for rows in self.rows]).sum(dim=0)

    def emptied(self, kept: Tensor) -> "Formed":
        """Return them with zeros for records that are not kept."""
        return Formed(self.places, [rows.where(kept[:, :, None], 0.0) for rows in self.rows])

    def sums(self, factors: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of gradients times factors, (hospitals, p)."""
        for place, rows in zip(self.places, self.rows, strict=True):
            yield place, torch.bmm(factors[:, None, :], rows).squeeze(1)


ByRecord = OuterProducts | Formed
