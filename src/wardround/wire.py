"""The records of `rounds` as Flower messages: every key that is sent or received is named in this file.

What may leave a hospital, and why, is in `leaves`. What is left out on purpose: transport (the
engines and Flower do that) and any meaning of the numbers (see `rounds`).
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.typing import NDArray

from wardround.errors import ProtocolError
from wardround.leaves import LEAVES_HOSPITAL
from wardround.privacy.cells import cell_named
from wardround.rounds import Assignment, Evaluation, Execution, HospitalProfile, ProfileMeasures, TrainingMeasures
from wardround.scores import Predictions
from wardround.typed_records import keys_of, read_record, record_values
from wardround.wire_arrays import LazyArray, array_record, arrays_of, one_array_record, predictions_record, told
from wardround.wire_values import config_record, content_of, metric_record

__all__ = [
    "ARRAYS",
    "ASSIGNMENT",
    "CLASSES",
    "CONFIG",
    "FEATURES",
    "HOSPITAL_SIDE",
    "METRICS",
    "PREDICTIONS",
    "NUM_EXAMPLES",
    "OWN",
    "PROFILE",
    "PROXIMAL_MU",
    "SECAGG",
    "SETTINGS",
    "SETTINGS_DIGEST",
    "SUM_OF_WEIGHTS",
    "SUM_RESIDUES",
    "SUM_WEIGHT",
    "LazyArray",
    "array_objects",
    "array_record",
    "arrays_beside",
    "arrays_in",
    "arrays_of",
    "assignment_of",
    "config_in",
    "evaluation_reply",
    "execution_reply",
    "leaving",
    "masked_order",
    "one_array_record",
    "read_measures",
    "read_metrics",
    "read_profile",
    "read_record",
    "profile_query",
    "profile_reply",
    "record_values",
    "simulated_execution_reply",
    "simulated_profile_reply",
    "sum_weight",
    "told_to_all",
    "with_assignment",
    "with_record",
]

_Measures = TypeVar("_Measures", ProfileMeasures, TrainingMeasures)
_Metrics = TypeVar("_Metrics", Execution, Evaluation)
_Part = TypeVar("_Part", ArrayRecord, ConfigRecord, MetricRecord)
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
ASSIGNMENT = "assignment"
HOSPITAL_SIDE = "hospital-side"
"""Arrays that a strategy sends its hospital side (`clients.hospital_sides`); each hospital may be sent others."""
FEATURES = "features"
"""The constants that every hospital scales its features by (`datasets.scaling`), where they were released."""
CLASSES = "classes"  # what a record of each class counts (`datasets.constants`), likewise
OWN = "own"  # parameters that a hospital is sent in place of those that all are sent: they are its own ([personal])
SCORED = "scored-model"  # whose test scores are released, beside what is summed
PROFILE = "profile"
PREDICTIONS = "predictions"
NUM_EXAMPLES = "num-examples"
PROXIMAL_MU = "proximal-mu"
SETTINGS = "settings"
"""What the server of real sites says of its settings when it asks who they are; and the digest of these."""
SETTINGS_DIGEST = "settings-digest"
SUM_WEIGHT = "sum-weight"
"""A training message with it in its config gets a reply without arrays: they go into the sum, times its value."""
SUM_RESIDUES = "sum-residues"
"""With it they are residues modulo 2^32, which go into the sum as they are."""
SUM_OF_WEIGHTS = "sum-of-weights"
"""Name of the one number that travels masked beside the parameters: the hospital's weight."""
SECAGG = "secagg"
"""What server and hospital say to each other in a secure sum, apart from the masked arrays."""

_OWN_PART = frozenset({"hospital-id", "weight", "contribution", "schedule-sample-rate", "schedule-num-steps"}) | {
    *("schedule-expected-batch-size", "event-sample-rate", "event-num-steps")
}
"""What of an assignment is each hospital's own; it holds all but weights to its settings (`clients.assignments`)."""


