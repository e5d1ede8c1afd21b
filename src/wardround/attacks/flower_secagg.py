"""Flower's own SecAgg+ (`secaggplus_mod`), spoken to by a server that does as it likes.

Everything here was read from flwr 1.41. An app behind that mod is of the legacy kind: its messages are fit
instructions, and what is summed is parameters, times the number of examples, in whole numbers.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, cast

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common import FitIns, bytes_to_ndarray, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
    share_keys_plaintext_separate,
)
from flwr.compat.common import recorddict_compat as compat
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)
from numpy.typing import NDArray

from wardround.attacks.findings import Learnt
from wardround.attacks.stages import asked
from wardround.attacks.targets import Arrays, Lists, Nodes, Round, flat

__all__ = ["FlowerSecAgg"]

_FAR = 1e6
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerSecAgg:
    """Flower's protocol, with the settings of its `SecAggPlusWorkflow`; hospitals take any.

    Attributes:
        max_weight: largest number of examples.
        clipping_range: largest magnitude of a parameter times the hospital's share of max_weight.
        quantization_range: whole numbers that the range from -clipping_range to it has.
        modulus_range: that masks and sums are taken modulo.
    """

    max_weight: float = 1000.0
    clipping_range: float = 8.0
    quantization_range: int = 2**22
    modulus_range: int = 2**32

    @property
    def title(self) -> str:
        """Its name and the version of Flower."""
        return f"Flower's SecAgg+ (flwr {version('flwr')})"

    def content(self, arrays: Arrays, config: Mapping[str, Any]) -> RecordDict:
        """Return fit instructions."""
        parameters = ndarrays_to_parameters([np.asarray(array) for array in arrays.values()])
        return compat.fitins_to_recorddict(FitIns(parameters, dict(config)), keep_input=True)

    def trained(self, reply: Message) -> tuple[Sequence[NDArray[Any]], float]:
        """Return parameters and number of examples of a fit result."""
        result = compat.recorddict_to_fitres(reply.content, keep_input=True)
        return parameters_to_ndarrays(result.parameters), float(result.num_examples)

    def terms(self, nodes: Nodes, cohort: Sequence[int], *, lowered: bool = False) -> Mapping[str, Any]:
        """Return the settings of a round; the threshold is a majority, or as low as Flower takes it."""
        return {
            Key.SAMPLE_NUMBER: len(cohort),
            Key.SHARE_NUMBER: len(cohort),
            Key.THRESHOLD: min(2, len(cohort)) if lowered else len(nodes.contexts) // 2 + 1,
            Key.CLIPPING_RANGE: float(self.clipping_range),
            Key.TARGET_RANGE: self.quantization_range,
            Key.MOD_RANGE: self.modulus_range,
            Key.MAX_WEIGHT: float(self.max_weight),
        }

    def set_up(self, round_: Round) -> Round:
        """Ask the cohort for keys."""
        contents = {node_id: _content(Stage.SETUP, round_.terms) for node_id in round_.cohort}
        round_, keys = asked(round_, Stage.SETUP, contents, _config)
        return replace(
            round_, keys={n: (reply[Key.PUBLIC_KEY_1], reply[Key.PUBLIC_KEY_2]) for n, reply in keys.items()}
        )

    def share_keys(self, round_: Round, *, num_invented: int = 0) -> Round:
        """Show everybody all keys; those that were invented sealed shares for everybody, and open what they got."""
        start = max(round_.nodes.contexts) + 1
        pairs = {
            node_id: (generate_key_pairs(), generate_key_pairs()) for node_id in range(start, start + num_invented)
        }
        public = {n: (public_key_to_bytes(one[1]), public_key_to_bytes(two[1])) for n, (one, two) in pairs.items()}
        every = {**round_.keys, **public}
        contents = {
            node_id: _content(Stage.SHARE_KEYS, {str(n): list(every[n]) for n in _near(round_.terms, every, node_id)})
            for node_id in round_.keys
        }
        round_, replies = asked(round_, Stage.SHARE_KEYS, contents, _config)
        shares = {
            n: dict(zip(r[Key.DESTINATION_LIST], r[Key.CIPHERTEXT_LIST], strict=True)) for n, r in replies.items()
        }
        secrets = {("key", node_id): private_key_to_bytes(one[0]) for node_id, (one, _) in pairs.items()}
        opened: dict[tuple[str, int], list[bytes]] = {}
        for node_id, (_, two) in pairs.items():
            shares[node_id] = {}
            for owner in replies:
                key = generate_shared_key(two[0], bytes_to_public_key(round_.keys[owner][1]))
                *_, seed, masking = share_keys_plaintext_separate(decrypt(key, shares[owner][node_id]))
                opened.setdefault(("seed", owner), []).append(seed)
                opened.setdefault(("key", owner), []).append(masking)
                made_up = create_shares(os.urandom(32), 1, 1)[0]
                shares[node_id][owner] = encrypt(key, share_keys_plaintext_concat(node_id, owner, made_up, made_up))
        secrets |= _combined(opened, round_.terms[Key.THRESHOLD])
        return replace(round_, keys={**round_.keys, **public}, shares=shares, secrets=secrets)

    def collect(self, round_: Round, models: Mapping[int, Arrays] | None = None) -> Round:
        """Ask those who shared for their vectors."""
        target, contents = round_.nodes.target, {}
        for node_id in (node_id for node_id in round_.cohort if node_id in round_.shares):
            sealed = {source: own[node_id] for source, own in round_.shares.items() if node_id in own}
            told = {Key.CIPHERTEXT_LIST: list(sealed.values()), Key.SOURCE_LIST: list(sealed)}
            content = self.content((models or {}).get(node_id, target.model), target.config)
            content[RECORD_KEY_CONFIGS] = ConfigRecord({Key.STAGE: Stage.COLLECT_MASKED_VECTORS, **told})
            contents[node_id] = content
        round_, replies = asked(round_, Stage.COLLECT_MASKED_VECTORS, contents, lambda reply: reply)
        vectors = {
            node_id: [bytes_to_ndarray(part) for part in cast(list[bytes], _config(reply)[Key.MASKED_PARAMETERS])]
            for node_id, reply in replies.items()
        }
        # The number of examples is beside the masked vector, in clear.
        weights = {node_id: self.trained(reply)[1] for node_id, reply in replies.items()}
        return replace(round_, vectors=vectors, weights=weights)

    def unmask(self, round_: Round, lists: Lists) -> Round:
        """Ask everybody who sent a vector for the shares of the lists that it is told."""
        contents = {}
        for node_id in round_.vectors:
            active, dropped = (_near(round_.terms, round_.keys, node_id, part) for part in lists(node_id))
            told = {Key.ACTIVE_NODE_ID_LIST: active, Key.DEAD_NODE_ID_LIST: dropped}
            contents[node_id] = _content(Stage.UNMASK, told)
        round_, replies = asked(round_, Stage.UNMASK, contents, _config)
        held: dict[tuple[str, int], list[bytes]] = {}
        for node_id, reply in replies.items():
            num_active = len(_near(round_.terms, round_.keys, node_id, lists(node_id)[0]))
            pairs = zip(cast(list[int], reply[Key.NODE_ID_LIST]), cast(list[bytes], reply[Key.SHARE_LIST]), strict=True)
            for place, (owner, share) in enumerate(pairs):
                held.setdefault(("seed" if place < num_active else "key", owner), []).append(share)
        return replace(round_, secrets={**round_.secrets, **_combined(held, round_.terms[Key.THRESHOLD])})

    def summed(self, round_: Round, members: Sequence[int]) -> tuple[NDArray[np.float64], float] | None:
        """Return the weighted sum of updates, less what every member was sent, and of weights."""
        total = _bared(round_, members)
        if total is None:
            return None
        values, weight = self._decoded(round_, total, len(members))
        return values - weight * flat(round_.nodes.target.model.values()), weight

    def silencing(self, model: Arrays) -> Arrays:
        """Return parameters far beyond the clip, which all of them are held to after training."""
        return {name: np.full_like(array, _FAR) for name, array in model.items()}

    def among_silent(self, round_: Round, victim: int) -> NDArray[np.float64] | None:
        """Return the update of one, all others' parameters being as large as the clip."""
        total = _bared(round_, list(round_.vectors))
        if total is None:
            return None
        values, _ = self._decoded(round_, total, len(round_.vectors))
        values -= (len(round_.vectors) - 1) * round_.terms[Key.CLIPPING_RANGE]
        levels = round_.terms[Key.TARGET_RANGE]
        weight = round(round_.weights[victim] / round_.terms[Key.MAX_WEIGHT] * levels) / levels
        update: NDArray[np.float64] = values / weight - flat(round_.nodes.target.model.values())
        return update

    def weakened(self, nodes: Nodes, victim: int) -> tuple[str, Round, Learnt | None]:
        """Ask for one bit of every parameter, modulo 2: masks are drawn below modulus - 1, and so all of them are 0."""
        target = nodes.target
        weak = {Key.MOD_RANGE: 2, Key.TARGET_RANGE: 1, Key.CLIPPING_RANGE: _TINY, Key.MAX_WEIGHT: 1.0}
        terms = {**self.terms(nodes, target.node_ids), **weak}
        round_ = self.collect(self.share_keys(self.set_up(Round(nodes=nodes, cohort=target.node_ids, terms=terms))))
        tried = f"modulus 2, 1 step and a clip of {_TINY:g} at set-up; nobody is asked to unmask"
        if victim not in round_.vectors:
            return tried, round_, None
        signs = flat(round_.vectors[victim][1:]) > 0
        true, _ = target.trained(victim)
        shown = np.abs(true) > _TINY
        if not shown.any():
            return tried, round_, None
        wrong = float(np.mean(signs[shown] != (true[shown] > 0)))
        what = f"the sign of every parameter that node {victim} trained, from its masked vector alone"
        return tried, round_, Learnt(what=what, error=2 * wrong, num_numbers=int(shown.sum()))

    def _decoded(
        self, round_: Round, total: Sequence[NDArray[Any]], num_members: int
    ) -> tuple[NDArray[np.float64], float]:
        """Return the sums of weighted parameters and of weights, as shares of the largest."""
        levels, clip = round_.terms[Key.TARGET_RANGE], round_.terms[Key.CLIPPING_RANGE]
        return flat(total[1:]) * (2 * clip / levels) - num_members * clip, float(total[0][0]) / levels


