"""How a model does on one hospital's test records: loss, share right or r2, and AUC."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from wardround.clients.losses import loss_per_record
from wardround.clients.profiles import r2
from wardround.clients.tensors import HospitalTensors
from wardround.rounds import Evaluation

__all__ = ["evaluate", "macro_auc"]

_BATCH = 1024


def evaluate(model: Callable[[Tensor], Tensor], tensors: HospitalTensors, *, hospital_id: str, task: str) -> Evaluation:
    """Return the model's scores on the hospital's test records (nan where there are none).

    The loss has no weights of classes: it is the same for all settings of the training.
    """
    num_test = len(tensors.test_labels)
    if num_test == 0:
        nan = float("nan")
        return Evaluation(hospital_id=hospital_id, num_examples=0, loss=nan, score=nan, auc=nan)
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in torch.split(tensors.test_features, _BATCH)])
        losses = loss_per_record(task)(outputs, tensors.test_labels)
    labels = tensors.test_labels.cpu().numpy()
    if task == "regression":
        score, auc = r2(outputs.squeeze(-1).cpu().numpy(), labels), float("nan")
    else:
        score = float((outputs.argmax(dim=1) == tensors.test_labels).double().mean())
        auc = macro_auc(outputs.softmax(dim=1).double().cpu().numpy(), labels)
    return Evaluation(
        hospital_id=hospital_id, num_examples=num_test, loss=float(losses.double().mean()), score=score, auc=auc
    )


def macro_auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the one-vs-rest area under the ROC curve, averaged over the classes that have both kinds of record.

    Args:
        scores: (n, num_classes), larger for more likely.
        labels: (n,) class indices.

    Returns:
        A number in [0, 1]; nan where no class has both kinds or a score is not finite. With two classes, both give
        the same area.

    Source: Hanley and McNeil 1982, the area as the Mann-Whitney statistic.
    """
    if not np.isfinite(scores).all():
        return float("nan")
    areas = []
    for index in range(scores.shape[1]):
        positive = labels == index
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        if num_positive and num_negative:
            rank_sum = float(rankdata(scores[:, index])[positive].sum())
            areas.append((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
    return float(np.mean(areas)) if areas else float("nan")
