"""Runs that leave nothing on the disk, of made-up hospitals or others, and an honest server that shows what it sees.

They go through the same door and the same code as any run. What is left out on purpose: what an attacker makes of what
was seen.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from wardround.config import Config
from wardround.datasets import FederatedData
from wardround.datasets.records import HospitalData
from wardround.exact_sums import Arrays
from wardround.server.record.summaries import Summary
from wardround.server.round.evaluating import Metric
from wardround.simulations import runs
from wardround.wire import arrays_in
from wardround.wire_arrays import arrays_of

__all__ = ["Watching", "made_up", "watched_run"]


class Watching(FedAvg):
    """An honest server that averages, and shows every round's replies to a function.

    Attributes:
        needs_only_sum: whether the sum of all replies is all that reaches a strategy.
    """

    def __init__(self, look: Callable[[Arrays, Sequence[Arrays]], None], *, needs_only_sum: bool) -> None:
        """Show the parameters that were sent, and those of each reply, in the order of hospitals."""
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        self.needs_only_sum = needs_only_sum
        self._look = look
        self._before: Arrays = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask as averaging does."""
        self._before = {name: array.copy() for name, array in arrays_of(arrays).items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Show the replies, and average them."""
        replies = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
        self._look(self._before, [arrays_in(reply) for reply in replies])
        return super().aggregate_train(server_round, replies)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Return nothing: what hospitals score is of no use here."""


def made_up(
    name: str,
    records: Iterable[tuple[NDArray[np.float32], NDArray[Any]]],
    *,
    task: str,
    class_names: Sequence[str] = (),
) -> FederatedData:
    """Return a federation of hospitals without test records.

    Args:
        name: of the data; hospitals are numbered after it.
        records: of each hospital, at least one: features (n, ...), of one shape in all, and labels (n,).
        task: classification or regression.
        class_names: in class order.
    """
    found = list(records)
    width = len(str(len(found)))
    hospitals = tuple(
        HospitalData(
            hospital_id=f"{name}-{number:0{width}d}",
            train_features=features,
            train_labels=labels,
            test_features=features[:0].copy(),
            test_labels=labels[:0].copy(),
            fingerprint=f"{number:064x}",
        )
        for number, (features, labels) in enumerate(found, start=1)
    )
    return FederatedData(
        dataset_name=name,
        task=task,
        class_names=tuple(class_names),
        feature_names=(),
        input_shape=found[0][0].shape[1:],
        hospitals=hospitals,
        excluded=(),
        notes=(),
        partition="natural",
    )


def watched_run(
    config: Config,
    federation: FederatedData,
    *,
    strategy: FedAvg | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Summary:
    """Run a federation in a folder of its own, which is gone afterwards, and return what it came to.

    Args:
        config: of the run; where its data are is not read.
        federation: its hospitals.
        strategy: in the place of the one that the settings name; None is that one.
        metrics: by name, as `simulations.runs.run` takes them.

    Raises:
        WardroundError: see `simulations.runs.run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = runs.run(
            config,
            out=Path(folder) / "run",
            load=lambda *_: federation,
            strategy=strategy,
            metrics=metrics,
            is_synced=False,
        )
    return done.outcome
