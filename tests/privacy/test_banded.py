"""Banded factorisations: what they cost, against dense matrices, and what they gain."""

import hashlib
import itertools
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from wardround.errors import ConfigError
from wardround.privacy.banded import MOST_BAND, MOST_COLUMNS, Factorisation, factorise, prefix_error

SMALL = [(7, 2), (9, 3), (10, 4), (6, 9), (5, 1)]


def dense(factorisation: Factorisation) -> NDArray[np.float64]:
    matrix = np.zeros((factorisation.num_rounds,) * 2)
    for t in range(factorisation.num_rounds):
        for i, entry in enumerate(factorisation.row(t)):
            matrix[t, t - i] = entry
    return matrix


def patterns(num_rounds: int, separation: int) -> list[tuple[int, ...]]:
    """Return every set of rounds that are pairwise at least `separation` apart."""
    return [
        chosen
        for size in range(1, num_rounds + 1)
        for chosen in itertools.combinations(range(num_rounds), size)
        if all(later - earlier >= separation for earlier, later in itertools.pairwise(chosen))
    ]


def largest_move(matrix: NDArray[np.float64], chosen: tuple[int, ...], scales: NDArray[np.float64]) -> float:
    """Return the largest |C D|^2 over the directions that a hospital may move its rounds in."""
    signs = itertools.product((-1.0, 1.0), repeat=len(chosen))
    return max(float(np.sum((matrix[:, chosen] @ (np.array(sign) * scales[list(chosen)])) ** 2)) for sign in signs)


@pytest.mark.parametrize(("num_rounds", "separation"), SMALL)
def test_no_pattern_of_participation_costs_more_than_its_rounds(num_rounds: int, separation: int) -> None:
    matrix = dense(factorise(num_rounds, separation))
    # Rounds' scales differ, as where the noise was sized anew on the way.
    scales = 1 / np.linspace(0.7, 3.0, num_rounds)
    for chosen in patterns(num_rounds, separation):
        claim = float(np.sum(scales[list(chosen)] ** 2))
        assert claim * (1 - 1e-9) <= largest_move(matrix, chosen, scales) <= claim


def test_a_hospital_that_came_back_too_soon_would_cost_more() -> None:
    matrix, ones = dense(factorise(10, 4)), np.ones(10)
    assert largest_move(matrix, (2, 5), ones) > 2.3


@pytest.mark.parametrize("redone", range(9))
def test_two_charges_of_the_redone_rounds_cohort_suffice(redone: int) -> None:
    first, second = dense(factorise(9, 3)), dense(factorise(9 - redone, 3))
    rows = np.zeros((redone + 1 + len(second), 9))
    rows[: redone + 1] = first[: redone + 1]
    rows[redone + 1 :, redone:] = second
    for chosen in patterns(9, 3):
        charges = len(chosen) + (redone in chosen)
        assert largest_move(rows, chosen, np.ones(9)) <= charges


def test_a_redone_round_with_the_memory_of_the_first_attempt_would_be_under_counted() -> None:
    matrix, redone = dense(factorise(9, 3)), 4
    rows = np.vstack([matrix[: redone + 1], matrix[redone:]])
    # Of the round before, which nobody charges again.
    assert largest_move(rows, (redone - 1,), np.ones(9)) > 1.2


def test_a_round_that_is_missing_costs_nothing_beyond_its_charge() -> None:
    for gone in range(9):
        rows = np.zeros((9, 9))
        rows[:gone] = dense(factorise(9, 3))[:gone]
        rows[gone + 1 :, gone + 1 :] = dense(factorise(9, 3))[: 9 - gone - 1, : 9 - gone - 1]
        for chosen in patterns(9, 3):
            assert largest_move(rows, chosen, np.ones(9)) <= len(chosen)


@pytest.mark.parametrize("noise_multiplier", [1.0, 4.0])
def test_the_cost_is_that_of_as_many_gaussian_releases_by_dp_accounting(noise_multiplier: float) -> None:
    matrix, chosen, delta = dense(factorise(20, 4)), (1, 5, 9, 13, 17), 1e-5
    distance = math.sqrt(largest_move(matrix, chosen, np.full(20, 1 / noise_multiplier)))
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    step = dp_accounting.GaussianDpEvent(noise_multiplier)
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, len(chosen)))
    epsilon = accountant.get_epsilon(delta)
    # Of N(0, 1) and N(distance, 1) (Balle, Wang 2018, theorem 8), at that epsilon: dp-accounting rounds upwards.
    spent = norm.cdf(distance / 2 - epsilon / distance) - math.exp(epsilon) * norm.cdf(
        -distance / 2 - epsilon / distance
    )
    assert 0.99 * delta <= spent <= delta


@pytest.mark.parametrize(
    ("num_rounds", "separation", "most"), [(20, 4, 0.6333), (50, 5, 0.5370), (100, 10, 0.4083), (1000, 10, 0.3520)]
)
def test_prefix_sums_have_so_much_less_error(num_rounds: int, separation: int, most: float) -> None:
    assert most - 1e-3 < prefix_error(factorise(num_rounds, separation)) <= most


@pytest.mark.parametrize(("num_rounds", "separation"), [(20, 4), (30, 15), (150, 3)])
def test_the_error_is_that_of_noise_that_is_drawn(num_rounds: int, separation: int) -> None:
    factorisation, width = factorise(num_rounds, separation), 20_000
    generator = np.random.default_rng(7)
    earlier: list[NDArray[np.float64]] = []
    total, squares = np.zeros(width), 0.0
    for t in range(num_rounds):
        noise = factorisation.noise(t, {"w": generator.standard_normal(width)}, {"w": earlier})["w"]
        earlier = [noise, *earlier][: factorisation.band - 1]
        total += noise
        squares += float(np.mean(total**2))
    error = math.sqrt(squares / (num_rounds * (num_rounds + 1) / 2))
    assert error == pytest.approx(prefix_error(factorisation), rel=0.01)


