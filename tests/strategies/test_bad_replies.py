"""One site that answers anything at all is left out of the round, by name, and the round goes on with the others."""

import logging
import re
from typing import Any

import numpy as np
import pytest
from bad_replies import BAD, BAD_LATER, HARMLESS, Spoil, arrays
from flower_grid import stage_of
from flwr.app import Message
from test_secagg_plus import BOUNDS, NAMES, Watched, check_mean, grid_of, make_app, one_round, secagg

from wardround import wire
from wardround.secagg import hospital

ALL, OTHERS = [0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 5]


class Spoiled(Watched):
    """A grid on which the third node's replies at one stage are others."""

    spoils: tuple[str, Spoil]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        stages = {message.metadata.dst_node_id: stage_of(message) for message in messages}
        replies = super().send_and_receive(messages, timeout=timeout)
        stage, spoil = self.spoils
        return [
            came
            for reply in replies
            for came in (spoil(reply) if reply.metadata.src_node_id == 3 and stages[3] == stage else [reply])
        ]


def spoiled(spoils: tuple[str, Spoil]) -> Any:
    grid = grid_of(make_app)
    grid.__class__ = Spoiled
    grid.spoils = spoils
    return grid


@pytest.mark.parametrize("how", [*BAD, *BAD_LATER, *HARMLESS])
def test_the_round_goes_on_without_whoever_answers_nonsense(how: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        mean, _ = one_round(secagg(), spoiled((BAD | BAD_LATER | HARMLESS)[how]))
    check_mean(mean, OTHERS if how in BAD else ALL)
    named = "node 3 " in caplog.text or "site-2" in caplog.text
    assert named == (how not in HARMLESS or how == "a reply twice")


def test_two_nodes_with_one_key_are_both_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can tell which of them is the hospital's."""
    nodes = [*grid_of(make_app).nodes.values()]
    nodes[2].node_config["partition-id"] = 1  # type: ignore[index]
    with caplog.at_level(logging.WARNING):
        mean, _ = one_round(secagg(), Watched(make_app, nodes))
    check_mean(mean, [0, 3, 4, 5])
    assert caplog.text.count("2 nodes have the key of hospital site-1: start one of them") == 2


@pytest.mark.parametrize("low_order", [bytes(32), b"\1" + bytes(31)])
def test_a_key_with_which_nothing_can_be_agreed_on_leaves_out_who_advertised_it(
    low_order: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Let through, every neighbour would refuse to agree on nothing but zeros, and the round would end."""
    real, made = hospital.public_key, []

    def weak(private_key: bytes) -> bytes:
        made.append(private_key)
        return low_order if len(made) == 6 else real(private_key)  # the masking key of the third

    monkeypatch.setattr(hospital, "public_key", weak)
    with caplog.at_level(logging.WARNING):
        mean, _ = one_round(secagg(), grid_of(make_app))
    check_mean(mean, OTHERS)
    assert "hospital site-2 advertised a key with which nothing can be agreed on" in caplog.text


LEVELS = (2**31 - 1) // len(NAMES)


def shifted(name: str, amount: float) -> tuple[str, Spoil]:
    """Return what adds so many times its largest value to a coordinate, masked as it is."""
    steps = round(amount * LEVELS) % 2**32

    def change(masked: dict[str, Any]) -> dict[str, Any]:
        return masked | {name: np.asarray(masked[name] + np.uint32(steps), np.uint32)}

    return "mask", arrays(change)


WEIGHTS = sum(10 + index for index in ALL) / BOUNDS["max_weight"]
"""Of all, in units of the largest weight."""


@pytest.mark.parametrize(
    ("name", "amount", "reason"),
    [
        (wire.SUM_OF_WEIGHTS, 1e-4 - WEIGHTS, "a coordinate of the mean is .* and must be <= max-update = 8"),
        (wire.SUM_OF_WEIGHTS, -WEIGHTS, "the weights of all hospitals sum to 0"),
        (wire.SUM_OF_WEIGHTS, -1.0 - WEIGHTS, "the weights in the sum add up to -16, and must to 0 to 96"),
        (wire.SUM_OF_WEIGHTS, 3.0, "the weights in the sum add up to -69, and must to 0 to 96"),
        ("weight", -6.0, "a coordinate of the mean is .* one of 6 hospitals sent something else than its vector"),
    ],
)
def test_a_mean_that_no_honest_hospitals_have_is_refused(
    name: str, amount: float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody sees what one hospital adds: a sum of weights next to nothing made a mean of millions."""
    with caplog.at_level(logging.WARNING):
        assert one_round(secagg(), spoiled(shifted(name, amount))) == (None, None)
    assert re.search(f"round 1 is abandoned: {reason}", caplog.text)
