"""The loss of each record, by task.

What is left out on purpose: losses of several records at once, such as the partial likelihood of Cox, in which each
record's part hangs on all that were followed longer: no clip of a record's gradient would bound it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from wardround.survival import SURVIVAL

__all__ = ["LossPerRecord", "loss_of_many", "loss_per_record"]

LossPerRecord = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, k), labels (n,)) -> losses (n,)."""

_LANES = 64
"""Float32 numbers that the widest vectors of a processor hold (2,048 bits), or a multiple of what others do."""


def loss_per_record(task: str, weights: Sequence[float] | None = None, edges: Sequence[float] = ()) -> LossPerRecord:
    """Return the loss of a task: cross-entropy, the squared error of a regression, or that of hazards of a survival.

    With weights a record's loss is multiplied with that of its class. A gradient by record is then that of one record
    as before, of w_y times its loss, and is clipped after the weight is in it: so one record moves a clipped sum by at
    most the clip, whatever the weights, and sensitivity and bill stay as they are (Abadi et al. 2016, algorithm 1, asks
    nothing of the loss). The weights are settings, or follow from shares that were released with noise before, the
    same for all neighbours; ones that were made of the classes' counts would be a release of these counts.

    Args:
        task: classification, regression or survival.
        weights: one for each class (> 0), of a classification.
        edges: of the intervals, of a survival.
    """
    if task == "regression":
        return lambda outputs, labels: (outputs.squeeze(-1) - labels) ** 2
    if task == SURVIVAL:
        return _loss_of_hazards(edges)
    if weights is None:
        return lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none")
    by_class = torch.tensor(weights, dtype=torch.float64)

    def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, by_class.to(outputs), reduction="none")

    return weighted


def _loss_of_hazards(edges: Sequence[float]) -> LossPerRecord:
    """Return the negative log-likelihood of a record, by the logits of its hazards in the intervals, outputs (n, K).

    A hazard is the probability of the event in an interval for whoever is at risk in it. The loss is the sum, over the
    intervals in which the record was at risk, of the binary cross-entropy of whether its event was there. An event at
    time t is in the interval e_j <= t < e_{j+1}; at or after the last edge it is in none. Who was censored in an
    interval, at its middle or later, counts as having survived it, and before that as not at risk in it. So the loss is
    a sum over records, and a record's gradient is that of one record.

    Source: Gensheimer and Narasimhan 2019, PeerJ 7:e6257, the likelihood by intervals, and the middle for the censored.
    """
    bounds = torch.tensor(edges, dtype=torch.float32)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        # Intervals are in dimension 1, as classes are: behind it may be records, which then lie side by side.
        along = bounds.to(outputs.device).view(-1, *(1 for _ in outputs.shape[2:]))
        starts, ends = along[:-1], along[1:]
        times, is_event = labels.float().abs()[:, None], ~labels.signbit()[:, None]
        survived = times >= torch.where(is_event, ends, (starts + ends) / 2)
        failed = is_event & (times >= starts) & (times < ends)
        losses = functional.binary_cross_entropy_with_logits(outputs, failed.to(outputs), reduction="none")
        return losses.where(survived | failed, 0.0).sum(dim=1)

    return loss


def loss_of_many(task: str, weights: Sequence[float] | None = None, edges: Sequence[float] = ()) -> LossPerRecord:
    """Return the loss of `loss_per_record`, to rounding, for many records on a processor, in a quarter of the time.

    Outputs are laid out class by class, so that records stand side by side in a processor's vectors. Every record is
    computed in a lane of its own, and its loss and its gradient are functions of it alone, to the last bit. What would
    be left over after the last whole vector torch computes by other functions, whose last bits differ: so that nothing
    ever is, zeros fill up the vectors.
    """
    loss = loss_per_record(task, weights, edges)
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
