"""The hospital's half of secure aggregation, as a Flower mod: attach it, and only masked sums leave.

    app = ClientApp(mods=[SecAggMod(check_terms=agreed_terms(max_update=8.0, max_weight=5_000, settings=b"version 1"))])

A training message without the protocol's part is refused, so that a server which leaves it out gets nothing. Of the
metrics of training nothing is sent but what `keep_metrics` names; the number of examples travels masked. What is left
out on purpose: evaluation and queries, whose replies are not touched.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from wardround import wire
from wardround.clients.site_log import log_failure, seen
from wardround.errors import ConfigError, ProtocolError, Refusal, UpdateError
from wardround.exact_sums import Arrays, check_alike
from wardround.secagg import Site, Terms, hospital, is_weighted, read_site, sent_digest, stated_digest
from wardround.secagg.hospital import Memory
from wardround.secagg.keys import transcript
from wardround.secagg.masks import add_masks
from wardround.secagg.quantisation import flattened, quantiser_for, saturated, split_like
from wardround.secagg.records import ConfirmRequest, MaskRequest, ShareRequest, UnmaskRequest

__all__ = ["CheckTerms", "SecAggMod", "agreed_terms", "site_from_context", "terms_in", "weight_in_metrics"]

_log = logging.getLogger(__name__)
_MEMORY, _TERMS, _ROUNDS = "secagg-memory", "secagg-terms", "secagg-rounds"
_MOST_RUNS = 64
CheckTerms = Callable[[Terms, Message | None], None]
"""Raises `Refusal` where the terms that a server proposes are not those that this hospital agreed to. It is given no
message when keys are advertised, and the training message before it is trained on."""
_ANSWERS: Mapping[str, tuple[Callable[..., tuple[Memory, Any]], type]] = {
    "share": (hospital.share, ShareRequest),
    "confirm": (hospital.confirm, ConfirmRequest),
    "unmask": (hospital.unmask, UnmaskRequest),
}


def site_from_context(context: Context) -> Site:
    """Return the site that node_config names: "hospital", and the paths "site-key" and "roster".

    Raises:
        ConfigError: one is missing, or a file is not as it should be.
    """
    node = context.node_config
    for key in ("hospital", "site-key", "roster"):
        if not isinstance(node.get(key), str):
            raise ConfigError(
                f"{key} = {node.get(key)} must be text in node_config: start the SuperNode with --node-config "
                '\'hospital="..." site-key="..." roster="..."\', all three'
            )
    return read_site(str(node["hospital"]), Path(str(node["site-key"])), Path(str(node["roster"])))


def weight_in_metrics(message: Message, reply: Message) -> float:
    """Return the number of examples that the app's reply states, as Flower's strategies weight by.

    Raises:
        UpdateError: it states none.
    """
    for record in reply.content.values():
        value = record.get(wire.NUM_EXAMPLES) if isinstance(record, MetricRecord) else None
        if isinstance(value, int | float):
            return float(value)
    raise UpdateError(f"the app's reply has no {wire.NUM_EXAMPLES} to weight it with: add it to its metrics")


def agreed_terms(*, max_update: float, max_weight: float, settings: bytes = b"") -> CheckTerms:
    """Return what holds a server to the bounds and settings that an app's own side states.

    A server that could choose them would learn from refusals how large an update or a weight is.

    Args:
        max_update: as `SecAggPlus` has it.
        max_weight: as `SecAggPlus` has it.
        settings: as `SecAggPlus` has them, such as the version of the app; they never travel, their hash does.
    """
    agreed = {
        "payload": "parameters",
        "max_update": float(max_update),
        "max_weight": float(max_weight),
        "settings_digest": stated_digest(settings),
    }

    def check_terms(terms: Terms, message: Message | None) -> None:
        for name, own in agreed.items():
            asked = getattr(terms, name)
            if asked != own:
                told = f"{name} = {asked} was proposed, and {own} was agreed on"
                if isinstance(own, bytes):
                    told = "the server's settings have another digest than this hospital's"
                raise Refusal(f"the terms are refused: {told}; both sides must state the same (agreed_terms)")

    return check_terms


def terms_in(context: Context) -> Terms:
    """Return the terms of the round that a hospital is in, for its app while it trains.

    Raises:
        Refusal: it has advertised no keys.
    """
    if _TERMS not in context.state:
        raise Refusal("there is no round under way: ask this hospital to advertise keys first")
    return wire.read_record(Terms, _values(context, _TERMS))


@dataclass(frozen=True)
class SecAggMod:
    """A Flower mod that answers the protocol's stages and masks what training returns; other messages pass.

    Attributes:
        site_of: returns this hospital's site; called at every message.
        check_terms: refuses terms that this hospital did not agree to; `agreed_terms` makes one.
        weight_of: returns the weight, given the message and the app's reply to it.
        keep_metrics: names of metrics that may leave the hospital in clear; none by default.
        has_assignment: whether messages carry an assignment, as those of wardround's own server do, of which the app
            itself holds each hospital's own part to its settings (`wire.told_to_all`).
    """

    site_of: Callable[[Context], Site] = site_from_context
    _: KW_ONLY
    check_terms: CheckTerms
    weight_of: Callable[[Message, Message], float] = weight_in_metrics
    keep_metrics: Collection[str] = ()
    has_assignment: bool = False

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answer a stage of the protocol, or train and return the masked vector.

        Raises:
            Refusal: the message is not as agreed; nothing is sent.
            ProtocolError: the message can't be read; nothing is sent.
            UpdateError: an update can't be masked without loss.
        """
        if message.metadata.message_type.partition(".")[0] != "train":
            return call_next(message, context)
        request = message.content.get(wire.SECAGG)
        if not isinstance(request, ConfigRecord):
            raise Refusal(
                "a training message without secure aggregation is refused, as this hospital sends masked vectors only: "
                "wrap the server's strategy in SecAggPlus"
            )
        site, stage = self.site_of(context), str(request.get("stage"))
        if stage == "advertise":
            terms = wire.read_record(Terms, request)
            self.check_terms(terms, None)
            # Whatever else the terms say: one answer a round and run.
            site.claim(transcript(terms.run_id.encode(), str(terms.round_number).encode()), stage)
            return _advertised(site, terms, message, context)
        if _MEMORY not in context.state:
            raise Refusal(f"{site.name} has no part in a round: ask it to advertise keys first")
        terms = terms_in(context)
        memory = wire.read_record(Memory, _values(context, _MEMORY))
        if stage == "mask":
            return self._masked(site, terms, memory, message, context, call_next)
        if stage not in _ANSWERS:
            raise Refusal(f'"{stage[:40]}" is no stage of secure aggregation: both sides need the same version')
        answer, kind = _ANSWERS[stage]
        memory, reply = answer(site, terms, memory, wire.read_record(kind, request))
        site.claim(terms.session, stage)
        _remember(context, memory)
        return _reply(message, reply)

    def _masked(
        self, site: Site, terms: Terms, memory: Memory, message: Message, context: Context, call_next: ClientAppCallable
    ) -> Message:
        name, record = wire.one_array_record(message.content)
        sent = wire.arrays_of(record)
        told = sent_digest(wire.told_to_all(message, has_assignment=self.has_assignment))
        request = wire.read_record(MaskRequest, cast(ConfigRecord, message.content[wire.SECAGG]))
        memory, masks = hospital.mask(site, terms, memory, request, model_digest=told)
        self.check_terms(terms, message)
        # Before training: these masks are for this message alone, whatever becomes of it.
        site.claim(terms.session, "mask")
        _remember(context, memory)
        content = RecordDict(dict(message.content.items()))
        del content[wire.SECAGG]
        # As they came: from a Flower Array the app takes a copy of its own, which it may train in place.
        content[name] = ArrayRecord({key: array for key, array in record.items() if key != wire.SUM_OF_WEIGHTS})
        sent.pop(wire.SUM_OF_WEIGHTS, None)
        message.content = content
        reply = _trained(site, message, context, call_next)
        vector, like = _vector(site, terms, len(memory.told.names), sent, reply, self.weight_of(message, reply))
        add_masks(vector, masks)
        vector.flags.writeable = False  # so that nobody has to copy it before it is sent
        metrics = {
            key: value
            for record in reply.content.values()
            if isinstance(record, MetricRecord)
            for key, value in record.items()
            if key in frozenset(self.keep_metrics)
        }
        arrays = wire.array_record(split_like(vector, like))
        return Message(RecordDict({wire.ARRAYS: arrays, wire.METRICS: MetricRecord(metrics)}), reply_to=message)