def arrays_in(message: Message) -> dict[str, NDArray]:
    """Return the parameters that a message carries.

    Raises:
        ProtocolError: it carries none.
    """
    return arrays_of(_part(message, ARRAYS, ArrayRecord))


def array_objects(message: Message) -> Hashable:
    """Return what messages, all of which are there, have in common where `arrays_in` reads the same objects of them.

    Raises:
        ProtocolError: it carries no parameters.
    """
    record = _part(message, ARRAYS, ArrayRecord)
    return tuple((name, id(array.__dict__.get("ndarray", array))) for name, array in record.items())


def config_in(message: Message) -> ConfigRecord:
    """Return the settings that a strategy sent along; empty where it sent none."""
    record = _content(message).get(CONFIG)
    return record.copy() if isinstance(record, ConfigRecord) else ConfigRecord()


def arrays_beside(message: Message, name: str) -> dict[str, NDArray]:
    """Return what a strategy sent beside the parameters, by `HOSPITAL_SIDE` or `OWN`; empty where it sent nothing."""
    record = _content(message).get(name)
    return arrays_of(record) if isinstance(record, ArrayRecord) else {}


def masked_order(names: Iterable[str]) -> list[str]:
    """Return parameters' names in the order in which a masked vector has them: by text, the weight last.

    >>> masked_order(["weight", SUM_OF_WEIGHTS, "bias"])
    ['bias', 'weight', 'sum-of-weights']
    """
    return sorted(names, key=lambda name: (name == SUM_OF_WEIGHTS, name))


def with_assignment(message: Message, assignment: Assignment) -> Message:
    """Return the message with a content of its own that also carries the assignment."""
    return with_record(message, ASSIGNMENT, record_values(assignment))


def with_record(message: Message, name: str, values: Mapping[str, Any]) -> Message:
    """Return the message with a content of its own, which Flower's strategies share, that also carries a record."""
    message.content = content_of(dict(message.content.items()) | {name: config_record(values)})
    return message


def assignment_of(message: Message) -> Assignment:
    """Return the assignment that a training message carries.

    Raises:
        ProtocolError: the message carries none, or an incomplete one.
    """
    return read_record(Assignment, dict(_part(message, ASSIGNMENT, ConfigRecord).items()))


def sum_weight(message: Message) -> float | None:
    """Return with which weight the arrays of a reply to this enter a sum, nan for residues; None where they don't."""
    config = config_in(message)
    weight = float("nan") if config.get(SUM_RESIDUES) else config.get(SUM_WEIGHT)
    return None if weight is None else float(weight)  # type: ignore[arg-type]


def told_to_all(message: Message, *, has_assignment: bool = False) -> tuple[Any, ...]:
    """Return all that a training message tells, in its order, for `secagg.sent_digest`.

    A server that told one hospital another learning rate, clip or order of parameters than the others could tell its
    update from the sum of all. So every name, kind, value and array counts, and the order of them: an app may train on
    its first array, whatever its name.

    Args:
        message: with its arrays.
        has_assignment: whether the app is ours, whose messages have an assignment of which a part is each hospital's
            own. That part is left out here, and the hospital holds it to its own settings and records.
    """
    own: frozenset[str] = frozenset()
    if has_assignment:
        cell = cell_named(assignment_of(message).event.cell)
        own = _OWN_PART | (frozenset() if cell.shares_noise else {"event-noise-multiplier"})
    records = tuple(
        (name, *told(record, own if name == ASSIGNMENT else frozenset()))
        for name, record in message.content.items()
        if name != SECAGG
    )
    return message.metadata.message_type, message.metadata.group_id, records


def profile_query(node_id: int, settings: str = "", digest: bytes = b"") -> Message:
    """Return the question who a node is.

    The server of real sites tells its settings (`identity.agreed_text`), so that a site can name what differs in its
    log, and their digest (`identity.agreed_digest`), which a site holds its own to.
    """
    told = ConfigRecord({SETTINGS: settings, SETTINGS_DIGEST: digest})
    return Message(RecordDict({CONFIG: told}), dst_node_id=node_id, message_type="query.profile")


