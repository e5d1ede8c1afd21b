"""Membership inference by shadow models: was this record used for that model, by how sure the model is of it?

Every model was trained by the same settings on records of which each was used or not by the toss of a coin, and is
attacked with all the others as shadows. Left out on purpose: how models are trained (see `shadows`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["lira", "rmia", "sureness"]

_FloatArray = NDArray[np.float64]
_BoolArray = NDArray[np.bool_]
_LEAST, _LEAST_VARIANCE = 1e-12, 1e-12


@dataclass(frozen=True, slots=True)
class _Others:
    """Means of what the other models have of every record, for each model: of those with it, and of those without."""

    used: _FloatArray
    unused: _FloatArray
    knows: _BoolArray


def sureness(values: _FloatArray, labels: NDArray[np.int64] | _FloatArray) -> _FloatArray:
    """Return how sure a model is of each record's right answer, (records,): the logit of its probability.

    Of a regression it is the negative squared error.

    Args:
        values: probabilities of the second of two classes (n,), of more classes (n, k), or predicted numbers (n,).
        labels: class indices, or numbers.
    """
    if labels.dtype.kind == "f":
        return -((values - labels) ** 2)
    classes = labels.astype(np.int64)
    of_right = (
        np.where(classes == 1, values, 1 - values) if values.ndim == 1 else values[np.arange(len(values)), classes]
    )
    return np.asarray(special.logit(np.clip(of_right, _LEAST, 1 - _LEAST)))


def lira(sure: _FloatArray, used: _BoolArray) -> _FloatArray:
    """Return log-likelihood ratios that a record was used for a model, (models, records); 0 where shadows can't say.

    What models with a record are sure of it has a Gaussian, and what models without it another one; means are of each
    record, and both variances are of all records together, as there are few models.

    Args:
        sure: (models, records), as `sureness` has it.
        used: (models, records), whether the record was.

    Source: Carlini et al. 2022 (arXiv 2112.03570), algorithm 1 with the variances of section VI-C.
    """
    others = _others(sure, used)
    spread_used, spread_unused = _variance(sure, used), _variance(sure, ~used)
    ratio = (sure - others.unused) ** 2 / spread_unused - (sure - others.used) ** 2 / spread_used
    return np.where(others.knows, (ratio + np.log(spread_unused / spread_used)) / 2, 0.0)


def rmia(sure: _FloatArray, used: _BoolArray) -> _FloatArray:
    """Return in which share of the other records a record's probability stands out less, (models, records).

    A record's probability by a model is divided by its mean over the others, half of those with it and half of those
    without; the score is the share of records with a smaller ratio.

    Args:
        sure: (models, records) logits of the right answers' probabilities.
        used: (models, records), whether the record was.

    Source: Zarifzadeh, Liu, Shokri 2024 (arXiv 2312.03262), equations 2 and 3 with gamma 1.
    """
    probability = special.expit(sure)
    others = _others(probability, used)
    ratio = probability / np.maximum((others.used + others.unused) / 2, _LEAST)
    ranks = ratio.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.where(others.knows, ranks / max(1, sure.shape[1] - 1), 0.5)


def _others(values: _FloatArray, used: _BoolArray) -> _Others:
    """Return means over the other models; 0 where one kind has no model."""

    def mean(chosen: _BoolArray) -> tuple[_FloatArray, NDArray[np.int64]]:
        number = chosen.sum(axis=0) - chosen
        total = (values * chosen).sum(axis=0) - values * chosen
        return np.divide(total, number, out=np.zeros_like(values), where=number > 0), number

    (of_used, with_it), (of_unused, without) = mean(used), mean(~used)
    return _Others(of_used, of_unused, (with_it > 0) & (without > 0))


def _variance(values: _FloatArray, chosen: _BoolArray) -> float:
    """Return the variance about each record's mean among the chosen models, over all records."""
    number = chosen.sum(axis=0)
    mean = np.divide((values * chosen).sum(axis=0), number, out=np.zeros(values.shape[1]), where=number > 0)
    left = max(1, int((number - 1).clip(min=0).sum()))
    return max(float((((values - mean) * chosen) ** 2).sum()) / left, _LEAST_VARIANCE)