def _trained(site: Site, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Return the app's reply; of a real site's failure nothing is told that could quote its data.

    A refusal's reason may leave.
    """
    try:
        reply = call_next(message, context)
    except Refusal:
        raise
    except Exception:
        if not site.is_real:
            raise
        log_failure(_log, f"training failed at {site.name}")
    else:
        if not reply.has_error():
            return reply
        _log.error("training failed at %s: %s", site.name, seen(str(reply.error.reason)))
    raise UpdateError(f"training failed at {site.name}: its log says why")


def _advertised(site: Site, terms: Terms, message: Message, context: Context) -> Message:
    rounds = dict(_values(context, _ROUNDS)) if _ROUNDS in context.state else {}
    memory, reply = hospital.advertise(site, terms, int(rounds.pop(terms.run_id, -1)))
    # The latest last, and no more than a server could want: it invents the names of runs.
    latest = [*rounds.items(), (terms.run_id, terms.round_number)][-_MOST_RUNS:]
    context.state[_ROUNDS] = ConfigRecord(dict(latest))
    context.state[_TERMS] = ConfigRecord(wire.record_values(terms))
    _remember(context, memory)
    return _reply(message, reply)


def _remember(context: Context, memory: Memory) -> None:
    context.state[_MEMORY] = ConfigRecord(wire.record_values(memory))


def _values(context: Context, name: str) -> Mapping[str, Any]:
    record = context.state[name]
    if not isinstance(record, ConfigRecord):
        raise ProtocolError(f"the node's state holds something else under {name}: give it a state of its own")
    return record


def _reply(message: Message, record: Any) -> Message:
    return Message(RecordDict({wire.SECAGG: ConfigRecord(wire.leaving(record))}), reply_to=message)


def _vector(
    site: Site, terms: Terms, num_members: int, sent: Mapping[str, NDArray[Any]], reply: Message, weight: float
) -> tuple[NDArray[np.uint32], Arrays]:
    """Return what is to be masked, and arrays with the names and shapes of its parts, in `wire.masked_order`.

    A real site holds what it sends to the bound, where a simulated hospital refuses: a refusal would tell the server.
    """
    arrays = wire.arrays_of(wire.one_array_record(reply.content)[1])
    check_alike(arrays, sent)
    like = {name: sent[name] for name in wire.masked_order(sent)}
    values = flattened({name: arrays[name] for name in like})
    if not is_weighted(terms.payload):
        if any(array.dtype != np.uint32 for array in arrays.values()):
            raise UpdateError("residues must be uint32: both sides need the same version")
        return values.astype(np.uint32), like  # a copy, as masks are added in place
    before = flattened(like) if terms.payload == "parameters" else None
    quantiser = quantiser_for(terms, num_members)
    try:
        residues = quantiser.residues(values, weight, before)
    except UpdateError:
        if not site.is_real:
            raise
        values, num_beyond = saturated(values, terms.max_update, before)
        _log.warning(
            "%d of the %d numbers that %s sends were beyond max-update = %g and are held to it",
            *(num_beyond, len(values), site.name, terms.max_update),
        )
        residues = quantiser.residues(values, weight)
    return residues, like | {wire.SUM_OF_WEIGHTS: np.zeros(())}
