"""A hospital's side of a secure sum, stage by stage; whatever is not as agreed is refused, and nothing is sent.

Every function takes the memory of the round and returns the next one, which must be kept before the reply is sent: each
stage is answered once. What is left out on purpose: training, transport, and where the memory is kept.
"""

import os
from dataclasses import dataclass, replace
from itertools import islice

from wardround.errors import ProtocolError, Refusal
from wardround.secagg.keys import is_signed, new_private_key, public_key, seal, sign, unseal
from wardround.secagg.members import Members, advertised_text, members_of
from wardround.secagg.records import (
    Advertisement,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    ShareRequest,
    Shares,
    UnmaskRequest,
    UnmaskShares,
    paired,
)
from wardround.secagg.shamir import SECRET_BYTES, SHARE_BYTES, split
from wardround.secagg.sites import Site
from wardround.secagg.terms import Terms

__all__ = ["Memory", "advertise", "confirm", "mask", "share", "unmask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a hospital keeps from stage to stage; secret, and emptied except for the stage at the end.

    Attributes:
        stage: the last one that was answered.
        session: of the terms that it advertised keys for.
        sealing_key: private key of the advertised one, as is masking_key.
        seed: of its own mask.
        told: of everyone who advertised, without the signatures.
        sharing: those who shared secrets.
        senders: neighbours whose shares it holds.
        shares: for each sender, that of its masking key and then that of its seed.
        active: confirmed, as are the dropped.
    """

    stage: str
    session: bytes
    sealing_key: bytes = b""
    masking_key: bytes = b""
    seed: bytes = b""
    told: ShareRequest = ShareRequest(session=b"", names=(), sealing_keys=(), masking_keys=(), signatures=())
    sharing: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    shares: tuple[bytes, ...] = ()
    active: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Memory(stage={self.stage!r})"


def advertise(site: Site, terms: Terms, last_round: int) -> tuple[Memory, Advertisement]:
    """Return new keys for the round, signed; `last_round` of the run had such keys before, -1 for none.

    Raises:
        ProtocolError: the terms are not those of the roster, or the round is over.
    """
    roster = site.roster
    for name in ("federation", "min_survivors", "max_colluding"):
        asked, agreed = getattr(terms, name), getattr(roster, name)
        if asked != agreed:
            raise _refusal(site, f"{name} = {asked} was asked for, and this site's roster says {agreed}")
    if terms.round_number <= last_round:
        raise _refusal(
            site, f"round {terms.round_number} was asked for after round {last_round}: rounds are not redone"
        )
    sealing_key, masking_key = new_private_key(), new_private_key()
    public = public_key(sealing_key), public_key(masking_key)
    signature = sign(site.signing_key, advertised_text(terms.session, site.name, *public))
    memory = Memory(stage="advertise", session=terms.session, sealing_key=sealing_key, masking_key=masking_key)
    return memory, Advertisement(name=site.name, sealing_key=public[0], masking_key=public[1], signature=signature)


def share(site: Site, terms: Terms, memory: Memory, request: ShareRequest) -> tuple[Memory, Shares]:
    """Return this hospital's secrets in shares, sealed for its neighbours.

    Raises:
        CohortError: there are too few members.
        ProtocolError: a key is not signed by its owner's long-term key, or this hospital's own are not as it advertised
            them.
    """
    memory = replace(memory, told=replace(request, signatures=()))
    members = _members(site, terms, memory, "advertise", request.session)
    signatures = paired(request.names, request.signatures, "signatures")
    for name in members.order:
        if name not in site.roster.verify_keys:
            raise _refusal(site, f"{name} is not in this site's roster")
        text = advertised_text(request.session, name, members.sealing_keys[name], members.masking_keys[name])
        if not is_signed(site.roster.verify_keys[name], signatures[name], text):
            raise _refusal(site, f"the keys of {name} are not signed with the key that the roster has for it")
    own = members.sealing_keys.get(site.name), members.masking_keys.get(site.name)
    if own != (public_key(memory.sealing_key), public_key(memory.masking_key)):
        raise _refusal(site, "its own keys are missing, or not those it advertised")
    memory = replace(memory, stage="share", seed=os.urandom(SECRET_BYTES))
    return memory, _shares(site, members, memory)


def mask(
    site: Site, terms: Terms, memory: Memory, request: MaskRequest, *, model_digest: bytes
) -> tuple[Memory, list[tuple[bytes, bool]]]:
    """Return the masks for this hospital's vector, as `masks.add_masks` takes them; they are used once.

    `model_digest` is `terms.sent_digest` of the parameters and settings that this hospital was sent.

    Raises:
        ProtocolError: others may have been sent another model, too few share secrets, or a share does not open.
    """
    members = _members(site, terms, memory, "share", request.session)
    if model_digest != terms.model_digest:
        raise _refusal(site, "the parameters or settings that it was sent are not those that the terms name")
    sealed = paired(request.senders, request.sealed, "sealed shares")
    sharing = frozenset(request.sharing)
    if not (site.name in sharing <= set(members.order)) or len(sharing) < len(request.sharing):
        raise _refusal(site, "the list of those who shared secrets lacks it, has strangers, or names one twice")
    if len(sharing) < members.shape.quorum:
        raise _refusal(site, f"{len(sharing)} shared secrets, and {members.shape.quorum} are needed")
    partners = sorted(members.neighbours(site.name) & sharing)
    if sorted(sealed) != partners:
        raise _refusal(site, "the sealed shares are not those of its neighbours who shared secrets")
    shares = tuple(_opened(site, members, memory, name, sealed[name]) for name in partners)
    masks = [members.pairwise_mask(memory.masking_key, site.name, name) for name in partners]
    memory = replace(memory, stage="mask", sharing=tuple(sorted(sharing)), senders=tuple(partners), shares=shares)
    return memory, [*masks, members.own_mask(memory.seed, site.name)]


def confirm(site: Site, terms: Terms, memory: Memory, request: ConfirmRequest) -> tuple[Memory, Confirmation]:
    """Return the signature that binds this hospital to the lists.

    Raises:
        ProtocolError: the lists overlap, are not of those who shared secrets, lack this hospital, or have too few
            active members.
    """
    members = _members(site, terms, memory, "mask", request.session)
    active, dropped = frozenset(request.active), frozenset(request.dropped)
    if both := active & dropped:
        raise _refusal(site, f"{min(both)} is listed as active and as dropped, which would give away its vector")
    listed = len(request.active) + len(request.dropped)
    if active | dropped != set(memory.sharing) or listed != len(memory.sharing):
        raise _refusal(site, "the active and the dropped are not those who shared secrets, each once")
    if site.name not in active:
        raise _refusal(site, "it is listed as dropped, and has sent its vector")
    if len(active) < members.shape.quorum:
        raise _refusal(site, f"{len(active)} hospitals would be in the sum, and {members.shape.quorum} are needed")
    memory = replace(memory, stage="confirm", active=tuple(sorted(active)), dropped=tuple(sorted(dropped)))
    text = members.confirmed_text(memory.sharing, memory.active, memory.dropped)
    return memory, Confirmation(signature=sign(site.signing_key, text))


def unmask(site: Site, terms: Terms, memory: Memory, request: UnmaskRequest) -> tuple[Memory, UnmaskShares]:
    """Return this hospital's shares: of the seeds of the active, of the keys of the dropped, never both of one.

    Raises:
        ProtocolError: the lists are not those it confirmed, or too few hospitals confirmed them.
    """
    members = _members(site, terms, memory, "confirm", request.session)
    if (tuple(sorted(request.active)), tuple(sorted(request.dropped))) != (memory.active, memory.dropped):
        raise _refusal(site, "the lists of active and dropped hospitals changed after it confirmed them")
    text = members.confirmed_text(memory.sharing, memory.active, memory.dropped)
    signatures = paired(request.signers, request.signatures, "confirmations")
    # Only who sent a vector was asked to confirm; a quorum is enough to look at.
    asked = (name for name in signatures if name in memory.active)
    signed = (name for name in asked if is_signed(site.roster.verify_keys[name], signatures[name], text))
    confirmed = len(tuple(islice(signed, members.shape.quorum)))
    if confirmed < members.shape.quorum:
        raise _refusal(site, f"{confirmed} hospitals confirmed the lists, and {members.shape.quorum} are needed")
    held = paired(memory.senders, memory.shares, "shares")
    seeds = {name: share[SHARE_BYTES:] for name, share in held.items() if name in memory.active}
    keys = {name: share[:SHARE_BYTES] for name, share in held.items() if name in memory.dropped}
    return Memory(stage="unmask", session=memory.session), UnmaskShares(
        seeds_of=tuple(seeds),
        seed_shares=tuple(seeds.values()),
        keys_of=tuple(keys),
        key_shares=tuple(keys.values()),
    )


def _shares(site: Site, members: Members, memory: Memory) -> Shares:
    receivers = tuple(sorted(members.neighbours(site.name)))
    points = {name: members.point(name) for name in receivers}
    key_shares = split(memory.masking_key, points.values(), members.shape.threshold)
    seed_shares = split(memory.seed, points.values(), members.shape.threshold)
    sealed = []
    for name in receivers:
        key = members.sealing_secret(memory.sealing_key, name, sender=site.name, receiver=name)
        text = key_shares[points[name]] + seed_shares[points[name]]
        sealed.append(seal(key, text, members.sealing_context(sender=site.name, receiver=name)))
    commitment = members.commitment(memory.seed, site.name)
    return Shares(receivers=receivers, sealed=tuple(sealed), commitment=commitment)


def _opened(site: Site, members: Members, memory: Memory, sender: str, sealed: bytes) -> bytes:
    key = members.sealing_secret(memory.sealing_key, sender, sender=sender, receiver=site.name)
    try:
        text = unseal(key, sealed, members.sealing_context(sender=sender, receiver=site.name))
    except ProtocolError as error:
        raise _refusal(site, f"from {sender}: {error}") from None
    if len(text) != 2 * SHARE_BYTES:
        raise _refusal(site, f"{sender} sealed {len(text)} bytes, which must be {2 * SHARE_BYTES}")
    return text


def _members(site: Site, terms: Terms, memory: Memory, before: str, session: bytes) -> Members:
    """Return the members of the round, unless a message is of another one or a stage is asked for out of turn."""
    if not session == terms.session == memory.session:
        raise _refusal(
            site, f"a message is of another round or run than round {terms.round_number}, which is under way"
        )
    if memory.stage != before:
        raise _refusal(
            site, f'a stage was asked for out of turn or twice in round {terms.round_number} (after "{memory.stage}")'
        )
    return members_of(terms, memory.told)


def _refusal(site: Site, reason: str) -> Refusal:
    return Refusal(f"{site.name} refuses, and sends nothing: {reason}")
