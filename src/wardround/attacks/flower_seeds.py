"""Masks of Flower's SecAgg+ guessed: a mask is drawn from a seed of 32 bits, one of two hospitals from 28.

`pseudo_rand_gen` of flwr 1.41 folds its key into four bytes by exclusive or, and seeds NumPy's MT19937 with them. The
key of a pair is base64, whose bytes are ASCII: the highest bit of each of the four bytes is 0. The first number of a
vector is the number of examples, which travels in clear too: so the first word of the mask is known, and every guess of
a seed can be tried against it.

Source: Matsumoto and Nishimura 1998, "Mersenne Twister" (seeding and tempering as of 2002).
"""

import numpy as np
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from numpy.typing import NDArray

from wardround.attacks.findings import Finding
from wardround.attacks.flower_secagg import FlowerSecAgg
from wardround.attacks.stages import compared, honest_round
from wardround.attacks.targets import Round, Target, flat
from wardround.errors import ConfigError

__all__ = ["NUM_SEEDS", "first_words", "guessed_mask", "guessed_update", "pair_seeds"]

NUM_SEEDS = 2**28
"""Seeds that the mask of two hospitals can have."""
_BLOCK = 2**14
_MIDDLE = 397


def guessed_mask(target: Target, places: range = range(NUM_SEEDS)) -> Finding:
    """Play an honest round of two hospitals, and then guess the mask that they share; all guesses take a minute.

    Args:
        target: with Flower's own protocol.
        places: of the seeds that are tried (`pair_seeds`).

    Raises:
        ConfigError: the target has another protocol, or one whose masks are not of 32 bits.
    """
    protocol = target.protocol
    if not isinstance(protocol, FlowerSecAgg) or protocol.modulus_range != 2**32:
        raise ConfigError("masks are guessed of Flower's SecAgg+ with modulus_range = 2^32, and the target has another")
    other = next(node_id for node_id in target.node_ids if node_id != target.victim)
    nodes, cohort = target.start(), (target.victim, other)
    round_ = honest_round(nodes, cohort, protocol.terms(nodes, cohort, lowered=True))
    return Finding(
        attack="guessed mask",
        protocol=protocol.title,
        tried=f"an honest round of nodes {target.victim} and {other}; then {len(places):,} guesses of their mask",
        refused=round_.refused,
        learnt=compared(target, guessed_update(round_, target.victim, other, places)),
        must_refuse="to be masked by less than a cipher's stream under a key of 128 bits or more",
    )


def guessed_update(round_: Round, victim: int, other: int, places: range) -> NDArray[np.float64] | None:
    """Return the update of one of two, shape (dimension,), after an honest round of both; None where no guess is right.

    Args:
        round_: to its end, so that the server has the seeds of both hospitals' own masks.
        victim: whose update.
        other: the second hospital.
        places: of the seeds that are tried (`pair_seeds`).
    """
    if not {victim, other} <= round_.vectors.keys() or ("seed", victim) not in round_.secrets:
        return None
    vector, levels = round_.vectors[victim], round_.terms[Key.TARGET_RANGE]
    shapes = [part.shape for part in vector]
    own = pseudo_rand_gen(round_.secrets["seed", victim], 2**32, shapes)
    left = [part - mask for part, mask in zip(vector, own, strict=True)]
    sign = 1 if victim > other else -1
    weight = round(round_.weights[victim] / round_.terms[Key.MAX_WEIGHT] * levels)
    word = np.uint32(sign * (int(left[0][0]) - weight) % 2**32)
    for start in range(places.start, places.stop, _BLOCK):
        seeds = pair_seeds(range(start, min(start + _BLOCK, places.stop)))
        for seed in seeds[first_words(seeds) == word]:
            mask = pseudo_rand_gen(int(seed).to_bytes(4, "little"), 2**32, shapes)
            values = [(part - sign * stream) % 2**32 for part, stream in zip(left, mask, strict=True)]
            if all((part <= levels).all() for part in values):
                clip = round_.terms[Key.CLIPPING_RANGE]
                parameters = (flat(values[1:]) * (2 * clip / levels) - clip) / (weight / levels)
                update: NDArray[np.float64] = parameters - flat(round_.nodes.target.model.values())
                return update
    return None


def pair_seeds(places: range) -> NDArray[np.uint32]:
    """Return the seeds at some places of all that a pair's mask can have, uint32, in ascending order.

    >>> [hex(seed) for seed in pair_seeds(range(127, 129))]
    ['0x7f', '0x100']
    """
    numbers = np.arange(places.start, places.stop, dtype=np.uint32)
    seven = (((numbers >> np.uint32(7 * byte)) & np.uint32(127)) << np.uint32(8 * byte) for byte in range(4))
    seeds: NDArray[np.uint32] = np.bitwise_or.reduce(np.stack(list(seven)))
    return seeds


def first_words(seeds: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return by seed the first word of MT19937, of the same shape, as `numpy.random.RandomState(seed)` draws it.

    >>> first_words(np.array([5], np.uint32)), np.random.RandomState(5).randint(2**32, size=1)
    (array([953453411], dtype=uint32), array([953453411]))
    """
    state, other = seeds.copy(), np.empty_like(seeds)
    second = state
    for place in range(1, _MIDDLE + 1):
        np.right_shift(state, 30, out=other)
        np.bitwise_xor(state, other, out=state)
        np.multiply(state, np.uint32(1_812_433_253), out=state)
        np.add(state, np.uint32(place), out=state)
        if place == 1:
            second = state.copy()
    mixed = (seeds & np.uint32(2**31)) | (second & np.uint32(2**31 - 1))
    word = state ^ (mixed >> np.uint32(1)) ^ (second & np.uint32(1)) * np.uint32(0x9908B0DF)
    word ^= word >> np.uint32(11)
    word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
    word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
    tempered: NDArray[np.uint32] = word ^ (word >> np.uint32(18))
    return tempered
