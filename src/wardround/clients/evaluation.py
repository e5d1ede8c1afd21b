"""How a model does on hospitals' test records: loss, share right, r2 or C, and AUC; and what it predicts of each.

Hospitals that are sent the same model are scored together: their records go through it in common batches, and each
hospital's scores are of its own. What is left out on purpose: whether a forward keeps the records of a batch apart (see
`held_model`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from wardround.clients.float_products import products_in_float32
from wardround.clients.losses import loss_per_record
from wardround.clients.tensors import HospitalTensors
from wardround.rounds import Evaluation
from wardround.scores import Predictions, macro_aucs, r2
from wardround.survival import SURVIVAL, concordance

__all__ = ["evaluate", "evaluate_together", "outputs_of"]

_BATCH = 1024


def evaluate(
    model: Callable[[Tensor], Tensor],
    tensors: HospitalTensors,
    *,
    hospital_id: str,
    task: str,
    edges: Sequence[float] = (),
) -> tuple[Evaluation, Predictions]:
    """Return the model's scores on the hospital's test records (nan where there are none), and its predictions.

    The loss has no weights of classes: it is the same for all settings of the training. A survival has edges of its
    intervals.
    """
    return evaluate_together(model, [(hospital_id, tensors)], task=task, edges=edges)[0]


def evaluate_together(
    model: Callable[[Tensor], Tensor],
    hospitals: Sequence[tuple[str, HospitalTensors]],
    *,
    task: str,
    edges: Sequence[float] = (),
) -> list[tuple[Evaluation, Predictions]]:
    """Return what `evaluate` does of each of hospitals, with their ids, of a model that keeps records apart."""
    sizes = np.array([len(tensors.test_labels) for _, tensors in hospitals])
    kind = np.int64 if task == "classification" else np.float64
    if not sizes.any():
        return [_scored(name, np.zeros(0), np.zeros(0, kind), np.full(3, np.nan)) for name, _ in hospitals]
    outputs = _outputs(model, [tensors.test_features for _, tensors in hospitals])
    labels = torch.cat([tensors.test_labels for _, tensors in hospitals])
    losses = _means(loss_per_record(task, edges=edges)(outputs, labels), sizes)
    answers: NDArray[Any] = labels.cpu().numpy().astype(kind)
    ends = np.cumsum(sizes)
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    aucs = np.full(len(sizes), np.nan)
    if task == "regression":
        values = outputs.squeeze(-1).double().cpu().numpy()
        scores = np.array([r2(values[part], answers[part]) for part in parts])
    elif task == SURVIVAL:
        # Of hazards by their logits: survival at the end of an interval is the product of all that were survived.
        values = logsigmoid(-outputs.double()).cumsum(dim=1).exp().cpu().numpy()
        scores = np.array([concordance(values[part], answers[part]) for part in parts])
    else:
        values = outputs.softmax(dim=1).double().cpu().numpy()
        scores = _means(outputs.argmax(dim=1) == labels, sizes)
        aucs = macro_aucs(values, answers, sizes)
        values = values[:, 1].copy() if values.shape[1] == 2 else values
    # So that the parts of each are sent without a copy.
    values.flags.writeable = answers.flags.writeable = False
    table = np.stack([losses, scores, aucs], axis=1)
    return [
        _scored(name, values[part], answers[part], row)
        for (name, _), part, row in zip(hospitals, parts, table, strict=True)
    ]


def outputs_of(model: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Return the model's outputs (n, k) of records, n >= 1, which it sees in parts."""
    return _outputs(model, [features])


def _outputs(model: Callable[[Tensor], Tensor], features: Sequence[Tensor]) -> Tensor:
    with torch.no_grad(), products_in_float32():
        return torch.cat([model(batch) for batch in _batches(features)])


def _batches(features: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield all records in their order, at most `_BATCH` at a time; those of a part that fits stay in one batch."""
    waiting: list[Tensor] = []
    num_waiting = 0
    for part in (part for each in features if len(each) for part in torch.split(each, _BATCH)):
        if num_waiting + len(part) > _BATCH:
            yield torch.cat(waiting)
            waiting, num_waiting = [], 0
        waiting.append(part)
        num_waiting += len(part)
    if waiting:
        yield torch.cat(waiting)


def _means(values: Tensor, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each hospital's values, nan where it has none."""
    owners = np.repeat(np.arange(len(sizes)), sizes)
    sums = np.bincount(owners, weights=values.double().cpu().numpy(), minlength=len(sizes))
    means = np.full(len(sizes), np.nan)
    np.divide(sums, sizes, out=means, where=sizes > 0)
    return means


def _scored(
    hospital_id: str, values: NDArray[np.float64], labels: NDArray[Any], scores: NDArray[np.float64]
) -> tuple[Evaluation, Predictions]:
    loss, score, auc = map(float, scores)
    evaluation = Evaluation(hospital_id=hospital_id, num_examples=len(labels), loss=loss, score=score, auc=auc)
    return evaluation, Predictions(values=values if len(labels) else np.zeros(0), labels=labels)
