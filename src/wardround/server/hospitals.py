"""Talking to hospitals by name over a Flower grid: who is there, train these, evaluate all.

Flower knows nodes by numbers that change from run to run; from here on everything has a hospital's name. What is
left out on purpose: planning and accounting (see `planning`, `loop`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import exact_sums, wire
from wardround.config import Config
from wardround.errors import CohortError, ProtocolError, UpdateError, WardroundError
from wardround.identity import agreed_digest, agreed_text
from wardround.rounds import (
    Assignment,
    Evaluation,
    Execution,
    HospitalProfile,
    ProfileMeasures,
    TrainingMeasures,
    check_execution,
)
from wardround.server.cohort_grid import CohortGrid
from wardround.server.release import Released
from wardround.server.site_profiles import check_site_profile
from wardround.server.sums import SecureSum, add_up
from wardround.strategies import needs_only_sum

__all__ = ["HospitalLink", "TrainedRound", "connect"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedRound:
    """What came back from a round's training.

    Attributes:
        arrays: the next model, by the strategy; None where fewer than min-survivors hospitals completed.
        executions: by hospital, of those who completed.
        measures: by hospital, of those who measured anything: simulated ones.
        quantile: see `release.Released`.
        abandoned: why the model stays as it is; "" where it doesn't.
    """

    arrays: Arrays | None
    executions: Mapping[str, Execution]
    measures: Mapping[str, TrainingMeasures] = field(default_factory=dict)
    quantile: float | None = None
    abandoned: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalLink:
    """A grid with the hospitals' names; made by `connect`.

    Attributes:
        grid: where they are.
        node_of: node ids by hospital.
        name_of: hospitals by node id.
        profiles: what each says of itself, in name order.
        measures: what was measured of simulated hospitals, by name.
        are_sites: whether they are sites of their own, which measure nothing for others.
    """

    grid: Grid
    node_of: Mapping[str, int]
    name_of: Mapping[int, str]
    profiles: tuple[HospitalProfile, ...]
    measures: Mapping[str, ProfileMeasures] = field(default_factory=dict)
    are_sites: bool = False

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
            WardroundError: a hospital's app failed; the message names it and gives its reason.
            ProtocolError: a hospital executed something else than it was assigned, or the strategy asked a hospital
                twice, or one that was not charged.
            UpdateError: an update is not finite or does not fit.
        """
        by_node = {self.node_of[a.hospital_id]: a for a in assignments if a.hospital_id not in silent}
        if len(by_node) < min_survivors:
            return _abandoned(len(by_node), assignments, min_survivors)
        round_number = assignments[0].round_number
        grid = CohortGrid(self.grid, sorted(by_node))
        with _blaming(strategy):
            asked = list(strategy.configure_train(round_number, wire.array_record(arrays), ConfigRecord(), grid))
        messages = _once_each(asked, by_node)
        quantile = None
        if needs_only_sum(strategy):
            try:
                replies, released = self._train_for_sum(messages, by_node, min_survivors, release, secure)
            except CohortError as error:
                return TrainedRound(arrays=None, executions={}, abandoned=str(error))
            next_arrays = None
            if released is not None:
                one = _one_reply(released, len(replies), messages[0])
                next_arrays, quantile = self._aggregated(strategy, arrays, round_number, [one], 1), released.quantile
        else:
            replies = self._answered(self.grid.send_and_receive(messages))
            next_arrays = self._aggregated(strategy, arrays, round_number, replies, min_survivors)
        executions, measures = self._executions(replies, by_node), self._measures(replies)
        if len(executions) < min_survivors:
            return replace(
                _abandoned(len(executions), assignments, min_survivors), executions=executions, measures=measures
            )
        return TrainedRound(arrays=next_arrays, executions=executions, measures=measures, quantile=quantile)

    def evaluate(self, strategy: Strategy, arrays: Arrays, round_number: int) -> dict[str, Evaluation]:
        """Return every simulated hospital's evaluation of the model; real sites are not asked, and send none."""
        if self.are_sites:
            return {}
        grid = CohortGrid(self.grid, sorted(self.node_of.values()))
        with _blaming(strategy):
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
    ) -> tuple[list[Message], Released | None]:
        """Return the replies without arrays, and what was released of their exact sum."""
        replies, total = add_up(self.grid, messages, by_node, secure) if messages else ([], {})
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
        with _blaming(strategy):
            aggregated, _ = strategy.aggregate_train(round_number, replies)
        return None if aggregated is None else _in_dtype_of(arrays, wire.arrays_of(aggregated))

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

    def _name_of(self, reply: Message) -> str:
        return self.name_of[reply.metadata.src_node_id]


