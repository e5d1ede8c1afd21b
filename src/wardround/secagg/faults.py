"""What is wrong with hospitals' replies in a secure sum, as far as the server can tell, so that it can leave them out.

A reply that got past these can't spoil the sum of the others, except through what is sealed, which its receivers find,
and through shares, which are checked against commitments and keys (`server.take_off_masks`). What is left out on
purpose: types and lengths of single values (`typed_records`).
"""

from collections import Counter
from collections.abc import Mapping

from wardround.errors import ProtocolError
from wardround.secagg.keys import KEY_BYTES, SEALED_EXTRA_BYTES, agree, is_signed
from wardround.secagg.members import Members, advertised_text
from wardround.secagg.records import Advertisement, Shares, UnmaskShares, paired
from wardround.secagg.shamir import SHARE_BYTES
from wardround.secagg.sites import Roster
from wardround.secagg.terms import Terms

__all__ = ["check_advertisement", "check_shares", "check_unmasking", "doubles"]

_SEALED_BYTES = 2 * SHARE_BYTES + SEALED_EXTRA_BYTES
_ANY_PRIVATE_KEY = bytes(KEY_BYTES)  # the unsound keys are unsound with any


def check_advertisement(terms: Terms, roster: Roster, ad: Advertisement) -> None:
    """Refuse keys that are not of who they say, or with which nothing can be agreed on but zeros.

    Raises:
        ProtocolError: naming the hospital.
    """
    text = advertised_text(terms.session, ad.name, ad.sealing_key, ad.masking_key)
    if not is_signed(roster.verify_keys.get(ad.name, b""), ad.signature, text):
        raise ProtocolError(f"it is not who it says, hospital {ad.name} of the roster")
    try:
        for key in (ad.sealing_key, ad.masking_key):
            agree(_ANY_PRIVATE_KEY, key)
    except ProtocolError:
        raise ProtocolError(f"hospital {ad.name} advertised a key with which nothing can be agreed on") from None


def doubles(advertisements: Mapping[int, Advertisement]) -> dict[int, str]:
    """Return by node why its advertisement, sound in itself, can't stand beside another's."""
    names = Counter(ad.name for ad in advertisements.values())
    keys = Counter(key for ad in advertisements.values() for key in (ad.sealing_key, ad.masking_key))
    faults = {}
    for node_id, ad in advertisements.items():
        if names[ad.name] > 1:
            faults[node_id] = f"{names[ad.name]} nodes have the key of hospital {ad.name}: start one of them"
        elif keys[ad.sealing_key] > 1 or keys[ad.masking_key] > 1:
            faults[node_id] = f"hospital {ad.name} advertised a key that was advertised twice"
    return faults


def check_shares(members: Members, name: str, reply: Shares) -> None:
    """Refuse a hospital's shares as far as anyone but their receivers can tell.

    Raises:
        ProtocolError: they are not for its neighbours, or have another length than all have.
    """
    for_neighbours = len(reply.receivers) == len(reply.sealed) == len(members.neighbours(name))
    if not for_neighbours or frozenset(reply.receivers) != members.neighbours(name):
        raise ProtocolError("it sealed shares for others than its neighbours, or for one twice")
    if {len(sealed) for sealed in reply.sealed} != {_SEALED_BYTES} or len(reply.commitment) != KEY_BYTES:
        raise ProtocolError("its sealed shares or its commitment have another length than all have")


def check_unmasking(reply: UnmaskShares) -> None:
    """Refuse lists of shares that are none.

    Raises:
        ProtocolError: naming the list.
    """
    seeds = paired(reply.seeds_of, reply.seed_shares, "seeds' shares")
    keys = paired(reply.keys_of, reply.key_shares, "keys' shares")
    if any(len(share) != SHARE_BYTES for share in (*seeds.values(), *keys.values())):
        raise ProtocolError(f"a share has another length than {SHARE_BYTES} bytes")
