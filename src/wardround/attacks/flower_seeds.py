"""Masks of Flower's SecAgg+ guessed by a server that follows the protocol: a mask of a pair has a seed of 28 bits.

`pseudo_rand_gen` of flwr 1.41 folds its key into four bytes by exclusive or, and seeds NumPy's MT19937 with them. The
key of a pair is base64, whose bytes are ASCII: the highest bit of each of the four bytes is 0. The first number of a
vector is the number of examples, which travels in clear too. So the first word of all masks together is known.

With one neighbour every seed is tried against that word. With two, a table of all first words is sorted, and the two
seeds meet in the middle. What is left out on purpose: four neighbours and more, whose seeds have 112 bits together.

Source: Matsumoto and Nishimura 1998, "Mersenne Twister" (seeding and tempering as of 2002).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from numpy.typing import NDArray

from wardround.attacks.findings import Finding
from wardround.attacks.flower_secagg import FlowerSecAgg
from wardround.attacks.stages import compared, honest_round
from wardround.attacks.targets import Round, Target, flat
from wardround.errors import ConfigError

__all__ = ["ALL_SEEDS", "guessed_masks", "guessed_update", "pair_seeds", "ring_terms", "stream_words", "word_table"]

ALL_SEEDS = (range(2**28),)
"""Places of all seeds that the mask of two hospitals can have."""
_BLOCK, _CHUNK = 2**14, 2**22
_MIDDLE = 397
_Words = NDArray[np.uint32]


def guessed_masks(target: Target, num_neighbours: int = 2, places: Sequence[range] = ALL_SEEDS) -> Finding:
    """Play an honest round, and then guess the masks that the victim shares with its neighbours.

    All guesses take a minute for one neighbour; for two, some minutes and 3 GiB.

    Args:
        target: with Flower's own protocol.
        num_neighbours: 1 (a round of two hospitals) or 2 (of all; 3 shares with threshold 2, as Flower's example has).
        places: of the seeds that are tried (`pair_seeds`).

    Raises:
        ConfigError: the target has another protocol, one whose masks are not of 32 bits, or other neighbours.
    """
    protocol = target.protocol
    if not isinstance(protocol, FlowerSecAgg) or protocol.modulus_range != 2**32:
        raise ConfigError("masks are guessed of Flower's SecAgg+ with modulus_range = 2^32, and the target has another")
    if num_neighbours not in (1, 2):
        raise ConfigError(f"num_neighbours = {num_neighbours} must be 1 or 2")
    other = next(node_id for node_id in target.node_ids if node_id != target.victim)
    nodes, cohort = target.start(), (target.victim, other) if num_neighbours == 1 else target.node_ids
    round_ = honest_round(nodes, cohort, ring_terms(protocol.terms(nodes, cohort, lowered=True), num_neighbours))
    return Finding(
        attack="guessed masks",
        protocol=protocol.title,
        tried=f"an honest round of {len(cohort)} hospitals, each with {num_neighbours} neighbours; then "
        f"{sum(map(len, places)):,} guesses of the seed of a mask",
        refused=round_.refused,
        learnt=compared(target, guessed_update(round_, target.victim, places)),
        must_refuse="to be masked by less than a cipher's stream under a key of 128 bits or more",
    )


def ring_terms(terms: Any, num_neighbours: int) -> Any:
    """Return the settings of a round in which each has so many neighbours, and two give a secret."""
    return {**terms, Key.SHARE_NUMBER: num_neighbours + 1, Key.THRESHOLD: 2}


def guessed_update(round_: Round, victim: int, places: Sequence[range]) -> NDArray[np.float64] | None:
    """Return the update of one, shape (dimension,), after an honest round; None where no guess is right.

    Args:
        round_: to its end, so that the server has the seeds of all hospitals' own masks.
        victim: whose update; it has one or two neighbours.
        places: of the seeds that are tried (`pair_seeds`).
    """
    if victim not in round_.vectors or ("seed", victim) not in round_.secrets:
        return None
    vector, terms = round_.vectors[victim], round_.terms
    shapes = [part.shape for part in vector]
    own = pseudo_rand_gen(round_.secrets["seed", victim], 2**32, shapes)
    left = [(part - mask) % 2**32 for part, mask in zip(vector, own, strict=True)]
    signs = [1 if victim > other else -1 for other in round_.shares[victim]]
    levels, clip = terms[Key.TARGET_RANGE], terms[Key.CLIPPING_RANGE]
    weight = round(round_.weights[victim] / terms[Key.MAX_WEIGHT] * levels)
    known = np.concatenate([part.reshape(-1) for part in left]).astype(np.uint32)
    known[0] -= np.uint32(weight)
    for seeds in _fitting(known, signs, levels, places):
        values = left
        for seed, sign in zip(seeds, signs, strict=True):
            mask = pseudo_rand_gen(int(seed).to_bytes(4, "little"), 2**32, shapes)
            values = [(part - sign * stream) % 2**32 for part, stream in zip(values, mask, strict=True)]
        if all((part <= levels).all() for part in values):
            parameters = (flat(values[1:]) * (2 * clip / levels) - clip) / (weight / levels)
            update: NDArray[np.float64] = parameters - flat(round_.nodes.target.model.values())
            return update
    return None


def _fitting(known: _Words, signs: Sequence[int], levels: int, places: Sequence[range]) -> Iterator[tuple[Any, ...]]:
    """Yield seeds whose masks have the first word that is known, and leave a small second number."""
    if len(signs) == 1:
        wanted = known[0] if signs[0] > 0 else np.uint32(0) - known[0]
        for seeds in _blocks(places):
            yield from ((seed,) for seed in seeds[stream_words(seeds, 1)[0] == wanted])
        return
    table = word_table(places)
    for first, second in _pairs(table, signs, known[0]):
        ones, others = stream_words(first, 2)[1], stream_words(second, 2)[1]
        rest = known[1] - (ones if signs[0] > 0 else -ones) - (others if signs[1] > 0 else -others)
        yield from zip(first[rest <= levels], second[rest <= levels], strict=True)


def word_table(places: Sequence[range]) -> NDArray[np.uint64]:
    """Return the first word of every seed times 2^32 plus the seed, uint64, sorted."""
    table = np.empty(sum(map(len, places)), np.uint64)
    start = 0
    for seeds in _blocks(places):
        words = stream_words(seeds, 1)[0].astype(np.uint64)
        table[start : start + len(seeds)] = (words << np.uint64(32)) | seeds
        start += len(seeds)
    table.sort()
    return table


def _pairs(table: NDArray[np.uint64], signs: Sequence[int], word: np.uint32) -> Iterator[tuple[_Words, _Words]]:
    """Yield pairs of seeds whose first words, with their signs, add up to a word modulo 2^32."""
    for start in range(0, len(table), _CHUNK):
        part = table[start : start + _CHUNK]
        words = (part >> np.uint64(32)).astype(np.uint32)
        wanted = word - words if signs[0] > 0 else word + words
        wanted = (wanted if signs[1] > 0 else np.uint32(0) - wanted).astype(np.uint64) << np.uint64(32)
        low = np.searchsorted(table, wanted)
        num = np.searchsorted(table, wanted | np.uint64(2**32 - 1), side="right") - low
        first = np.repeat(part, num).astype(np.uint32)
        within = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
        yield first, table[np.repeat(low, num) + within].astype(np.uint32)


def _blocks(places: Sequence[range]) -> Iterator[_Words]:
    for each in places:
        for start in range(each.start, each.stop, _BLOCK):
            yield pair_seeds(range(start, min(start + _BLOCK, each.stop)))


def pair_seeds(places: range) -> _Words:
    """Return the seeds at some places of all that a pair's mask can have, uint32, in ascending order.

    >>> [hex(seed) for seed in pair_seeds(range(127, 129))]
    ['0x7f', '0x100']
    """
    numbers = np.arange(places.start, places.stop, dtype=np.uint32)
    seven = [((numbers >> np.uint32(7 * byte)) & np.uint32(127)) << np.uint32(8 * byte) for byte in range(4)]
    seeds: _Words = np.bitwise_or.reduce(np.stack(seven))
    return seeds


def stream_words(seeds: _Words, num_words: int) -> _Words:
    """Return the first words (1 to 227) of MT19937, shape (num_words, num_seeds), as `RandomState(seed)` draws them.

    >>> stream_words(np.array([5], np.uint32), 2)[:, 0], np.random.RandomState(5).randint(2**32, size=2)
    (array([953453411, 236996814], dtype=uint32), array([953453411, 236996814]))
    """
    state, other = seeds.copy(), np.empty_like(seeds)
    kept = {0: seeds}
    for place in range(1, _MIDDLE + num_words):
        np.right_shift(state, 30, out=other)
        np.bitwise_xor(state, other, out=state)
        np.multiply(state, np.uint32(1_812_433_253), out=state)
        np.add(state, np.uint32(place), out=state)
        if place <= num_words or place >= _MIDDLE:
            kept[place] = state.copy()
    words = np.empty((num_words, len(seeds)), np.uint32)
    for place in range(num_words):
        mixed = (kept[place] & np.uint32(2**31)) | (kept[place + 1] & np.uint32(2**31 - 1))
        word = kept[place + _MIDDLE] ^ (mixed >> np.uint32(1)) ^ (mixed & np.uint32(1)) * np.uint32(0x9908B0DF)
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
        words[place] = word ^ (word >> np.uint32(18))
    return words
