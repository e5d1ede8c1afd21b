"""Talking to hospitals by name over a Flower grid: train these, evaluate all.

Flower knows nodes by numbers that change from run to run; here everything has a hospital's name. What is left out on
purpose: who is there (see `introductions`), planning and accounting (see `planning`, `loop`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import exact_sums, wire
from wardround.errors import CohortError, WardroundError
from wardround.privacy.executions import check_execution
from wardround.rounds import (
    Assignment,
    Evaluation,
    Execution,
    HospitalProfile,
    ProfileMeasures,
    TrainingMeasures,
)
from wardround.server.record.outcomes import TrainedRound
from wardround.server.round.cohort_grid import CohortGrid
from wardround.server.round.release import Released
from wardround.server.round.strategy_steps import blaming, in_dtype_of, once_each, one_reply
from wardround.server.round.sums import SecureSum, add_up
from wardround.strategies import needs_only_sum

__all__ = ["HospitalLink"]

_log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalLink:
    """A grid with the hospitals' names; made by `introductions.connect`.

    Attributes:
        grid: where they are.
        node_of: node ids by hospital.
        name_of: hospitals by node id.
        profiles: what each says of itself, in name order.
        measures: what was measured of simulated hospitals, by name.
        are_sites: whether they are sites of their own, which measure nothing for others, and of which one that fails is
            left out.
        left_out: by site or node, why it is not in the run.
        timeout_seconds: that a site's reply is waited for; None waits for ever, as for simulated hospitals.
    """

    grid: Grid
    node_of: Mapping[str, int]
    name_of: Mapping[int, str]
    profiles: tuple[HospitalProfile, ...]
    measures: Mapping[str, ProfileMeasures] = field(default_factory=dict)
    are_sites: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None

    def train(
        self,
        strategy: Strategy,
        arrays: Arrays,
        assignments: Sequence[Assignment],
        *,
        silent: frozenset[str],
        min_survivors: int,
        release: Callable[[exact_sums.FixedSum, Sequence[Assignment]], Released],
        secure: SecureSum | None = None,
    ) -> TrainedRound:
        """Send the assignments, check what was executed, and let the strategy make the next model.

        Args:
            strategy: any Flower strategy.
            arrays: the current model.
            assignments: of the whole cohort, already charged.
            silent: members of the cohort that will not answer.
            min_survivors: fewer completions than this leave the model as it is.
            release: makes the strategy's one reply of the exact sum and the assignments in it, where the strategy
                needs only the sum.
            secure: how the sum is hidden from the server; a round that can't be summed leaves the model as it is.

        Raises:
            WardroundError: a simulated hospital's app failed; the message names it and gives its reason.
            ProtocolError: a simulated hospital executed something else than it was assigned, or the strategy asked a
                hospital twice, or one that was not charged.
            UpdateError: an update is not finite or does not fit.
        """
        by_node = {self.node_of[a.hospital_id]: a for a in assignments if a.hospital_id not in silent}
        if len(by_node) < min_survivors:
            return _abandoned(len(by_node), assignments, min_survivors)
        round_number = assignments[0].round_number
        grid = CohortGrid(self.grid, sorted(by_node))
        with blaming(strategy):
            asked = list(strategy.configure_train(round_number, wire.array_record(arrays), ConfigRecord(), grid))
        messages = once_each(asked, by_node)
        quantile = None
        drops: dict[int, str] = {}
        if needs_only_sum(strategy):
            try:
                replies, released = self._train_for_sum(messages, by_node, min_survivors, release, secure, drops)
            except CohortError as error:
                left_out = self._named(drops)
                return TrainedRound(arrays=None, executions={}, abandoned=str(error), left_out=left_out)
            next_arrays = None
            if released is not None:
                one = one_reply(released, len(replies), messages[0])
                next_arrays, quantile = self._aggregated(strategy, arrays, round_number, [one], 1), released.quantile
        else:
            replies = self._answered(self.grid.send_and_receive(messages))
            next_arrays = self._aggregated(strategy, arrays, round_number, replies, min_survivors)
        executions, measures = self._executions(replies, by_node), self._measures(replies)
        done = TrainedRound(
            arrays=next_arrays,
            executions=executions,
            measures=measures,
            quantile=quantile,
            left_out=self._named(drops),
        )
        if len(executions) < min_survivors:
            few = _abandoned(len(executions), assignments, min_survivors)
            return replace(done, arrays=None, quantile=None, abandoned=few.abandoned)
        return done

    def evaluate(self, strategy: Strategy, arrays: Arrays, round_number: int) -> dict[str, Evaluation]:
        """Return every simulated hospital's evaluation of the model; real sites are not asked, and send none."""
        if self.are_sites:
            return {}
        grid = CohortGrid(self.grid, sorted(self.node_of.values()))
        with blaming(strategy):
            messages = strategy.configure_evaluate(round_number, wire.array_record(arrays), ConfigRecord(), grid)
            replies = self._answered(grid.send_and_receive(messages))
            strategy.aggregate_evaluate(round_number, replies)
        evaluations = (wire.read_evaluation(reply, self._name_of(reply)) for reply in replies)
        return dict(sorted((evaluation.hospital_id, evaluation) for evaluation in evaluations))

    def _train_for_sum(
        self,
        messages: Sequence[Message],
        by_node: Mapping[int, Assignment],
        min_survivors: int,
        release: Callable[[exact_sums.FixedSum, Sequence[Assignment]], Released],
        secure: SecureSum | None,
        drops: dict[int, str],
    ) -> tuple[list[Message], Released | None]:
        """Return the replies without arrays, and what was released of their exact sum."""
        if not messages:
            return [], None
        replies, total = add_up(self.grid, messages, by_node, secure, drops, self.timeout_seconds)
        replies = self._answered(replies)
        if len(replies) < min_survivors:
            return replies, None
        # Added in name order, so that the order of replies can't change a bit.
        answered = sorted((by_node[reply.metadata.src_node_id] for reply in replies), key=lambda a: a.hospital_id)
        return replies, release(total, answered)

    def _aggregated(
        self, strategy: Strategy, arrays: Arrays, round_number: int, replies: list[Message], min_survivors: int
    ) -> Arrays | None:
        """Give the strategy every reply; with too few of them its memory is left as it was, too."""
        if len(replies) < min_survivors:
            return None
        with blaming(strategy):
            aggregated, _ = strategy.aggregate_train(round_number, replies)
        return None if aggregated is None else in_dtype_of(arrays, wire.arrays_of(aggregated))

    def _executions(self, replies: Iterable[Message], by_node: Mapping[int, Assignment]) -> dict[str, Execution]:
        executions = {}
        for reply in replies:
            assignment = by_node[reply.metadata.src_node_id]
            execution = wire.read_execution(reply, assignment.hospital_id)
            check_execution(assignment, execution)
            executions[assignment.hospital_id] = execution
        return dict(sorted(executions.items()))

    def _measures(self, replies: Iterable[Message]) -> dict[str, TrainingMeasures]:
        if self.are_sites:
            return {}
        measures = {self._name_of(reply): wire.read_training_measures(reply) for reply in replies}
        return {name: measured for name, measured in sorted(measures.items()) if measured is not None}

    def _answered(self, replies: Iterable[Message]) -> list[Message]:
        replies = sorted(replies, key=self._name_of)
        for reply in replies:
            if reply.has_error():
                raise WardroundError(
                    f"hospital {self._name_of(reply)} failed: {reply.error.reason} (committed rounds are kept: mend "
                    "it and resume, which charges this round again; other settings need a new run)"
                )
        return replies

    def _named(self, drops: Mapping[int, str]) -> dict[str, str]:
        """Return by name which real sites dropped out and why, and log it; simulated ones vanish as they were told."""
        named = {self.name_of[node_id]: reason for node_id, reason in sorted(drops.items())} if self.are_sites else {}
        for name, reason in named.items():
            _log.warning("site %s drops out at %s", name, reason)
        return named

    def _name_of(self, reply: Message) -> str:
        return self.name_of[reply.metadata.src_node_id]


def _abandoned(num_answered: int, assignments: Sequence[Assignment], min_survivors: int) -> TrainedRound:
    reason = f"{num_answered} of {len(assignments)} hospitals answered, and min-survivors = {min_survivors} are needed"
    return TrainedRound(arrays=None, executions={}, abandoned=reason)
