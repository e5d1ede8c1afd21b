"""What a server receives of batches of one record: a round of a run, by the same code, and a strategy that watches.

In each view every hospital holds one record, which it uses in one step: unprotected, with the noise of its own that
unit and placement "local" add, or summed up securely with those of the others, in which hospitals share the noise. What
is left out on purpose: what an attacker makes of it (see `inversion`).
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from wardround.config import Config
from wardround.datasets import FederatedData
from wardround.datasets.records import CLASSIFICATION, HospitalData
from wardround.simulations import runs
from wardround.wire import arrays_in
from wardround.wire_arrays import arrays_of

__all__ = ["LOCAL", "SUMMED", "UNPROTECTED", "View", "receive"]

UNPROTECTED = "unprotected"
"""The view of an update without clip and noise."""
LOCAL = "locally noisy"
"""The view of an update with the hospital's own noise."""
SUMMED = "securely summed"
"""The view of the noisy sum over all hospitals."""
_PLACEMENTS = {UNPROTECTED: "none", LOCAL: "local", SUMMED: "distributed"}
_DELTA = 0.01
"""Of a round whose bill nobody is shown: noise is given, and not sized for it."""


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
    data = _hospitals(features, labels, num_classes)
    settings = _settings(config, protection, noise_multiplier, seed, len(labels))
    watching = _Watching(needs_only_sum=protection == SUMMED)
    with tempfile.TemporaryDirectory() as folder:
        runs.run(settings, out=Path(folder) / "view", load=lambda *_: data, strategy=watching, is_synced=False)
    # The mean of hospitals' gradients is what comes out of a sum, at a learning rate of 1.
    scale = float(len(labels)) if protection == SUMMED else 1.0
    received = {name: -scale * moved for name, moved in watching.moved.items()}
    return View(before=watching.before, received=received)


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


def _hospitals(features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> FederatedData:
    width = len(str(len(labels)))
    hospitals = [
        HospitalData(
            hospital_id=f"stand-in-{place + 1:0{width}d}",
            train_features=features[place : place + 1].copy(),
            train_labels=labels[place : place + 1].copy(),
            test_features=features[:0].copy(),
            test_labels=labels[:0].copy(),
            fingerprint=f"{place:064x}",
        )
        for place in range(len(labels))
    ]
    return FederatedData(
        dataset_name="stand-ins",
        task=CLASSIFICATION,
        class_names=tuple(f"class {number}" for number in range(num_classes)),
        feature_names=(),
        input_shape=features.shape[1:],
        hospitals=hospitals,
        excluded=(),
        notes=(),
        partition="natural",
    )


@dataclass(eq=False)
class _Watching(FedAvg):
    """An honest server that averages, and keeps what it saw of the one round.

    Attributes:
        needs_only_sum: whether the sum of all replies is all that reaches a strategy.
        before: parameters that it sent.
        moved: by name (replies, ...), by how much each reply moved them.
    """

    needs_only_sum: bool
    before: dict[str, NDArray[Any]] = field(default_factory=dict)
    moved: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.before = {name: array.copy() for name, array in arrays_of(arrays).items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
        after = [arrays_in(reply) for reply in replies]
        self.moved = {
            name: np.array([each[name].astype(np.float64) - own for each in after]) for name, own in self.before.items()
        }
        return super().aggregate_train(server_round, replies)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Return nothing: there are no test records."""
