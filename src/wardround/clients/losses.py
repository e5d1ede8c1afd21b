"""The loss of each record, by task."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossPerRecord", "loss_of_many", "loss_per_record"]

LossPerRecord = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, k), labels (n,)) -> losses (n,)."""

_LANES = 64
"""Float32 numbers that the widest vectors of a processor hold (2,048 bits), or a multiple of what others do."""


def loss_per_record(task: str, weights: Sequence[float] | None = None) -> LossPerRecord:
    """Return the loss of a task: cross-entropy, or the squared error of a regression.

    With weights a record's loss is multiplied with that of its class. A gradient by record is then that of one record
    as before, of w_y times its loss, and is clipped after the weight is in it: so one record moves a clipped sum by at
    most the clip, whatever the weights, and sensitivity and bill stay as they are (Abadi et al. 2016, algorithm 1, asks
    nothing of the loss). The weights are settings, or follow from shares that were released with noise before, the
    same for all neighbours; ones that were made of the classes' counts would be a release of these counts.

    Args:
        task: classification or regression.
        weights: one for each class (> 0), of a classification.
    """
    if task == "regression":
        return lambda outputs, labels: (outputs.squeeze(-1) - labels) ** 2
    if weights is None:
        return lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none")
    by_class = torch.tensor(weights, dtype=torch.float64)

    def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, by_class.to(outputs), reduction="none")

    return weighted


def loss_of_many(task: str, weights: Sequence[float] | None = None) -> LossPerRecord:
    """Return the loss of `loss_per_record`, to rounding, for many records on a processor, in a quarter of the time.

    Outputs are laid out class by class, so that records stand side by side in a processor's vectors. Every record is
    computed in a lane of its own, and its loss and its gradient are functions of it alone, to the last bit. What would
    be left over after the last whole vector torch computes by other functions, whose last bits differ: so that nothing
    ever is, zeros fill up the vectors.
    """
    loss = loss_per_record(task, weights)
    if task == "regression":
        return loss

    def of_many(outputs: Tensor, labels: Tensor) -> Tensor:
        if outputs.device.type != "cpu":
            return loss(outputs, labels)
        if outputs.requires_grad:
            # Else all that follows would read the gradient column by column.
            outputs.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        left = -len(labels) % _LANES
        columns = functional.pad(outputs, (0, 0, 0, left)).t().contiguous()[None]
        return loss(columns, functional.pad(labels, (0, left))[None])[0, : len(labels)]

    return of_many
