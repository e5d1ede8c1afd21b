"""What the gradients of records by one layer are: their norms, and their sum times factors.

The gradient by a linear layer's weight (out, in) of a record at one position is the outer product of the loss' gradient
g (out,) by the layer's output with its input a (in,), and by the bias it is g. So its squared norm is
|a|^2 |g|^2 + |g|^2, and a sum of gradients times factors f is one product of matrices, (f g)^T a, without any single
gradient in between. Where a record has several positions, or the layer is no product, its gradient is formed.

All norms and sums are in float64, of float32 gradients or of what they are exact products of. What is left out on
purpose: any record's row that depends on another's.

Source: Goodfellow 2015 (arXiv 1510.01799), section 2; Li et al. 2022 (arXiv 2110.05679), section 4; Bu et al. 2023
(arXiv 2210.00038), book-keeping.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wardround.clients.closed_form.portions import numbers_at_a_time

__all__ = ["ByRecord", "Formed", "OuterProducts", "clipped_rows", "means_by_owner"]

_MOST_FLOATS, _LEAST_COLUMNS = 2**16, 64
"""Numbers of formed gradients that are turned to float64 at a time, so that they stay in the processor's caches; of
each at least so many that lie side by side."""


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

    @property
    def num_records(self) -> int:
        """Of a hospital."""
        return self.gradient.shape[1]

    def double(self) -> "OuterProducts":
        """Return them in float64: what they are products of, so that nothing is rounded."""
        return OuterProducts(self.given.double(), self.gradient.double(), self.weight, self.bias)

    def squared_norms(self) -> Tensor:
        """Return every record's, over the layer's parameters, (hospitals, records)."""
        of_weight = _squared(self.given) if self.weight is not None else 0.0
        return _squared(self.gradient) * (of_weight + float(self.bias is not None))

    def between(self, start: int, end: int) -> "OuterProducts":
        """Return those of some records."""
        some = slice(start, end)
        return OuterProducts(self.given[:, some], self.gradient[:, some], self.weight, self.bias)

    def of_hospital(self, place: int) -> "OuterProducts":
        """Return those of one hospital."""
        one = slice(place, place + 1)
        return OuterProducts(self.given[one], self.gradient[one], self.weight, self.bias)

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

    def formed(self) -> "Formed":
        """Return the gradients themselves."""
        products = (self.gradient[:, :, :, None] * self.given[:, :, None, :]).flatten(2)
        return Formed.of_trained([(self.weight, products), (self.bias, self.gradient)])

    def means(self, size: int) -> "Formed":
        """Return the means of the gradients of every `size` records side by side, (hospitals, records / size, p).

        A mean of outer products is one product of matrices, (g / size)^T a, without any single one in between.
        """
        given, gradient = (
            rows.reshape(len(rows), -1, size, rows.shape[2]) for rows in (self.given, self.gradient / size)
        )
        means = (gradient.transpose(2, 3) @ given).flatten(2)
        return Formed.of_trained([(self.weight, means), (self.bias, gradient.sum(dim=2))])


@dataclass(frozen=True, slots=True, eq=False)
class Formed:
    """Gradients that are there, of each of some trained parameters, (hospitals, records, p).

    Attributes:
        places: where the parameters stand among the trained ones.
        rows: the gradients.
        ordered: makes (n, p) in the order of a parameter's elements of those in the order of `rows`; None where these
            are in it. Norms don't ask for an order, so that only sums are put into it.
    """

    places: Sequence[int]
    rows: Sequence[Tensor]
    ordered: Sequence[Callable[[Tensor], Tensor] | None] = ()

    @staticmethod
    def of_trained(found: Sequence[tuple[int | Tensor | None, Tensor]]) -> "Formed":
        """Return those of the gradients whose parameter has a place, as only a trained one has."""
        kept = [(place, rows) for place, rows in found if isinstance(place, int)]
        return Formed([place for place, _ in kept], [rows for _, rows in kept])

    @property
    def num_records(self) -> int:
        """Of a hospital."""
        return self.rows[0].shape[1]

    def double(self) -> "Formed":
        """Return them as they are, since norms and sums are in float64 anyway, some columns at a time."""
        return self

    def squared_norms(self) -> Tensor:
        """Return every record's, over the layer's parameters, (hospitals, records)."""
        norms = [_squared(some) for rows in self.rows for some in _in_double(rows)]
        return norms[0] if len(norms) == 1 else torch.stack(norms).sum(dim=0)

    def between(self, start: int, end: int) -> "Formed":
        """Return those of some records."""
        return Formed(self.places, [rows[:, start:end] for rows in self.rows], self.ordered)

    def of_hospital(self, place: int) -> "Formed":
        """Return those of one hospital."""
        return Formed(self.places, [rows[place : place + 1] for rows in self.rows], self.ordered)

    def emptied(self, kept: Tensor) -> "Formed":
        """Return them with zeros for records that are not kept."""
        return Formed(self.places, [rows.where(kept[:, :, None], 0.0) for rows in self.rows], self.ordered)

    def sums(self, factors: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield for each trained parameter its place, and the sum of gradients times factors, (hospitals, p)."""
        for index, (place, rows) in enumerate(zip(self.places, self.rows, strict=True)):
            parts = [torch.bmm(factors[:, None], some).squeeze(1) for some in _in_double(rows)]
            yield place, self._in_order(index, torch.cat(parts, dim=1))

    def formed(self) -> "Formed":
        """Return the gradients in the order of the parameters' elements."""
        if not self.ordered:
            return self
        rows = [self._in_order(index, rows.flatten(0, 1)).view(rows.shape) for index, rows in enumerate(self.rows)]
        return Formed(self.places, rows)

    def _in_order(self, index: int, rows: Tensor) -> Tensor:
        ordered = self.ordered[index] if self.ordered else None
        return rows if ordered is None else ordered(rows)


ByRecord = OuterProducts | Formed


def clipped_rows(parts: Sequence[ByRecord], factors: Tensor) -> Tensor:
    """Return records' gradients times factors, (hospitals, records, coordinates) float64, by all trained parameters.

    Args:
        parts: by every layer, of each trained parameter once.
        factors: (hospitals, records), float64.
    """
    formed = [part.formed() for part in parts]
    by_place = {place: rows for part in formed for place, rows in zip(part.places, part.rows, strict=True)}
    return torch.cat([by_place[place] * factors[:, :, None] for place in sorted(by_place)], dim=2)


def means_by_owner(parts: Sequence[ByRecord], owners: Tensor) -> list[Formed]:
    """Return the means of the gradients of rows that one owner has, as records of one hospital.

    Args:
        parts: by every layer, of the rows of one hospital.
        owners: (rows,) int64, ascending from 0, each number at least once.
    """
    counts = torch.bincount(owners)
    size = len(owners) // len(counts)
    are_equal = bool((counts == size).all())
    means = []
    for part in parts:
        if are_equal and isinstance(part, OuterProducts):
            means.append(part.means(size))
            continue
        formed = part.formed()
        sums = [rows.new_zeros(1, len(counts), rows.shape[2]).index_add_(1, owners, rows) for rows in formed.rows]
        means.append(Formed(formed.places, [rows / counts[:, None] for rows in sums]))
    return means


def _squared(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=2)
    return norms.square_()


def _in_double(rows: Tensor) -> Iterator[Tensor]:
    """Yield some columns after others in float64."""
    size = max(_LEAST_COLUMNS, numbers_at_a_time(rows.device, _MOST_FLOATS) // max(1, rows.shape[0] * rows.shape[1]))
    return (some.double() for some in torch.split(rows, size, dim=2))
