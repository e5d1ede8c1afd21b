"""Wardround's `SecAggMod`, spoken to by a server that does as it likes.

Its stage of confirming lists is part of unmasking here: who refuses a list is asked to confirm an honest one, so that
the server has confirmations to go on with.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from wardround import wire
from wardround.attacks.findings import Learnt
from wardround.attacks.stages import asked
from wardround.attacks.targets import Arrays, Lists, Nodes, Round, flat, training_message
from wardround.attacks.wardround_secrets import (
    masks_among,
    members_in,
    names_of,
    opened_by,
    sealed_by,
    secrets_of,
)
from wardround.secagg import Roster, Terms, sent_digest, stated_digest
from wardround.secagg.keys import new_private_key, public_key, sign
from wardround.secagg.masks import add_masks
from wardround.secagg.members import advertised_text
from wardround.secagg.quantisation import flattened, quantiser_for, split_like
from wardround.secagg.records import (
    Advertisement,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    Shares,
    UnmaskRequest,
    UnmaskShares,
)
from wardround.secagg.server import share_request

__all__ = ["WardroundSecAgg"]

_Reply = TypeVar("_Reply")
_NUM_HALVINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WardroundSecAgg:
    """Wardround's protocol, with what all agreed on.

    Attributes:
        roster: of the federation, as hospitals have it.
        max_update: as `SecAggPlus` has it; so are the next two.
        max_weight: see there.
        settings: see there.
        signing_keys: long-term keys of hospitals that the server has got hold of, by name, 32 bytes each.
    """

    roster: Roster
    max_update: float
    max_weight: float
    settings: bytes = b""
    signing_keys: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name and the version of this package."""
        return f"SecAggMod (wardround {version('wardround')})"

    def content(self, arrays: Arrays, config: Mapping[str, Any]) -> RecordDict:
        """Return parameters and config as Flower's strategies send them."""
        return RecordDict({wire.ARRAYS: wire.array_record(arrays), wire.CONFIG: ConfigRecord(dict(config))})

    def trained(self, reply: Message) -> tuple[Sequence[NDArray[Any]], float]:
        """Return the one array record of a reply, and the number of examples in its metrics."""
        arrays = wire.arrays_of(wire.one_array_record(reply.content)[1])
        records = (record for record in reply.content.values() if isinstance(record, MetricRecord))
        (weight,) = (record[wire.NUM_EXAMPLES] for record in records if wire.NUM_EXAMPLES in record)
        return list(arrays.values()), float(weight)  # type: ignore[arg-type]

    def terms(self, nodes: Nodes, cohort: Sequence[int], *, lowered: bool = False) -> Terms:
        """Return the terms of a first round; those that differ by cohort are counted by hospitals themselves."""
        told = training_message(self.content(nodes.target.model, nodes.target.config), cohort[0], "terms")
        return Terms(
            federation=self.roster.federation,
            run_id=uuid.uuid4().hex,
            round_number=1,
            min_survivors=2 if lowered else self.roster.min_survivors,
            max_colluding=0 if lowered else self.roster.max_colluding,
            payload="parameters",
            max_update=float(self.max_update),
            max_weight=float(self.max_weight),
            model_digest=sent_digest(wire.told_to_all(told)),
            settings_digest=stated_digest(self.settings),
        )

    def set_up(self, round_: Round) -> Round:
        """Ask the cohort to advertise keys."""
        contents = {node_id: _content("advertise", round_.terms) for node_id in round_.cohort}
        round_, keys = asked(round_, "advertise", contents, _reader(Advertisement))
        return replace(round_, keys=keys)

    def share_keys(self, round_: Round, *, num_invented: int = 0) -> Round:
        """Show everybody all keys; invented ones are in the names of the roster's hospitals, as far as it goes."""
        known = {ad.name for ad in round_.keys.values()}
        names = [name for name in self.roster.verify_keys if name not in known][:num_invented]
        start = max(round_.nodes.contexts) + 1
        own = {start + place: (name, new_private_key(), new_private_key()) for place, name in enumerate(names)}
        ads = {node_id: self._advertised(round_.terms, *invented) for node_id, invented in own.items()}
        round_ = replace(round_, keys={**round_.keys, **ads})
        contents = {n: _content("share", share_request(round_.terms, round_.keys.values())) for n in round_.keys}
        real = {node_id: content for node_id, content in contents.items() if node_id not in own}
        round_, shares = asked(round_, "share", real, _reader(Shares))
        round_ = replace(round_, shares=shares)
        members = members_in(round_)
        if members is None or not own or not shares:
            return round_
        sealed = {n: sealed_by(members, invented, names_of(round_, shares)) for n, invented in own.items()}
        opened = opened_by(members, own.values(), {round_.keys[n].name: reply for n, reply in shares.items()})
        secrets = {("key", node_id): masking for node_id, (_, _, masking) in own.items()}
        secrets |= secrets_of(replace(round_, shares={**shares, **sealed}), members, opened)
        return replace(round_, shares={**shares, **sealed}, secrets=secrets)

    def collect(self, round_: Round, models: Mapping[int, Arrays] | None = None) -> Round:
        """Ask those who shared for their vectors."""
        members, target, contents = members_in(round_), round_.nodes.target, {}
        names = names_of(round_, round_.shares)
        for node_id in (node_id for node_id in round_.cohort if node_id in round_.shares and members is not None):
            partners = sorted(members.neighbours(names[node_id]) & set(names.values())) if members else []
            by_name = {names[n]: dict(zip(s.receivers, s.sealed, strict=True)) for n, s in round_.shares.items()}
            request = MaskRequest(
                session=round_.terms.session,
                sharing=tuple(sorted(names.values())),
                senders=tuple(partners),
                sealed=tuple(by_name[name][names[node_id]] for name in partners),
            )
            content = self.content((models or {}).get(node_id, target.model), target.config)
            content[wire.SECAGG] = ConfigRecord({"stage": "mask", **wire.record_values(request)})
            contents[node_id] = content
        round_, vectors = asked(round_, "mask", contents, wire.arrays_in)
        return replace(round_, vectors=vectors)

    def unmask(self, round_: Round, lists: Lists) -> Round:
        """Have lists confirmed, honest ones by those who refuse, and ask for the shares of the lists each is told."""
        members, names = members_in(round_), names_of(round_, round_.keys)
        active = frozenset(round_.vectors)
        honest = _lists(round_, names, (active, frozenset(round_.shares) - active))
        told = {node_id: _lists(round_, names, lists(node_id)) for node_id in round_.vectors}
        contents = {node_id: _content("confirm", request) for node_id, request in told.items()}
        round_, confirmed = asked(round_, "confirm", contents, _reader(Confirmation))
        again = {node_id: _content("confirm", honest) for node_id in told if node_id not in confirmed}
        round_, others = asked(round_, "confirm", again, _reader(Confirmation))
        signed = {names[node_id]: reply.signature for node_id, reply in {**confirmed, **others}.items()}
        both = {"signers": tuple(signed), "signatures": tuple(signed.values())}
        contents = {
            n: _content("unmask", UnmaskRequest(session=r.session, active=r.active, dropped=r.dropped, **both))
            for n, r in told.items()
        }
        round_, replies = asked(round_, "unmask", contents, _reader(UnmaskShares))
        if members is None:
            return round_
        held: dict[tuple[str, str], dict[int, bytes]] = {}
        for node_id, reply in replies.items():
            point = members.point(names[node_id])
            for kind, owners, given in (
                ("seed", reply.seeds_of, reply.seed_shares),
                ("key", reply.keys_of, reply.key_shares),
            ):
                for owner, share in zip(owners, given, strict=True):
                    held.setdefault((kind, owner), {})[point] = share
        return replace(round_, secrets={**round_.secrets, **secrets_of(round_, members, held)})

    def summed(self, round_: Round, members: Sequence[int]) -> tuple[NDArray[np.float64], float] | None:
        """Return the weighted sum of updates and of weights."""
        everyone = members_in(round_)
        masks = None if everyone is None or not members else masks_among(round_, everyone, members)
        if everyone is None or masks is None or not frozenset(members) <= round_.vectors.keys():
            return None
        model = round_.nodes.target.model
        like = {name: round_.vectors[members[0]][name] for name in wire.masked_order([*model, wire.SUM_OF_WEIGHTS])}
        total = np.zeros(sum(array.size for array in like.values()), np.uint32)
        for node_id in members:
            total += flattened({name: round_.vectors[node_id][name] for name in like})
        add_masks(total, [(key, not adds) for key, adds in masks])
        values, weight = quantiser_for(round_.terms, everyone.shape.num_members).sums(total)
        del like[wire.SUM_OF_WEIGHTS]
        by_name = split_like(values, like)
        return flat(by_name[name] for name in model), weight

    def silencing(self, model: Arrays) -> Arrays:
        """Return parameters far from the model's; what an app makes of them depends on the app."""
        return {name: np.full_like(array, 1e6) for name, array in model.items()}

    def among_silent(self, round_: Round, victim: int) -> NDArray[np.float64] | None:
        """Return the mean of all, as if the others had sent 0."""
        summed = self.summed(round_, list(round_.vectors))
        return None if summed is None or not summed[1] else summed[0] / summed[1]

    def weakened(self, nodes: Nodes, victim: int) -> tuple[str, Round, Learnt | None]:
        """Halve the bound on updates from round to round: who refuses to be masked has a larger one."""
        tried = f"max_update halved {_NUM_HALVINGS} times, to see from refusals how large the largest coordinate is"
        low, high = 0.0, 2 * self.max_update
        terms = self.terms(nodes, nodes.target.node_ids)
        round_ = Round(nodes=nodes, cohort=nodes.target.node_ids, terms=terms)
        for number in range(1, _NUM_HALVINGS + 1):
            bound = (low + high) / 2
            round_ = replace(round_, terms=replace(terms, max_update=bound, round_number=number), vectors={})
            round_ = self.collect(self.share_keys(self.set_up(round_)))
            if victim not in round_.shares:
                return tried, round_, None
            low, high = (low, bound) if victim in round_.vectors else (bound, high)
        true = float(np.abs(nodes.target.true_update([victim])).max())
        what = f"the largest coordinate of the update of node {victim}"
        return tried, round_, Learnt(what=what, error=abs(high - true) / true, num_numbers=1)

    def _advertised(self, terms: Terms, name: str, sealing: bytes, masking: bytes) -> Advertisement:
        keys = public_key(sealing), public_key(masking)
        text = advertised_text(terms.session, name, *keys)
        signature = sign(self.signing_keys.get(name, os.urandom(32)), text)
        return Advertisement(name=name, sealing_key=keys[0], masking_key=keys[1], signature=signature)


def _lists(round_: Round, names: Mapping[int, str], both: tuple[frozenset[int], frozenset[int]]) -> ConfirmRequest:
    active, dropped = (tuple(sorted(names[node_id] for node_id in part if node_id in names)) for part in both)
    return ConfirmRequest(session=round_.terms.session, active=active, dropped=dropped)


def _content(stage: str, request: Any) -> RecordDict:
    return RecordDict({wire.SECAGG: ConfigRecord({"stage": stage, **wire.record_values(request)})})


def _reader(kind: type[_Reply]) -> Callable[[Message], _Reply]:
    def read(reply: Message) -> _Reply:
        return wire.read_record(kind, reply.content.config_records[wire.SECAGG])

    return read