def _one_reply(released: Released, num_replies: int, message: Message) -> Message:
    """Return the mean as the one reply that a strategy which needs only the sum is given."""
    metrics = MetricRecord({wire.NUM_EXAMPLES: float(num_replies)})
    content = RecordDict({wire.ARRAYS: wire.array_record(released.arrays), wire.METRICS: metrics})
    return Message(content, reply_to=message)


def _abandoned(num_answered: int, assignments: Sequence[Assignment], min_survivors: int) -> TrainedRound:
    reason = f"{num_answered} of {len(assignments)} hospitals answered, and min-survivors = {min_survivors} are needed"
    return TrainedRound(arrays=None, executions={}, abandoned=reason)


def connect(grid: Grid, *, are_sites: bool = False, settings: Config | None = None) -> HospitalLink:
    """Ask every node of the grid who it is.

    Args:
        grid: any Flower grid.
        are_sites: whether the nodes are sites of their own, with keys in a roster; else they simulate hospitals.
        settings: the server's, which real sites hold their own to, and whose schema their profiles are held to.

    Raises:
        CohortError: no node is there, or two are the same hospital.
        ProtocolError: a reply is none, or a simulated hospital measured nothing.
        WardroundError: a node could not answer.
    """
    node_ids = sorted(grid.get_node_ids())
    if not node_ids:
        raise CohortError("no hospital is connected: start the nodes first")
    told = (agreed_text(settings), agreed_digest(settings)) if are_sites and settings is not None else ()
    messages = [wire.profile_query(node_id, *told) for node_id in node_ids]
    node_of: dict[str, int] = {}
    profiles = []
    measures = {}
    for reply in grid.send_and_receive(messages):
        if reply.has_error():
            raise WardroundError(f"node {reply.metadata.src_node_id} can't say who it is: {reply.error.reason}")
        profile = wire.read_profile(reply)
        if are_sites and settings is not None and settings.federation.schema is not None:
            check_site_profile(settings, profile)
        if profile.hospital_id in node_of:
            raise CohortError(f"two nodes are hospital {profile.hospital_id}: give each its own partition-id")
        node_of[profile.hospital_id] = reply.metadata.src_node_id
        profiles.append(profile)
        if not are_sites:
            measures[profile.hospital_id] = _measured(profile, reply)
    return HospitalLink(
        grid=grid,
        node_of=node_of,
        name_of={node_id: name for name, node_id in node_of.items()},
        profiles=tuple(sorted(profiles, key=lambda profile: profile.hospital_id)),
        measures=measures,
        are_sites=are_sites,
    )


def _measured(profile: HospitalProfile, reply: Message) -> ProfileMeasures:
    measures = wire.read_profile_measures(reply)
    if measures is None:
        raise ProtocolError(
            f"hospital {profile.hospital_id} sends what a real site sends, and the server has no roster of sites: give "
            "it theirs (roster, in the run config), or start the node without anything of a site to simulate it"
        )
    return measures


@contextmanager
def _blaming(strategy: Strategy) -> Iterator[None]:
    """Name the strategy where its own code fails."""
    try:
        yield
    except WardroundError:
        raise
    except Exception as error:
        raise WardroundError(
            f"strategy {type(strategy).__name__} failed: {type(error).__name__}: {error}: correct it, and begin a new "
            "run; what is committed of this one is kept"
        ) from error


def _once_each(messages: Iterable[Message], by_node: Mapping[int, Assignment]) -> list[Message]:
    """Return the strategy's messages with their assignments.

    A hospital that trained on two models with one round's noise would release their difference without any.
    """
    asked: dict[int, Message] = {}
    for message in messages:
        node_id, message_type = message.metadata.dst_node_id, message.metadata.message_type
        if node_id not in by_node or node_id in asked or message_type != "train":
            raise ProtocolError(
                f'the strategy sent node {node_id} a "{message_type}" message: configure_train must return at most '
                f'one "train" message for each of the nodes that its grid shows ({", ".join(map(str, by_node))})'
            )
        asked[node_id] = wire.with_assignment(message, by_node[node_id])
    return list(asked.values())


def _in_dtype_of(like: Arrays, arrays: Arrays) -> Arrays:
    """Server optimizers compute in float64; the model keeps its own dtypes."""
    exact_sums.check_alike(arrays, like)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UpdateError(
                f"parameter {name} is not finite after the strategy's step: lower the learning rates, or look at the "
                "strategy"
            )
    return {name: arrays[name].astype(array.dtype, copy=False) for name, array in like.items()}