def _masks(round_: Round, members: Iterable[int]) -> list[tuple[bytes, int]] | None:
    """Return the seeds of all masks in the sum of some vectors, each with the sign that it has; None where one lacks.

    The masks of two members cancel each other.
    """
    inside, masks = frozenset(members), []
    for node_id in sorted(inside):
        if ("seed", node_id) not in round_.secrets:
            return None
        masks.append((round_.secrets["seed", node_id], 1))
        for other in sorted(source for source in round_.shares if source not in inside):
            if node_id not in round_.shares[other]:
                continue
            owner, partner = (node_id, other) if ("key", node_id) in round_.secrets else (other, node_id)
            if ("key", owner) not in round_.secrets:
                return None
            private = bytes_to_private_key(round_.secrets["key", owner])
            shared = generate_shared_key(private, bytes_to_public_key(round_.keys[partner][0]))
            masks.append((shared, 1 if node_id > other else -1))
    return masks


def _bared(round_: Round, members: Sequence[int]) -> list[NDArray[Any]] | None:
    """Return the sum of some vectors without masks, in whole numbers; None where a secret or a vector is missing."""
    masks = _masks(round_, members) if members else None
    if masks is None or not frozenset(members) <= round_.vectors.keys():
        return None
    total = [np.sum(parts, axis=0) for parts in zip(*(round_.vectors[n] for n in members), strict=True)]
    modulus = round_.terms[Key.MOD_RANGE]
    for seed, sign in masks:
        stream = pseudo_rand_gen(seed, modulus, [part.shape for part in total])
        total = [part - sign * mask for part, mask in zip(total, stream, strict=True)]
    return [part % modulus for part in total]


def _near(
    terms: Mapping[str, Any], everybody: Iterable[int], node_id: int, among: frozenset[int] | None = None
) -> list[int]:
    """Return a node and its neighbours, those among some: the nearest on a ring, as there are shares, or all."""
    order = sorted(everybody)
    place, half = order.index(node_id), terms[Key.SHARE_NUMBER] // 2
    steps = range(len(order)) if terms[Key.SHARE_NUMBER] >= len(order) else range(-half, half + 1)
    near = {order[(place + step) % len(order)] for step in steps}
    return sorted(near if among is None else near & among)


def _combined(shares: Mapping[tuple[str, int], Sequence[bytes]], threshold: int) -> dict[tuple[str, int], bytes]:
    return {which: combine_shares(list(held)) for which, held in shares.items() if len(held) >= threshold}


def _content(stage: str, values: Mapping[str, Any]) -> RecordDict:
    return RecordDict({RECORD_KEY_CONFIGS: ConfigRecord({**values, Key.STAGE: stage})})


def _config(reply: Message) -> ConfigRecord:
    return reply.content.config_records[RECORD_KEY_CONFIGS]
