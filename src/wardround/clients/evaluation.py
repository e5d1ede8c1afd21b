"""How a model does on one hospital's test records: loss, share right or r2, and AUC; and what it predicts of each."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.clients.losses import loss_per_record
from wardround.clients.tensors import HospitalTensors
from wardround.rounds import Evaluation
from wardround.scores import Predictions, macro_auc, r2

__all__ = ["evaluate", "outputs_of"]

_BATCH = 1024


def evaluate(
    model: Callable[[Tensor], Tensor], tensors: HospitalTensors, *, hospital_id: str, task: str
) -> tuple[Evaluation, Predictions]:
    """Return the model's scores on the hospital's test records (nan where there are none), and its predictions.

    The loss has no weights of classes: it is the same for all settings of the training.
    """
    num_test, labels = len(tensors.test_labels), tensors.test_labels.cpu().numpy()
    loss = score = auc = float("nan")
    values: NDArray[np.float64] = np.zeros(0)
    if num_test:
        outputs = outputs_of(model, tensors.test_features)
        loss = float(loss_per_record(task)(outputs, tensors.test_labels).double().mean())
        if task == "regression":
            values = outputs.squeeze(-1).double().cpu().numpy()
            score = r2(values, labels)
        else:
            values = outputs.softmax(dim=1).double().cpu().numpy()
            score = float((outputs.argmax(dim=1) == tensors.test_labels).double().mean())
            auc = macro_auc(values, labels)
            values = values[:, 1].copy() if values.shape[1] == 2 else values
    evaluation = Evaluation(hospital_id=hospital_id, num_examples=num_test, loss=loss, score=score, auc=auc)
    kind = np.float64 if task == "regression" else np.int64
    return evaluation, Predictions(values=values, labels=labels.astype(kind))


def outputs_of(model: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Return the model's outputs (n, k) of records, which it sees in parts."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(features, _BATCH)])
