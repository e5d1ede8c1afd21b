"""The loss of each record, by task."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossPerRecord", "loss_per_record"]

LossPerRecord = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, k), labels (n,)) -> losses (n,)."""


def loss_per_record(task: str, weights: Sequence[float] | None = None) -> LossPerRecord:
    """Return the loss of a task: cross-entropy, or the squared error of a regression.

    With weights a record's loss is multiplied with that of its class. A gradient by record is then that of one record
    as before, of w_y times its loss, and is clipped after the weight is in it: so one record moves a clipped sum by at
    most the clip, whatever the weights, and sensitivity and bill stay as they are (Abadi et al. 2016, algorithm 1, asks
    nothing of the loss). The weights are settings, the same for all neighbours; ones that were made of the classes'
    counts would be a release of these counts.

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
