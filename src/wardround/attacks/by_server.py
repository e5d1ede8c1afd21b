"""What a malicious server does: each attack plays a round by its own rules, and says what it has in the end.

All of them are against one hospital, the target's victim, and need nobody's help. What is left out on purpose:
hospitals that collude with the server, and the difference of two sums that the hospitals agreed to, against which noise
stands and no protocol does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wardround.attacks.findings import Finding, Learnt, Refused
from wardround.attacks.stages import compared, honest_round
from wardround.attacks.targets import Nodes, Round, Target, flat
from wardround.errors import ProtocolError

__all__ = [
    "ATTACKS",
    "Attack",
    "another_model",
    "asked_in_clear",
    "invented_hospitals",
    "lowered_noise",
    "lists_that_differ",
    "overlapping_lists",
    "replayed_round",
    "singled_out",
    "unmask_asked_again",
    "weakened_settings",
]

Attack = Callable[[Target], Finding]
_NUM_PAIRS = 8
_NAMES_OF_TRAINING = ("train", "train.default")


def asked_in_clear(target: Target) -> Finding:
    """Ask for training without the protocol's part, by both names that Flower has for it."""
    nodes, content = target.start(), target.protocol.content(target.model, target.config)
    refused, learnt = [], None
    for message_type in _NAMES_OF_TRAINING:
        reply = nodes.ask(target.victim, content, message_type)
        if isinstance(reply, str):
            refused.append(Refused(node_id=target.victim, stage=message_type, reason=reply))
            continue
        try:
            arrays, _ = target.protocol.trained(reply)
        except (KeyError, ValueError, ProtocolError):
            continue
        learnt = compared(target, flat(arrays) - flat(target.model.values()))
    return _finding(
        target,
        "asked in clear",
        f"a message to train without the protocol's part, as {' and as '.join(_NAMES_OF_TRAINING)}",
        Round(nodes=nodes, cohort=(target.victim,), terms=None, refused=tuple(refused)),
        learnt,
        "every message to train that has no part of the protocol, whatever the action is called",
    )


def overlapping_lists(target: Target) -> Finding:
    """List one hospital as active and as dropped, which gives both its secrets."""
    everybody = frozenset(target.node_ids)

    def played(nodes: Nodes, terms: Any) -> Round:
        round_ = target.protocol.collect(_keys_shared(nodes, terms))
        return target.protocol.unmask(round_, lambda node_id: (everybody, frozenset({target.victim})))

    return _with_either_threshold(
        target,
        target.node_ids,
        played,
        "overlapping lists",
        f"an honest round up to unmasking, where node {target.victim} is listed as active and as dropped",
        "lists of active and dropped hospitals that are not apart",
    )


