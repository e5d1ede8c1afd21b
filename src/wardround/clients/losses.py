"""The loss of each record, by task."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

__all__ = ["LossPerRecord", "loss_per_record"]

LossPerRecord = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, k), labels (n,)) -> losses (n,)."""


def loss_per_record(task: str) -> LossPerRecord:
    """Return the loss of a task: cross-entropy, or the squared error of a regression."""
    if task == "regression":
        return lambda outputs, labels: (outputs.squeeze(-1) - labels) ** 2
    return lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none")
