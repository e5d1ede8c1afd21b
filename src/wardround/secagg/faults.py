"""What is wrong with hospitals' replies in a secure sum, as far as the server can tell, so that it can leave them out.

A reply that got past these can't spoil the sum of the others, except through what is sealed, which its receivers find,
and through shares, which are checked against commitments and keys (`server.take_off_masks`). What is left out on
purpose: types and lengths of single values (`typed_records`).
"""

from collections import Counter
from collections.abc import Mapping

from wardround.errors import ProtocolError
from wardround.secagg.keys import KEY_BYTES, SEALED_EXTRA_BYTES, agree, is_signed, new_private_key
from wardround.secagg.members import Members, advertised_text
from wardround.secagg.records import Advertisement, Confirmation, ConfirmRequest, Shares, UnmaskShares, paired
from wardround.secagg.shamir import SHARE_BYTES
from wardround.secagg.sites import Roster
from wardround.secagg.terms import Terms

__all__ = ["faults_in_advertisements", "faults_in_confirmations", "faults_in_shares", "faults_in_unmasking"]

_SEALED_BYTES = 2 * SHARE_BYTES + SEALED_EXTRA_BYTES


def faults_in_advertisements(
    terms: Terms, roster: Roster, advertisements: Mapping[int, Advertisement]
) -> dict[int, str]:
    """Return by node what is wrong with its advertisement: one that is let through can't spoil the others' round."""
    faults = {}
    private_key = new_private_key()  # whatever it is: the unsound keys are unsound with any
    for node_id, ad in advertisements.items():
        text = advertised_text(terms.session, ad.name, ad.sealing_key, ad.masking_key)
        if not is_signed(roster.verify_keys.get(ad.name, b""), ad.signature, text):
            faults[node_id] = f"it is not who it says, hospital {ad.name} of the roster"
        elif not all(_is_sound(key, private_key) for key in (ad.sealing_key, ad.masking_key)):
            faults[node_id] = f"hospital {ad.name} advertised a key with which nothing can be agreed on"
    sound = {node_id: ad for node_id, ad in advertisements.items() if node_id not in faults}
    names = Counter(ad.name for ad in sound.values())
    keys = Counter(key for ad in sound.values() for key in (ad.sealing_key, ad.masking_key))
    for node_id, ad in sound.items():
        if names[ad.name] > 1:
            faults[node_id] = f"{names[ad.name]} nodes have the key of hospital {ad.name}: start one of them"
        elif keys[ad.sealing_key] > 1 or keys[ad.masking_key] > 1:
            faults[node_id] = f"hospital {ad.name} advertised a key that was advertised twice"
    return faults


def faults_in_shares(members: Members, shares: Mapping[str, Shares]) -> dict[str, str]:
    """Return by name what is wrong with a hospital's shares, as far as anyone but their receivers can tell."""
    faults = {}
    for name, reply in shares.items():
        for_neighbours = len(reply.receivers) == len(reply.sealed) == len(members.neighbours(name))
        if not for_neighbours or frozenset(reply.receivers) != members.neighbours(name):
            faults[name] = "it sealed shares for others than its neighbours, or for one twice"
        elif {len(sealed) for sealed in reply.sealed} != {_SEALED_BYTES} or len(reply.commitment) != KEY_BYTES:
            faults[name] = "its sealed shares or its commitment have another length than all have"
    return faults


def faults_in_confirmations(
    members: Members, roster: Roster, request: ConfirmRequest, confirmations: Mapping[str, Confirmation]
) -> dict[str, str]:
    """Return by name who did not sign the lists, with the key that the roster has for it."""
    text = members.confirmed_text((*request.active, *request.dropped), request.active, request.dropped)
    return {
        name: "its confirmation is not signed with its key"
        for name, reply in confirmations.items()
        if not is_signed(roster.verify_keys[name], reply.signature, text)
    }


def faults_in_unmasking(replies: Mapping[str, UnmaskShares]) -> dict[str, str]:
    """Return by name whose lists of shares are not lists of shares."""
    faults = {}
    for name, reply in replies.items():
        try:
            seeds = paired(reply.seeds_of, reply.seed_shares, "seeds' shares")
            keys = paired(reply.keys_of, reply.key_shares, "keys' shares")
        except ProtocolError as error:
            faults[name] = str(error)
            continue
        if any(len(share) != SHARE_BYTES for share in (*seeds.values(), *keys.values())):
            faults[name] = f"a share has another length than {SHARE_BYTES} bytes"
    return faults


def _is_sound(key: bytes, private_key: bytes) -> bool:
    """Return whether something can be agreed on with a public key; with some, everyone agrees on nothing but zeros."""
    try:
        agree(private_key, key)
    except ProtocolError:
        return False
    return True