def profile_reply(profile: HospitalProfile, message: Message) -> Message:
    """Return a real site's reply to `query.profile`."""
    return Message(RecordDict({PROFILE: ConfigRecord(_public(HospitalProfile, profile))}), reply_to=message)


def simulated_profile_reply(profile: HospitalProfile, measures: ProfileMeasures, message: Message) -> Message:
    """Return a simulated hospital's reply to `query.profile`."""
    values = _public(HospitalProfile, profile) | leaving(measures)
    return Message(RecordDict({PROFILE: ConfigRecord(values)}), reply_to=message)


def read_profile(reply: Message) -> HospitalProfile:
    """Return the profile a reply carries.

    Raises:
        ProtocolError: it carries none, or an incomplete one.
    """
    return read_record(HospitalProfile, _part(reply, PROFILE, ConfigRecord))


def read_measures(kind: type[_Measures], reply: Message) -> _Measures | None:
    """Return what is measured of a simulated hospital; None where the reply carries nothing of it, as a real site's.

    Raises:
        ProtocolError: it carries a part.
    """
    values = _part(reply, PROFILE, ConfigRecord) if kind is ProfileMeasures else _part(reply, METRICS, MetricRecord)
    return read_record(kind, values) if any(key in values for key in keys_of(kind)) else None


def execution_reply(execution: Execution, arrays: Mapping[str, NDArray], message: Message) -> Message:
    """Return a real site's reply to `train`: the new parameters and what was done to get them."""
    return _trained_reply(_public(Execution, execution), arrays, message)


def simulated_execution_reply(
    execution: Execution, measures: TrainingMeasures, arrays: Mapping[str, NDArray], message: Message
) -> Message:
    """Return a simulated hospital's reply to `train`."""
    return _trained_reply(_public(Execution, execution) | leaving(measures), arrays, message)


def read_metrics(kind: type[_Metrics], reply: Message, hospital_id: str) -> _Metrics:
    """Return what the hospital says it did, or how the model did there.

    Raises:
        ProtocolError: the reply doesn't say, or not all of it.
    """
    return read_record(kind, {"hospital-id": hospital_id} | dict(_part(reply, METRICS, MetricRecord).items()))


def evaluation_reply(evaluation: Evaluation, predictions: Predictions, message: Message) -> Message:
    """Return a simulated hospital's reply to `evaluate`; real sites have none."""
    arrays = predictions_record(predictions)
    return Message(content_of({METRICS: _metrics(leaving(evaluation)), PREDICTIONS: arrays}), reply_to=message)


def leaving(record: Any) -> dict[str, Any]:
    """Return the values of a record that a hospital sends, refusing one that is not on the list of what may leave it.

    Raises:
        ProtocolError: naming the key.
    """
    values = record_values(record)
    for key in values.keys() - LEAVES_HOSPITAL:
        raise ProtocolError(f"{key} must not leave a hospital: it is not in leaves.LEAVES_HOSPITAL")
    return values


def _public(kind: type[HospitalProfile | Execution], record: HospitalProfile | Execution) -> dict[str, Any]:
    """Return the values of a kind that a real site sends: of its own fields, whatever else the record has."""
    own = (item.name for item in fields(kind))
    return leaving(record if type(record) is kind else kind(**{name: getattr(record, name) for name in own}))


def _trained_reply(values: Mapping[str, Any], arrays: Mapping[str, NDArray], message: Message) -> Message:
    return Message(content_of({ARRAYS: array_record(arrays), METRICS: _metrics(values)}), reply_to=message)


def _metrics(values: Mapping[str, Any]) -> MetricRecord:
    return metric_record({key: value for key, value in values.items() if key != "hospital-id"})


def _content(message: Message) -> RecordDict:
    if not message.has_content():
        raise ProtocolError("the message carries an error, and nothing else")
    return message.content


def _part(message: Message, name: str, kind: type[_Part]) -> _Part:
    record = _content(message).get(name)
    if not isinstance(record, kind):
        raise ProtocolError(f"the message carries no {name}: both sides need wardround, and the same version of it")
    return record
