"""What simulated hospitals answer in one program: those that are sent the same model, together.

What is wrong with one hospital's message is that hospital's alone: it is left to be asked by itself, and says so in its
own words. So are all that can't be answered together. What is left out on purpose: real sites, each of which is alone.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wardround import wire
from wardround.clients.hospital_app import Hospitals
from wardround.config import Config
from wardround.datasets import FederatedData, HospitalData
from wardround.errors import WardroundError
from wardround.exact_sums import Arrays, Summed
from wardround.rounds import Assignment, Schedule

if TYPE_CHECKING:
    from wardround.clients.training import HospitalTensors, LocalTrainer

__all__ = ["Joint", "TogetherApp", "joint_training"]


_ROWS_AT_ONCE = 2**16
"""Of hospitals that test a model together: about 800 MiB of CIFAR-10's images, and 2 MiB of six numbers each."""


class Joint(NamedTuple):
    """Whether all hospitals of a run train together, and a sentence that says so, or why not."""

    is_whole: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """A hospital that is asked, at its place among the messages."""

    place: int
    message: Message
    context: Context
    hospital: HospitalData


_Replies = Iterator[tuple[_Asked, Message]]


class TogetherApp(ClientApp):
    """A ClientApp whose hospitals may also be asked together."""

    def __init__(self, hospitals: Hospitals) -> None:
        """Answer for these hospitals."""
        super().__init__(mods=list(hospitals.mods))
        self._hospitals = hospitals

    def answer_together(
        self, messages: Sequence[Message], contexts: Sequence[Context], summed: Summed | None = None
    ) -> list[Message | None]:
        """Return a reply to each message of one kind; None where the hospital is to be asked by itself.

        Arrays that are to enter a sum may be in `summed`, and not in the reply.
        """
        replies: list[Message | None] = [None] * len(messages)
        answer = _TOGETHER.get(messages[0].metadata.message_type)
        if answer is not None:
            hospitals = _answering(self._hospitals, messages[0])
            for arrays, group in _by_arrays(hospitals, messages, contexts):
                for asked, reply in answer(hospitals, arrays, group, summed):
                    replies[asked.place] = reply
        return replies


def joint_training(
    config: Config,
    federation: FederatedData,
    trainer: "LocalTrainer",
    assignments: Mapping[str, Assignment],
    *,
    has_side: bool,
) -> Joint:
    """Return how the hospitals of a run train where an engine asks them together.

    Args:
        config: all settings.
        federation: the hospitals.
        trainer: of all of them.
        assignments: of a round, by hospital.
        has_side: whether the strategy does something at hospitals.
    """
    from wardround.clients.trainers import hospital_tensors

    # What is asked of them is whether patients have several rows, and their schedule: one hospital stands for all that
    # are alike.
    reasons: dict[tuple[bool, Schedule], str | None] = {}
    reason_of: dict[str, str | None] = {}
    for hospital in federation.hospitals:
        assignment = assignments[hospital.hospital_id]
        alike = hospital.train_owners is not None, assignment.schedule
        if alike not in reasons:
            tensors = hospital_tensors(hospital, trainer.device, config.privacy.microbatch_size)
            reasons[alike] = _alone_because(config, trainer, tensors, assignment, has_side=has_side)
        reason_of[hospital.hospital_id] = reasons[alike]
    why = " and ".join(dict.fromkeys(reason for reason in reasons.values() if reason))
    if not why:
        return Joint(True, "hospitals train together, in one program")
    num_joined = sum(reason is None for reason in reason_of.values())
    who = f"{num_joined} of {len(reason_of)} hospitals train together, the others one by one" if num_joined else ""
    return Joint(False, f"{who or 'hospitals train one by one'}, since {why}")


def _alone_because(
    config: Config, trainer: "LocalTrainer", tensors: "HospitalTensors", assignment: Assignment, *, has_side: bool
) -> str | None:
    """Return why a hospital trains by itself, as a clause; None where it trains together with others."""
    from wardround.clients.stacked.together import apart_because

    if config.aggregation.protocol == "secagg+":
        return "each masks what it sends by itself (protocol secagg+)"
    if has_side:
        return "the strategy has a part at the hospitals"
    return apart_because(trainer, tensors, assignment, None)


def _answering(hospitals: Hospitals, message: Message) -> Hospitals:
    """Return who answers in the round of a message; one that is for no round is refused where it is read."""
    try:
        is_training = message.metadata.message_type == "train"
        return hospitals.for_round(wire.assignment_of(message).round_number) if is_training else hospitals
    except WardroundError:
        return hospitals


