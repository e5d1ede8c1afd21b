"""Vectors of test records, of which sums are released: what they hold, and how long they can be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wardround.score_sums import MOST_LOSS, MOST_NORM, NUM_SCORE_BINS, NUM_SUMS, vectors_of_scores


def of_two(chances: list[float], labels: list[int], losses: list[float] | None = None) -> np.ndarray:
    second = np.array(chances, np.float64)
    table = np.stack([1 - second, second], axis=1)
    return vectors_of_scores(table, np.array(labels), np.array(losses or [0.0] * len(labels)))


def test_a_record_has_its_answer_its_loss_and_its_place() -> None:
    rows = of_two([0.97, 0.32, 0.32, 0.5], [1, 1, 0, 0], [0.03, 1.0, 0.4, 9.0])
    assert rows.shape == (4, NUM_SUMS) and rows.dtype == np.float32
    assert rows[:, 0].tolist() == [1, 0, 1, 1]
    assert rows[:, 1] == pytest.approx([0.03 / MOST_LOSS, 0.25, 0.1, 1.0])
    places = [(2 + hit * NUM_SCORE_BINS + place) for hit, place in ((1, 19), (1, 6), (0, 6), (0, 9))]
    assert rows[:, 2:].argmax(axis=1).tolist() == [place - 2 for place in places]
    assert rows[:, 2:].sum(axis=1).tolist() == [1.0] * 4


@pytest.mark.parametrize(("chance", "place"), [(0.0, 0), (0.05, 0), (0.051, 1), (0.5, 9), (0.501, 10), (1.0, 19)])
def test_bins_are_open_below_and_closed_above(chance: float, place: int) -> None:
    assert of_two([chance], [0])[0, 2:].argmax() == place


def test_of_more_classes_the_place_is_that_of_the_answer_and_whether_it_is_right() -> None:
    rows = vectors_of_scores(np.array([[0.2, 0.7, 0.1], [0.2, 0.7, 0.1]]), np.array([1, 2]), np.zeros(2))
    assert rows[:, 0].tolist() == [1, 0]
    assert rows[:, 2:].argmax(axis=1).tolist() == [NUM_SCORE_BINS + 13, 13]


def test_an_output_that_is_no_number_is_wrong_with_the_largest_loss() -> None:
    rows = vectors_of_scores(np.full((2, 2), np.nan), np.array([0, 1]), np.full(2, np.nan))
    assert np.isfinite(rows).all()
    assert rows[:, 0].tolist() == [0, 0] and rows[:, 1].tolist() == [1, 1]
    # Of the first class as if surely the second, and the other way round.
    assert rows[:, 2:].argmax(axis=1).tolist() == [NUM_SCORE_BINS - 1, NUM_SCORE_BINS]
    several = vectors_of_scores(np.full((1, 3), np.nan), np.array([0]), np.full(1, np.nan))
    assert several[0, 2:].argmax() == NUM_SCORE_BINS - 1
    infinite = vectors_of_scores(np.array([[0.0, 1.0]]), np.array([0]), np.array([np.inf]))
    assert infinite[0, :2].tolist() == [0, 1]


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 4)), elements=st.floats(allow_nan=True)),
    st.data(),
)
def test_no_record_is_longer_than_the_clip_and_each_is_of_its_row_alone(table: np.ndarray, data: st.DataObject) -> None:
    n, k = table.shape
    labels = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    losses = np.array(data.draw(st.lists(st.floats(allow_nan=True), min_size=n, max_size=n)))
    rows = vectors_of_scores(table, labels, losses)
    assert np.linalg.norm(rows.astype(np.float64), axis=1).max() <= MOST_NORM * (1 + 1e-9)
    assert rows.min() >= 0 and rows.max() <= 1
    alone = [vectors_of_scores(table[i : i + 1], labels[i : i + 1], losses[i : i + 1])[0] for i in range(n)]
    assert np.array_equal(rows, np.array(alone))


def test_the_longest_record_is_as_long_as_the_clip() -> None:
    """The bound is met by whoever is right with the largest loss, which cut losses of many classes allow."""
    row = vectors_of_scores(np.full((1, 100), 0.01), np.array([0]), np.array([math.log(100)]))
    assert np.linalg.norm(row) == pytest.approx(MOST_NORM)
