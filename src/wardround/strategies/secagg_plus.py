"""A Flower strategy that hides every hospital's update from the server, around any strategy that averages.

    strategy = SecAggPlus(FedAvg(), roster, max_update=8.0, max_weight=5_000)
    strategy.start(grid, initial_arrays, num_rounds=10)

Every hospital's ClientApp has `clients.secagg.SecAggMod`, which holds the server to bounds and settings that the app
states itself. The wrapped strategy sees one reply, the weighted mean. What is left out on purpose: noise; differential
privacy is what hospitals add before their vectors are masked. And evaluation, which passes through as it is.

Source: Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine learning"; Bell et al. 2020,
"Secure single-server aggregation with (poly)logarithmic overhead".
"""

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import CohortError, ConfigError, ProtocolError, UpdateError
from wardround.exact_sums import Arrays
from wardround.secagg import Roster, Terms, sent_digest, stated_digest
from wardround.secagg.terms import LARGEST, SMALLEST
from wardround.strategies.by_name import needs_only_sum
from wardround.strategies.secagg_exchange import Exchange, OpenRound, ask_masked, close_round, open_round
from wardround.strategies.secagg_sum import add_masked, weighed_mean

__all__ = ["SecAggPlus"]

_log = logging.getLogger(__name__)


class SecAggPlus(Strategy):
    """Averages by secure aggregation; a round with too few hospitals is abandoned, and the model stays as it is."""

    def __init__(
        self,
        strategy: Strategy,
        roster: Roster,
        *,
        max_update: float,
        max_weight: float,
        settings: bytes = b"",
        timeout_seconds: float | None = 3600.0,
    ) -> None:
        """Wrap a strategy.

        Args:
            strategy: one of Flower's averaging strategies, or one with a true attribute `needs_only_sum`.
            roster: of the federation, with min_survivors and max_colluding; every hospital has its own copy.
            max_update: largest change of a parameter in a round (1e-30 to 1e30); a hospital whose update exceeds it
                drops out. The mean is within num_hospitals * max_update / 2^31 of the exact one where every weight is
                max_weight (`secagg.quantisation` has the general bound).
            max_weight: largest number of examples of any hospital (1e-30 to 1e30); the closer to the truth, the
                finer the sum.
            settings: what else both sides must have alike, such as the version of the app; only its hash is sent.
            timeout_seconds: to wait for the replies to one stage; training has Flower's own. None waits for ever.

        Raises:
            ConfigError: the strategy wants single updates, or a number is out of range.
        """
        if not needs_only_sum(strategy):
            raise ConfigError(
                f"strategy {type(strategy).__name__} may want every hospital's update by itself, which secure "
                "aggregation never shows: wrap FedAvg, FedAvgM, FedAdam, FedYogi, FedAdagrad or FedProx, or set its "
                "attribute needs_only_sum = True"
            )
        for name, value in (("max_update", max_update), ("max_weight", max_weight)):
            if not SMALLEST <= value <= LARGEST:
                raise ConfigError(f"{name} = {value} must be >= 1e-30 and <= 1e30")
        self._strategy, self._roster, self._timeout_seconds = strategy, roster, timeout_seconds
        self._terms = partial(
            Terms,
            federation=roster.federation,
            run_id=uuid.uuid4().hex,
            min_survivors=roster.min_survivors,
            max_colluding=roster.max_colluding,
            payload="parameters",
            max_update=float(max_update),
            max_weight=float(max_weight),
            settings_digest=stated_digest(settings),
        )
        # Of a round whose hospitals are training: what was agreed on, asked, and what they were sent.
        self._training: tuple[OpenRound, list[Message], Arrays] | None = None

    def summary(self) -> None:
        """Log what the strategy is."""
        _log.info("SecAgg+ over %d sites, at least %d a sum", len(self._roster.verify_keys), self._roster.min_survivors)
        self._strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the wrapped strategy's messages to those hospitals that have exchanged keys and shares."""
        self._training = None
        messages = list(self._strategy.configure_train(server_round, arrays, config, grid))
        if not messages:
            return []
        # The digest of one message: a hospital that is sent something else refuses.
        terms = self._terms(round_number=server_round, model_digest=sent_digest(wire.told_to_all(messages[0])))
        before = wire.arrays_of(wire.one_array_record(messages[0].content)[1])
        exchange = Exchange(grid=grid, timeout_seconds=self._timeout_seconds)
        with _outcome(server_round, exchange.drops):
            opened = open_round(exchange, [message.metadata.dst_node_id for message in messages], terms, self._roster)
            asked = ask_masked(opened, messages)
            self._training = opened, asked, before
            return asked
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the masks off the sum, and hand the mean to the wrapped strategy; (None, None) if that is impossible."""
        now, self._training = self._training, None
        if now is None:
            return None, None
        mean_reply: list[Message] = []
        opened, asked, before = now
        with _outcome(server_round, opened.exchange.drops):
            like = before | {wire.SUM_OF_WEIGHTS: np.zeros(())}
            summed = add_masked(opened, asked, list(replies), like)
            close_round(opened, summed.replies, summed.vector)
            moved, weight = weighed_mean(opened, summed)
            key = getattr(self._strategy, "weighted_by_key", wire.NUM_EXAMPLES)
            mean = wire.array_record(_moved(before, moved))
            # One reply stands for all of them, and nothing that a hospital wrote is left in it.
            one = summed.replies[min(summed.replies)]
            one.content = RecordDict({wire.ARRAYS: mean, wire.METRICS: MetricRecord({key: weight})})
            mean_reply = [one]
        return self._strategy.aggregate_train(server_round, mean_reply) if mean_reply else (None, None)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return what the wrapped strategy does."""
        return self._strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return what the wrapped strategy does."""
        return self._strategy.aggregate_evaluate(server_round, replies)


def _moved(before: Arrays, by: Mapping[str, NDArray[np.float64]]) -> Arrays:
    """Return the parameters after the mean of their changes, each in its own dtype."""
    after = {}
    for name, array in before.items():
        values = by[name]
        values += array
        if not np.issubdtype(array.dtype, np.floating):
            np.rint(values, out=values)
        after[name] = values.astype(array.dtype)
    return after


@contextmanager
def _outcome(server_round: int, drops: dict[int, str]) -> Iterator[None]:
    """Say why a round is abandoned, where it is, and then who dropped out, each once."""
    try:
        yield
    except (CohortError, ProtocolError, UpdateError) as error:
        _log.warning("round %d is abandoned: %s", server_round, error)
    finally:
        for node_id, reason in sorted(drops.items()):
            _log.warning("node %d drops out at %s", node_id, reason)
        drops.clear()