def _by_arrays(
    hospitals: Hospitals, messages: Sequence[Message], contexts: Sequence[Context]
) -> Iterator[tuple[Arrays, list[_Asked]]]:
    """Yield each model that is sent, and who is sent it; arrays are the same where their memory is."""
    groups: dict[Hashable, tuple[Arrays, list[_Asked]]] = {}
    by_objects: dict[Hashable, list[_Asked]] = {}
    for place, (message, context) in enumerate(zip(messages, contexts, strict=True)):
        try:
            if message.metadata.message_type == "evaluate":
                hospitals.take_constants(message)
            objects = wire.array_objects(message)
            asked = _Asked(place=place, message=message, context=context, hospital=hospitals.asked(context))
            if objects not in by_objects:
                arrays = wire.arrays_in(message)
                by_objects[objects] = groups.setdefault(_memory_of(arrays), (arrays, []))[1]
        except WardroundError:
            continue
        by_objects[objects].append(asked)
    yield from groups.values()


def _memory_of(arrays: Arrays) -> Hashable:
    return tuple(
        (name, array.__array_interface__["data"], array.shape, array.strides, array.dtype.str)
        for name, array in arrays.items()
    )


def _trained(hospitals: Hospitals, arrays: Arrays, group: Sequence[_Asked], summed: Summed | None) -> _Replies:
    """Yield the replies of those who can train together."""
    from wardround.clients.stacked.together import Asked, train_together

    joined: list[tuple[_Asked, Asked]] = []
    for asked in group:
        try:
            hospitals.take_constants(asked.message)
            assignment, tensors = wire.assignment_of(asked.message), hospitals.tensors(asked.hospital)
            if _alone_because(hospitals.config, hospitals.trainer, tensors, assignment, has_side=hospitals.has_side):
                continue
            hospitals.admit(assignment, hospitals.part(asked.hospital), asked.context)
            hospitals.side(asked.message)  # which refuses what nobody would take
            own = hospitals.own(asked.message)
        except WardroundError:
            continue
        pull, weight = hospitals.proximal_mu(asked.message), wire.sum_weight(asked.message)
        one = Asked(tensors=tensors, assignment=assignment, proximal_mu=pull, weight=weight, own=own)
        joined.append((asked, one))
    if joined:
        total = None if summed is None else summed.total
        trained = train_together(hospitals.trainer, arrays, [one for _, one in joined], total)
        for (asked, _), of_one in zip(joined, trained, strict=True):
            reply = hospitals.report(of_one, asked.message)
            if summed is not None and not of_one.arrays:
                summed.node_ids.add(asked.context.node_id)
                del reply.content[wire.ARRAYS]
            yield asked, reply


def _evaluated(hospitals: Hospitals, arrays: Arrays, group: Sequence[_Asked], _: Summed | None) -> _Replies:
    """Yield the replies of those who test one model; none where its own code decides what a batch is.

    Those who have a model of their own test it by themselves.
    """
    from wardround.clients.evaluation import evaluate_together

    group = [asked for asked in group if not wire.arrays_beside(asked.message, wire.OWN)]
    if not group:
        return
    one = hospitals.tensors(group[0].hospital)
    if hospitals.trainer.scores_records_apart(one.record_shape):
        model = hospitals.trainer.scoring_model(arrays, one)
        for some in _in_parts(group):
            tested = [(asked.hospital.hospital_id, hospitals.tensors(asked.hospital)) for asked in some]
            scores = evaluate_together(
                model, tested, task=hospitals.federation.task, edges=hospitals.federation.time_edges
            )
            for asked, of_one in zip(some, scores, strict=True):
                yield asked, wire.evaluation_reply(*of_one, asked.message)


def _in_parts(group: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Yield hospitals whose records are in memory at once: the first that have so many rows, the next, and so on."""
    part: list[_Asked] = []
    num_rows = 0
    for asked in group:
        part.append(asked)
        num_rows += len(asked.hospital.train_labels) + len(asked.hospital.test_labels)
        if num_rows >= _ROWS_AT_ONCE:
            yield part
            part, num_rows = [], 0
    if part:
        yield part


_TOGETHER: Mapping[str, Callable[[Hospitals, Arrays, Sequence[_Asked], Summed | None], _Replies]] = {
    "train": _trained,
    "evaluate": _evaluated,
}
"""By the kind of message."""