def lists_that_differ(target: Target) -> Finding:
    """Tell half of the hospitals that one is active, and the other half that it dropped out."""
    everybody, victim = frozenset(target.node_ids), frozenset({target.victim})
    half = frozenset(target.node_ids[: len(target.node_ids) // 2])

    def lists(node_id: int) -> tuple[frozenset[int], frozenset[int]]:
        return (everybody, frozenset()) if node_id in half else (everybody - victim, victim)

    return _with_either_threshold(
        target,
        target.node_ids,
        lambda nodes, terms: target.protocol.unmask(target.protocol.collect(_keys_shared(nodes, terms)), lists),
        "lists that differ",
        f"node {target.victim} is active in the list of one half of the hospitals, and dropped in that of the other",
        "thresholds other than agreed, and lists that a majority of the round did not confirm by signature",
    )


def unmask_asked_again(target: Target) -> Finding:
    """End an honest round, and then ask for the secrets of the dropped with one more among them."""
    everybody, victim = frozenset(target.node_ids), frozenset({target.victim})

    def played(nodes: Nodes, terms: Any) -> Round:
        round_ = honest_round(nodes, target.node_ids, terms)
        return target.protocol.unmask(round_, lambda node_id: (everybody - victim, victim))

    return _with_either_threshold(
        target,
        target.node_ids,
        played,
        "unmasking asked again",
        f"an honest round to its end; then the last stage once more, with node {target.victim} as dropped",
        "a stage that it has answered, and lists other than those that it confirmed",
    )


def singled_out(target: Target) -> Finding:
    """Ask for the sum of one hospital alone."""
    cohort = (target.victim,)
    return _with_either_threshold(
        target,
        cohort,
        lambda nodes, terms: honest_round(nodes, cohort, terms),
        "a cohort of one",
        f"a round of node {target.victim} and nobody else",
        "a round of fewer hospitals than a number of its own, which no message can lower",
    )


def invented_hospitals(target: Target) -> Finding:
    """Ask one hospital for a round with others that the server made up, and whose keys are its own."""
    protocol, cohort, num_invented = target.protocol, (target.victim,), len(target.node_ids) - 1
    nodes = target.start()
    round_ = protocol.set_up(Round(nodes=nodes, cohort=cohort, terms=protocol.terms(nodes, target.node_ids)))
    round_ = protocol.collect(protocol.share_keys(round_, num_invented=num_invented))
    return _finding(
        target,
        "invented hospitals",
        f"a round of node {target.victim} and {num_invented} hospitals that are the server's own; nobody is asked to "
        "unmask",
        round_,
        _by_itself(target, round_),
        "keys that no hospital signed whose long-term key it has from elsewhere than the server",
    )


def another_model(target: Target) -> Finding:
    """Send one hospital the model, and the others one on which what they send is known (Pasquini et al. 2022)."""
    protocol = target.protocol
    silent = protocol.silencing(target.model)
    nodes = target.start()
    round_ = _keys_shared(nodes, protocol.terms(nodes, target.node_ids))
    round_ = protocol.collect(round_, {node_id: silent for node_id in target.node_ids if node_id != target.victim})
    active = frozenset(round_.vectors)
    round_ = protocol.unmask(round_, lambda node_id: (active, frozenset(target.node_ids) - active))
    has = protocol.among_silent(round_, target.victim) if len(active) > 1 else None
    return _finding(
        target,
        "another model for one",
        f"the model for node {target.victim}, and for all others one that leaves nothing of their data in the sum",
        round_,
        compared(target, has),
        "parameters and settings whose digest the keys of the round do not cover",
    )


def weakened_settings(target: Target) -> Finding:
    """Set what hospitals take from the server so that masks, or refusals, tell what they are to hide."""
    tried, round_, learnt = target.protocol.weakened(target.start(), target.victim)
    must_refuse = "bounds, ranges and noise other than those that its own side states"
    return _finding(target, "weakened settings", tried, round_, learnt, must_refuse)


def replayed_round(target: Target) -> Finding:
    """Ask for an old round again without one hospital; the difference of the sums is that one's."""
    nodes = target.start()
    first = honest_round(nodes, target.node_ids, target.protocol.terms(nodes, target.node_ids))
    others = tuple(node_id for node_id in target.node_ids if node_id != target.victim)
    second = honest_round(nodes, others, first.terms)
    whole, rest = (target.protocol.summed(each, each.cohort) for each in (first, second))
    has = None
    if whole is not None and rest is not None and whole[1] != rest[1]:
        has = (whole[0] - rest[0]) / (whole[1] - rest[1])
    return _finding(
        target,
        "an old round again",
        f"an honest round to its end; then the same round again, of all but node {target.victim}",
        replace(second, refused=first.refused + second.refused),
        compared(target, has),
        "a round that it has answered, also after a restart",
    )


def lowered_noise(target: Target) -> Finding:
    """Ask for less noise (`Target.weak_config`), and see whether sums of the same differ less from each other.

    Raises:
        ProtocolError: the target names no such settings, or its app draws no noise of its own.
    """
    if not target.weak_config:
        raise ProtocolError("the target names no weak_config: name settings under which an app would add less noise")
    _, own = _spread(target, {})
    if not own:
        raise ProtocolError("the app's sums do not differ from round to round: it draws no noise, or from a seed")
    refused, weak = _spread(target, target.weak_config)
    what = "sums with the noise that it asked for; the error is their spread, divided by that under the app's own"
    learnt = None if weak is None else Learnt(what=what, error=weak / own, num_numbers=len(flat(target.model.values())))
    return Finding(
        attack="lowered noise",
        protocol=target.protocol.title,
        tried=f"honest rounds, two and two alike, whose messages say {dict(target.weak_config)}",
        refused=refused,
        learnt=learnt,
        must_refuse="noise other than its own side states",
    )


ATTACKS: tuple[Attack, ...] = (
    asked_in_clear,
    overlapping_lists,
    lists_that_differ,
    unmask_asked_again,
    singled_out,
    invented_hospitals,
    another_model,
    weakened_settings,
    replayed_round,
    lowered_noise,
)
"""All of them; the last is for targets that name a `weak_config`."""


def _keys_shared(nodes: Nodes, terms: Any) -> Round:
    protocol, cohort = nodes.target.protocol, nodes.target.node_ids
    return protocol.share_keys(protocol.set_up(Round(nodes=nodes, cohort=cohort, terms=terms)))


def _with_either_threshold(
    target: Target,
    cohort: Sequence[int],
    play: Callable[[Nodes, Any], Round],
    attack: str,
    tried: str,
    must_refuse: str,
) -> Finding:
    """Return what came of a round that is played with the thresholds as agreed, and with the lowest."""
    learnt: list[Learnt] = []
    rounds = []
    for lowered in (False, True):
        nodes = target.start()
        rounds.append(play(nodes, target.protocol.terms(nodes, cohort, lowered=lowered)))
        learnt += [each for each in [_by_itself(target, rounds[-1])] if each is not None]
    both = replace(rounds[0], refused=rounds[0].refused + rounds[1].refused)
    tried += "; with thresholds as agreed, and with the lowest"
    most = min(learnt, key=lambda each: each.error, default=None)
    return _finding(target, attack, tried, both, most, must_refuse)


def _by_itself(target: Target, round_: Round) -> Learnt | None:
    summed = target.protocol.summed(round_, [target.victim])
    return compared(target, None if summed is None else summed[0] / summed[1])


def _spread(target: Target, config: Mapping[str, Any]) -> tuple[tuple[Refused, ...], float | None]:
    """Return refusals, and the root mean square of the difference of two sums of the same; None without sums."""
    asked = replace(target, config={**target.config, **config})
    refused: tuple[Refused, ...] = ()
    squares = []
    for _ in range(_NUM_PAIRS):
        sums = []
        for _ in range(2):
            nodes = asked.start()
            round_ = honest_round(nodes, asked.node_ids, asked.protocol.terms(nodes, asked.node_ids))
            refused += round_.refused
            summed = asked.protocol.summed(round_, sorted(round_.vectors))
            if summed is None or not summed[1]:
                return refused, None
            sums.append(summed[0] / summed[1])
        squares.append(np.mean((sums[0] - sums[1]) ** 2))
    return refused, float(np.sqrt(np.mean(squares)))


def _finding(
    target: Target, attack: str, tried: str, round_: Round, learnt: Learnt | None, must_refuse: str
) -> Finding:
    return Finding(
        attack=attack,
        protocol=target.protocol.title,
        tried=tried,
        refused=round_.refused,
        learnt=learnt,
        must_refuse=must_refuse,
    )