@pytest.mark.parametrize(("num_rounds", "separation"), [*SMALL, (140, 5)])
def test_noise_solves_the_dense_system(num_rounds: int, separation: int) -> None:
    factorisation = factorise(num_rounds, separation)
    drawn = np.random.default_rng(1).standard_normal((num_rounds, 2, 3))
    earlier: list[NDArray[np.float64]] = []
    for t in range(num_rounds):
        noise = factorisation.noise(t, {"a": drawn[t]}, {"a": earlier})["a"]
        earlier = [noise, *earlier][: factorisation.band - 1]
        expected = np.linalg.solve(dense(factorisation)[: t + 1, : t + 1], drawn[: t + 1].reshape(t + 1, 6))[-1]
        np.testing.assert_allclose(noise.ravel(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("num_rounds", "separation"), [(20, 4), (12, 5)])
def test_no_better_factorisation_is_found_by_another_optimiser(num_rounds: int, separation: int) -> None:
    sums = np.tril(np.ones((num_rounds, num_rounds)))
    free = [(s + i, s) for s in range(num_rounds) for i in range(min(separation, num_rounds - s))]
    rows, columns = zip(*free, strict=True)

    def error(entries: NDArray[np.float64]) -> float:
        matrix = np.zeros((num_rounds, num_rounds))
        matrix[rows, columns] = entries
        matrix /= np.linalg.norm(matrix, axis=0)
        return float(np.linalg.norm(sums @ np.linalg.inv(matrix)) / np.linalg.norm(sums))

    start = [1.0 if row == column else 0.3 for row, column in free]
    found = minimize(error, start, method="BFGS", options={"gtol": 1e-6})
    assert prefix_error(factorise(num_rounds, separation)) == pytest.approx(found.fun, rel=1e-4)


def test_where_every_round_may_be_a_hospitals_noise_is_independent() -> None:
    np.testing.assert_allclose(dense(factorise(6, 1)), np.eye(6), rtol=0, atol=1e-13)
    assert prefix_error(factorise(6, 1)) == pytest.approx(1.0)


def test_bits_follow_from_ieee_arithmetic_alone() -> None:
    # Made with NumPy 2.4 on x86-64; the same with its vector instructions switched off, and with two threads.
    columns = [factorise(*which).columns.astype("<f8") for which in ((20, 4), (50, 5), (200, 32))]
    digests = [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in columns]
    assert digests == ["04604b05da4d81af", "834b6d34f6b50019", "7e56e7d5d330773b"]


def test_longer_runs_repeat_the_middle_column_and_bands_are_cut() -> None:
    long = factorise(1000, 500)
    assert long.columns.shape == (MOST_COLUMNS, MOST_BAND)
    matrix = dense(long)
    assert np.linalg.norm(matrix, axis=0).max() <= 1
    np.testing.assert_array_equal(np.diag(matrix, -3)[200:300], np.full(100, matrix[203, 200]))


@pytest.mark.parametrize("num_rounds", [9, 50, 128, 129, 260])
def test_rounds_of_unlike_scale_have_columns_of_their_own(num_rounds: int) -> None:
    scales = (1.0, 2.5, 0.7, 1.3)
    factorisation = factorise(num_rounds, 4, scales)
    matrix = dense(factorisation)
    assert np.linalg.norm(matrix, axis=0).max() <= 1
    sums = np.tril(np.ones((num_rounds, num_rounds))) * np.resize(scales, num_rounds)
    error = np.linalg.norm(sums @ np.linalg.inv(matrix)) / np.linalg.norm(sums)
    assert prefix_error(factorisation) == pytest.approx(error, rel=1e-9)
    alike = np.linalg.norm(sums @ np.linalg.inv(dense(factorise(num_rounds, 4)))) / np.linalg.norm(sums)
    assert error < 0.98 * alike
    if num_rounds < 10:
        for chosen in patterns(num_rounds, 4):
            assert largest_move(matrix, chosen, np.ones(num_rounds)) <= len(chosen)


def test_scales_have_no_unit_and_too_many_are_taken_to_be_alike() -> None:
    np.testing.assert_array_equal(factorise(9, 2, (1.0, 2.0)).columns, factorise(9, 2, (4.0, 8.0)).columns)
    np.testing.assert_array_equal(factorise(9, 2, (3.0, 3.0)).columns, factorise(9, 2).columns)
    many = tuple(np.linspace(1, 2, MOST_BAND + 1))
    np.testing.assert_array_equal(factorise(40, MOST_BAND + 1, many).columns, factorise(40, MOST_BAND + 1).columns)


def test_columns_that_are_too_long_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"norms in \(0, 1\]"):
        Factorisation(num_rounds=2, columns=np.array([[0.8, 0.7], [1.0, 0.0]]), scales=np.ones(1))


@pytest.mark.parametrize(("num_rounds", "separation", "scales"), [(0, 1, ()), (1, 0, ()), (2, 2, (1.0, 0.0))])
def test_no_rounds_and_no_scale_are_refused(num_rounds: int, separation: int, scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="must be >= 1"):
        factorise(num_rounds, separation, scales)


def test_a_row_without_the_noises_before_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="begin a new factorisation"):
        factorise(9, 3).noise(2, {"a": np.zeros(2)}, {"a": [np.zeros(2)]})
    with pytest.raises(ConfigError, match="row 9 must be"):
        factorise(9, 3).row(9)
