"""What a server receives of batches of one record: a round of a run, by the same code, and a strategy that watches.

In each view every hospital holds one record, which it uses in one step: unprotected, with the noise of its own that
unit and placement "local" add, or summed up securely with those of the others, in which hospitals share the noise. What
is left out on purpose: what an attacker makes of it (see `inversion`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.audits.watched_runs import Watching, made_up, watched_run
from wardround.config import Config
from wardround.datasets.records import CLASSIFICATION
from wardround.exact_sums import Arrays

__all__ = ["LOCAL", "SUMMED", "UNPROTECTED", "View", "receive"]

UNPROTECTED = "unprotected"
"""The view of an update without clip and noise."""
LOCAL = "locally noisy"
"""The view of an update with the hospital's own noise."""
SUMMED = "securely summed"
"""The view of the noisy sum over all hospitals."""
_PLACEMENTS = {UNPROTECTED: "none", LOCAL: "local", SUMMED: "distributed"}
_DELTA = 1e-5
"""Of a round whose bill nobody is shown: noise is given, and not sized for it. Below one in as many stand-ins as there
are, each of which is a hospital."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What a server received in a round, as descents of the loss.

    Attributes:
        before: parameters by name, which it had sent.
        received: by name (replies, ...): where each reply's gradient points, of one record or a sum; float64.
    """

    before: Mapping[str, NDArray[Any]]
    received: Mapping[str, NDArray[np.float64]]


def receive(
    config: Config,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    protection: str,
    num_classes: int,
    noise_multiplier: float,
    seed: int,
) -> View:
    """Return what the server receives of hospitals with one record each; nothing is left on the disk.

    Args:
        config: of the run whose model, unit, clip and source of noise they have.
        features: (hospitals, ...), a record of each.
        labels: (hospitals,) class indices.
        protection: UNPROTECTED, LOCAL or SUMMED, which takes two hospitals or more.
        num_classes: of the model (>= 2).
        noise_multiplier: of a step (>= 0); without meaning where unprotected.
        seed: of model and noise, in 0..2**63 - 1.

    Raises:
        ConfigError: there is no such round.
    """
    one_each = [(features[place : place + 1].copy(), labels[place : place + 1].copy()) for place in range(len(labels))]
    class_names = [f"class {number}" for number in range(num_classes)]
    data = made_up("stand-ins", one_each, task=CLASSIFICATION, class_names=class_names)
    seen: list[tuple[Arrays, Sequence[Arrays]]] = []
    watching = Watching(lambda before, replies: seen.append((before, replies)), needs_only_sum=protection == SUMMED)
    watched_run(_settings(config, protection, noise_multiplier, seed, len(labels)), data, strategy=watching)
    ((before, replies),) = seen
    # The mean of hospitals' gradients is what comes out of a sum, at a learning rate of 1.
    scale = float(len(labels)) if protection == SUMMED else 1.0
    received = {
        name: -scale * np.array([reply[name].astype(np.float64) - own for reply in replies])
        for name, own in before.items()
    }
    return View(before=before, received=received)


def _settings(config: Config, protection: str, noise_multiplier: float, seed: int, num_hospitals: int) -> Config:
    kept: dict[str, Any] = {"unit": config.privacy.unit, "placement": _PLACEMENTS[protection]}
    if protection != UNPROTECTED:
        kept |= {
            "noise_multiplier": noise_multiplier,
            "max_grad_norm": config.privacy.max_grad_norm,
            "target_delta": _DELTA,
        }
        if config.privacy.clipping is not None:
            kept["clipping"] = config.privacy.clipping
    model = config.model
    return Config.of(
        {
            "federation": {"seed": seed},
            "model": {"name": model.name, "hidden_sizes": model.hidden_sizes, "channels": model.channels},
            "training": {"num_rounds": 1, "local_steps": 1, "sample_rate": 1.0, "learning_rate": 1.0},
            "privacy": kept,
            "aggregation": {"protocol": "secure-sum", "min_survivors": num_hospitals} if protection == SUMMED else {},
            "simulation": {"engine": "stacked", "noise": config.simulation.noise},
        }
    )
