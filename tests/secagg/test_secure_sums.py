"""Whole rounds: whoever drops, the sum of the survivors is exact, or the round is abandoned."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from round_driver import Round, looks_random, summed

from wardround.errors import CohortError
from wardround.secagg import hospital, server, shape_of
from wardround.secagg.masks import add_masks
from wardround.secagg.quantisation import Quantiser


@st.composite
def rounds(draw, *, sparse, beyond):
    """Draw a round whose drops leave a quorum, or (`beyond`) one hospital less."""
    num_advertised = draw(st.integers(13, 25) if sparse else st.integers(2, 12), label="advertised")
    max_colluding = draw(st.integers(0, 2 if sparse else max(0, num_advertised - 2)), label="colluding")
    least = max(2, max_colluding + 2, num_advertised - 2 if sparse else 2)
    min_survivors = draw(st.integers(min(least, num_advertised), num_advertised), label="min_survivors")
    shape = shape_of(num_advertised, min_survivors, max_colluding)
    assert not sparse or shape.num_neighbours < num_advertised - 1
    absent = draw(st.integers(0, 2), label="never advertise")
    most_drops = shape.num_members - shape.quorum
    num_drops = most_drops + 1 if beyond else draw(st.integers(0, most_drops), label="drops")
    places = draw(st.permutations(range(num_advertised + absent)))
    drops = dict.fromkeys(places[:absent], 0)
    drops |= {place: draw(st.integers(1, 4), label="stage") for place in places[absent : absent + num_drops]}
    event(f"{num_drops} drops")
    return Round(num_advertised + absent, min_survivors, max_colluding, drops=drops)


@pytest.mark.parametrize("sparse", [False, True], ids=["complete", "sparse"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_drops_within_the_quorum_leave_the_exact_sum_of_those_whose_vectors_came(sparse, data):
    round_ = data.draw(rounds(sparse=sparse, beyond=False))
    total = round_.play().total()
    came = [round_.vectors[name] for name in round_.alive("mask")]
    assert len(came) >= round_.members.shape.quorum
    np.testing.assert_array_equal(total, summed(came))


@pytest.mark.parametrize("sparse", [False, True], ids=["complete", "sparse"])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_one_drop_more_abandons_the_round(sparse, data):
    round_ = data.draw(rounds(sparse=sparse, beyond=True))
    with pytest.raises(CohortError, match=r"hospitals (shared|sent|confirmed|helped).* are needed$"):
        round_.play().total()


def test_too_few_that_advertise_abandon_the_round():
    with pytest.raises(CohortError, match="2 hospitals take part in the secure sum, and min-survivors = 3"):
        Round(4, 3, drops={0: 0, 1: 0}).play("advertise")


def test_one_drop_at_every_stage_of_one_round():
    round_ = Round(14, 2, drops={0: 0, 1: 1, 2: 2, 3: 3, 4: 4})
    total = round_.play().total()
    np.testing.assert_array_equal(total, summed(round_.vectors[name] for name in round_.names[3:]))


def test_a_weighted_mean_comes_out_of_a_whole_round():
    values = {f"h{i:02}": np.array([0.5, -1.0, i / 4], np.float32) for i in range(4)}
    weights = {"h00": 1.0, "h01": 0.25, "h02": 0.5, "h03": 0.75}
    quantiser = Quantiser(num_members=4, max_update=1.0, max_weight=1.0)
    vectors = {name: quantiser.residues(values[name], weights[name]) for name in values}
    sums, weight = quantiser.sums(Round(4, 3, drops={3: 2}, vectors=vectors).play().total())
    there = ["h00", "h01", "h02"]
    expected = sum(values[name].astype(np.float64) * weights[name] for name in there) / 1.75
    np.testing.assert_allclose(sums / weight, expected, atol=4 / 2**31 * 1.75)
    assert weight == pytest.approx(1.75, rel=1e-8)


def test_what_the_server_adds_up_is_noise_and_the_plain_vectors_are_not():
    quantiser = Quantiser(num_members=5, max_update=1.0, max_weight=1.0)
    draws = np.random.default_rng(3)
    constant = np.full(2**16, 0.25)
    vectors = {f"h{i:02}": quantiser.residues(draws.normal(0, 0.1, 2**16).clip(-1, 1), 1.0) for i in range(5)}
    vectors["h00"] = quantiser.residues(constant, 1.0)
    round_ = Round(5, 4, vectors=vectors).play("mask")
    for name in ("h00", "h01"):
        assert looks_random(round_.masked[name])
        assert not looks_random(vectors[name])
    partial = summed([round_.masked[name] for name in round_.names[:4]])
    assert looks_random(partial)
    assert looks_random(summed(round_.masked.values()))


def test_each_mask_by_itself_is_enough_to_hide_a_vector():
    round_ = Round(3, 3).play("share")
    request = server.mask_requests(round_.members, round_.shares)["h00"]
    _, masks = hospital.mask(
        round_.sites["h00"], round_.terms, round_.memories["h00"], request, model_digest=round_.terms.model_digest
    )
    assert len(masks) == 3
    for mask in masks:
        vector = np.full(2**16, 7, np.uint32)
        add_masks(vector, [mask])
        assert looks_random(vector)
