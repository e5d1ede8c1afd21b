"""Membership inference by shadow models: was this patient used for that model, by how sure the model is of it?

Every model was trained by the same settings on patients of whom each was used or not by the toss of a coin. Some are
shadows, of which everything is known; the others are attacked, and what is made of them is a function of shadows and
of what came out alone. Left out on purpose: how models are trained (see `shadows`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["log_likelihoods", "lira", "rmia", "sureness"]

_FloatArray = NDArray[np.float64]
_BoolArray = NDArray[np.bool_]
_LEAST, _LEAST_VARIANCE = 1e-12, 1e-12


@dataclass(frozen=True, slots=True)
class _Means:
    """Means of what shadows have of every patient, of those with it and of those without; whether there are both."""

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


def log_likelihoods(sure: _FloatArray, shadows: _FloatArray, *, has_classes: bool) -> _FloatArray:
    """Return the logarithms of right answers' probabilities, or densities up to a constant, of any shape.

    A regression's numbers are taken to be Gaussian about what a model predicts, with the variance that shadows leave.

    Args:
        sure: as `sureness` has it.
        shadows: the same of shadows, of any shape.
        has_classes: whether labels are classes.
    """
    if has_classes:
        return np.asarray(special.log_expit(sure))
    return sure / (2 * max(float(-shadows.mean()), _LEAST_VARIANCE))


def lira(sure: _FloatArray, shadows: _FloatArray, used: _BoolArray) -> _FloatArray:
    """Return log-likelihood ratios that a patient was used for a model, (models, patients); 0 where shadows can't say.

    What models with a patient are sure of it has a Gaussian, and what models without it another one; means are of each
    patient, and both variances are of all patients together, as there are few models.

    Args:
        sure: (models, patients), of those that are attacked.
        shadows: (shadows, patients), of the others.
        used: (shadows, patients), whether the patient was.

    Source: Carlini et al. 2022 (arXiv 2112.03570), algorithm 1 with the variances of section VI-C.
    """
    means = _means(shadows, used)
    spread_used = _variance(shadows - means.used, used)
    spread_unused = _variance(shadows - means.unused, ~used)
    ratio = (sure - means.unused) ** 2 / spread_unused - (sure - means.used) ** 2 / spread_used
    return np.where(means.knows, (ratio + np.log(spread_unused / spread_used)) / 2, 0.0)


def rmia(likelihoods: _FloatArray, shadows: _FloatArray, used: _BoolArray) -> _FloatArray:
    """Return in which share of the other patients a patient stands out less, less a half, (models, patients).

    A patient's likelihood by a model is divided by its mean over shadows, half of those with it and half of those
    without; the share is of patients with a smaller ratio. 0 where shadows can't say.

    Args:
        likelihoods: (models, patients), of those that are attacked, as `log_likelihoods` has them.
        shadows: (shadows, patients), of the others.
        used: (shadows, patients), whether the patient was.

    Source: Zarifzadeh, Liu, Shokri 2024 (arXiv 2312.03262), equations 2 and 3 with gamma 1.
    """
    # Relative to the largest, so that an outlier's likelihood is not lost.
    most = shadows.max(axis=0)
    means = _means(np.exp(shadows - most), used)
    ratio = likelihoods - most - np.log(np.maximum((means.used + means.unused) / 2, _LEAST))
    ranks = ratio.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.where(means.knows, ranks / max(1, likelihoods.shape[1] - 1) - 0.5, 0.0)


def _means(values: _FloatArray, used: _BoolArray) -> _Means:
    """Return means over shadows; 0 where one kind has no model."""

    def mean(chosen: _BoolArray) -> tuple[_FloatArray, NDArray[np.int64]]:
        number, total = chosen.sum(axis=0), (values * chosen).sum(axis=0)
        return np.divide(total, number, out=np.zeros_like(total), where=number > 0), number

    (of_used, with_it), (of_unused, without) = mean(used), mean(~used)
    return _Means(of_used, of_unused, (with_it > 0) & (without > 0))


def _variance(apart: _FloatArray, chosen: _BoolArray) -> float:
    """Return the variance of what chosen models are apart from each patient's mean, over all patients."""
    left = max(1, int((chosen.sum(axis=0) - 1).clip(min=0).sum()))
    return max(float(((apart * chosen) ** 2).sum()) / left, _LEAST_VARIANCE)
