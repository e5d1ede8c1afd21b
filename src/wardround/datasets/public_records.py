"""Public records, on which a run's models may be tried: nothing in them is any patient's of a hospital.

They are what the model takes: features as they are once data are prepared, labels as class indices or numbers. What is
left out on purpose: whether they are public, which only whoever hands them over can know.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config, check_criterion
from wardround.digests import array_digest
from wardround.errors import ConfigError
from wardround.objects import from_name
from wardround.survival import SURVIVAL

__all__ = ["PublicRecords", "load_public", "public_of", "public_records"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublicRecords:
    """Public records, read-only.

    Attributes:
        features: (n, ...) float32.
        labels: (n,) int64 class indices, or float32 numbers for regression.
        digest: sha256 hex of both.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]
    digest: str


def load_public(name: str) -> tuple[Any, Any]:
    """Return what "package.module:loader" returns, called without arguments: (features, labels).

    Raises:
        ConfigError: it can't be called, or returns something else.
    """
    try:
        loaded = from_name(name, None)()
    except Exception as error:
        raise ConfigError(
            f'public = "{name}" could not be loaded: {type(error).__name__}: {error}. It must be a function without '
            "arguments, importable from here ([evaluation] public)"
        ) from error
    if not isinstance(loaded, tuple | list) or len(loaded) != 2:
        raise ConfigError(
            f'public = "{name}" returned {type(loaded).__name__}, and must return (features, labels) ([evaluation] '
            "public)"
        )
    return loaded[0], loaded[1]


def public_records(
    given: tuple[Any, Any], *, input_shape: tuple[int, ...], num_outputs: int, task: str
) -> PublicRecords:
    """Return public records that fit a model.

    Args:
        given: (features, labels), whatever NumPy makes arrays of.
        input_shape: of one record's features.
        num_outputs: classes, or 1 for regression.
        task: "classification" or "regression"; no survival has public records.

    Raises:
        ConfigError: they don't fit, or are not numbers.
    """
    if task == SURVIVAL:
        raise ConfigError(
            "public records are of classes or numbers, and times are predicted here ([evaluation] public): remove it, "
            'and keep = "best" or patience, which choose by it'
        )
    try:
        features, labels = (np.asarray(part) for part in given)
        features, labels = features.astype(np.float32), labels if labels.dtype.kind in "biuf" else labels.astype(float)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"public must be (features, labels) of numbers ([evaluation] public): {error}") from error
    if features.shape[1:] != input_shape or labels.shape != features.shape[:1] or not len(labels):
        raise ConfigError(
            f"public has features {features.shape} and labels {labels.shape}, and must have (n, "
            f"{', '.join(map(str, input_shape))}) and (n,) with n >= 1 ([evaluation] public): give records as the "
            "model takes them"
        )
    if not (np.isfinite(features).all() and np.isfinite(labels).all()):
        raise ConfigError("public has a number that is not finite ([evaluation] public): leave that record out")
    if task == "classification":
        if not (np.isin(labels, np.arange(num_outputs))).all():
            raise ConfigError(
                f"public has labels {np.unique(labels)[:5].tolist()}, and must have class indices 0 to "
                f"{num_outputs - 1} ([evaluation] public)"
            )
        labels = labels.astype(np.int64)
    else:
        labels = labels.astype(np.float32)
    for array in (features, labels):
        array.flags.writeable = False
    digest = array_digest({"features": features, "labels": labels}).hex()
    return PublicRecords(features=features, labels=labels, digest=digest)


def public_of(config: Config, given: tuple[Any, Any] | None, *, is_measured: bool = True) -> tuple[Any, Any] | None:
    """Return the public records that a run's models are tried on: those from Python, or those that settings name.

    Raises:
        ConfigError: both are given, the loader fails, or a model is to be chosen and there are none to choose it by.
    """
    name = config.evaluation.public
    if name is not None and given is not None:
        raise ConfigError(f'public = "{name}" and public records from Python exclude each other: give one of them')
    check_criterion(config, has_public=name is not None or given is not None, is_measured=is_measured)
    return given if name is None else load_public(name)
