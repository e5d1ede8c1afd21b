"""The terms of a round, and the arithmetic of its shape for every small federation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from round_driver import terms_of

from wardround.errors import CohortError, ProtocolError
from wardround.secagg import shape_of

SHAPES = [
    (shape_of(n, m, c), n, m, c)
    for n in range(2, 13)
    for c in range(n)
    for m in range(2, n + 1)
    if max(m, (n + 1 + c) // 2 + 1) <= n
]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("round_number", -1, "round_number must be >= 0, not -1"),
        ("min_survivors", 1, "min_survivors must be >= 2, not 1"),
        ("max_colluding", -1, "max_colluding must be >= 0, not -1"),
        ("payload", "weights", "payload must be one of parameters, values, residues, not weights"),
        ("max_update", 0.0, "max_update must be >= 1e-30 and <= 1e30, not 0.0"),
        ("max_update", 1e-310, "max_update must be >= 1e-30 and <= 1e30, not 1e-310"),
        ("max_update", float("nan"), "max_update must be >= 1e-30 and <= 1e30, not nan"),
        ("max_weight", float("inf"), "max_weight must be >= 1e-30 and <= 1e30, not inf"),
        ("max_weight", -1.0, "max_weight must be >= 1e-30 and <= 1e30, not -1.0"),
        ("model_digest", b"short", "model_digest must have 32 bytes, not b'short'"),
        ("settings_digest", b"", "settings_digest must have 32 bytes, not b''"),
    ],
)
def test_terms_out_of_range_are_refused(field, value, rule):
    with pytest.raises(ProtocolError, match=rf"^the Terms message is refused: {rule}$"):
        terms_of(**{field: value})


def test_residues_need_no_ranges():
    assert terms_of(payload="residues", max_update=0.0, max_weight=0.0).payload == "residues"


@pytest.mark.parametrize(
    "change",
    [
        {"federation": "another"},
        {"run_id": "another"},
        {"round_number": 2},
        {"min_survivors": 3},
        {"max_colluding": 1},
        {"payload": "parameters"},
        {"max_update": math.nextafter(1.0, 2.0)},
        {"max_weight": 2.0},
        {"model_digest": bytes(32)},
        {"settings_digest": bytes(32)},
        {"federation": "simulatedr", "run_id": "un"},
    ],
    ids=str,
)
def test_every_term_is_in_the_session(change):
    assert replace(terms_of(), **change).session != terms_of().session
    assert len(terms_of().session) == 32


def test_shapes_of_small_federations_keep_every_rule():
    assert len(SHAPES) > 200
    for shape, n, m, c in SHAPES:
        q, k, t, d = shape.quorum, shape.num_neighbours, shape.threshold, shape.num_members - shape.quorum
        assert m <= q <= n and d == n - q, shape
        assert 2 * q > n + c + 1, shape
        assert k == n - 1 or (k % 2 == 0 and k < n - 1 and k >= 2 * math.log2(n)), shape
        assert k > c + 2 * d, shape
        assert c < t <= k - d, shape
        assert 2 * t > k + c, shape


def test_the_quorum_is_the_least_that_keeps_its_rule():
    for shape, n, m, c in SHAPES:
        assert shape.quorum == m or 2 * (shape.quorum - 1) <= n + c + 1


def test_large_federations_keep_every_rule_too():
    draws = np.random.default_rng(0)
    for n in (*draws.integers(13, 3000, 300).tolist(), 2**16):
        c = int(draws.integers(0, n // 4))
        shape = shape_of(n, int(draws.integers(2, n + 1)), c)
        k, t, d = shape.num_neighbours, shape.threshold, shape.num_members - shape.quorum
        assert 2 * shape.quorum > n + c + 1 and k > c + 2 * d and c < t <= k - d and 2 * t > k + c


def test_no_two_groups_of_hospitals_can_confirm_different_lists():
    """Every split of the honest into those who confirm one list and those who confirm another, and colluders both."""
    for shape, n, _, c in SHAPES:
        for colluding in range(c + 1):
            honest = n - colluding
            for first in range(honest + 1):
                groups = first + colluding, honest - first + colluding
                assert min(groups) < shape.quorum


@pytest.mark.parametrize(
    ("num_members", "min_survivors", "max_colluding", "needs"),
    [(2, 3, 0, 3), (1, 2, 0, 2), (4, 2, 3, 5), (2, 2, 1, 3), (65_537, 2, 0, 32_770)],
)
def test_too_few_or_too_many_members(num_members, min_survivors, max_colluding, needs):
    with pytest.raises(
        CohortError, match=f"^{num_members} hospitals take part.* needs {needs} to 65536: wait for more"
    ):
        shape_of(num_members, min_survivors, max_colluding)
