"""The loss of each record, by task."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

__all__ = ["loss_per_record"]


def loss_per_record(task: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return (outputs (n, k), labels (n,)) -> losses (n,): cross-entropy, or the squared error of a regression."""
    if task == "regression":
        return lambda outputs, labels: (outputs.squeeze(-1) - labels) ** 2
    return lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none")
