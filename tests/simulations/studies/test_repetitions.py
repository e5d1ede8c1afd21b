"""How many repetitions there are, and of which candidates: the law that is billed, and no other."""

import numpy as np
import pytest
from scipy import stats
from tunes import NOISY, small_tune

from wardround.simulations.studies.repetitions import draw_repetitions, repetition_runs

LEARNING_RATES = {"training.learning-rate": [0.1, 0.2, 0.5, 1.0]}
NUM_SEEDS = 3000


@pytest.fixture(scope="module", params=["truncated-negative-binomial", "poisson"])
def drawn(request, tmp_path_factory):
    """Return the law, and what was drawn with many seeds."""
    folder = tmp_path_factory.mktemp("draws")
    told = NOISY | {"repetitions": request.param, "mean-repetitions": 4.0, "most-repetitions": 8}
    tune = small_tune(folder, told, study={"vary": LEARNING_RATES})
    return tune.law, [draw_repetitions(tune, seed=seed) for seed in range(NUM_SEEDS)]


def chance_of(counts, law):
    """Return how likely counts so far from a law's are (chi-square)."""
    expected = np.array(law) / sum(law) * sum(counts)
    return stats.chisquare(counts, expected).pvalue


def test_their_number_follows_the_law_and_no_other(drawn):
    law, draws = drawn
    counts = np.bincount([len(one) for one in draws], minlength=len(law) + 1)[1:]
    assert len(counts) == len(law)
    assert chance_of(counts, law) > 1e-3
    wrong = [stats.geom(1 / mean).pmf(np.arange(1, 9)) for mean in (4 * 2 / 3, 4 * 3 / 2)]
    wrong += [stats.poisson(mean).pmf(np.arange(1, 9)) for mean in (4 * 2 / 3, 4 * 3 / 2)]
    assert all(chance_of(counts, other) < 1e-6 for other in [*wrong, np.ones(8)])


def test_candidates_are_drawn_evenly_whatever_came_before_and_however_many_there_are(drawn):
    _, draws = drawn
    assert chance_of(np.bincount([place for one in draws for place in one], minlength=4), np.ones(4)) > 1e-3
    assert chance_of(np.bincount([one[0] for one in draws if len(one) == 1], minlength=4), np.ones(4)) > 1e-3
    pairs = [4 * one[0] + one[1] for one in draws if len(one) > 1]
    assert chance_of(np.bincount(pairs, minlength=16), np.ones(16)) > 1e-3


def test_a_seed_draws_the_same_again_and_the_operating_system_does_not(tmp_path):
    tune = small_tune(tmp_path, NOISY | {"mean-repetitions": 40.0, "most-repetitions": 200})
    assert draw_repetitions(tune) == draw_repetitions(tune)
    system = small_tune(tmp_path, NOISY | {"mean-repetitions": 40.0}, set={"simulation": {"noise": "system"}})
    assert len({draw_repetitions(system) for _ in range(8)}) > 1


def test_each_once_is_each_once(tmp_path):
    tune = small_tune(
        tmp_path, {"on": "private", "score": "noisy-brier", "repetitions": "each-once"}, study={"vary": LEARNING_RATES}
    )
    assert draw_repetitions(tune) == (0, 1, 2, 3)
    assert tune.law == (0.0, 0.0, 0.0, 1.0)


def test_repetitions_are_alike_in_all_but_their_number_and_their_target(tmp_path):
    tune = small_tune(tmp_path, NOISY)
    candidates = tune.candidates()
    first, second, other = repetition_runs(candidates, (1, 1, 0), epsilon_each=0.5)
    assert first.name == "repetition-01-learning-rate-2" and other.name == "repetition-03-learning-rate-0.1"
    assert first.config.privacy.target_epsilon == second.config.privacy.target_epsilon == 0.5
    assert (first.config.simulation.repetition, second.config.simulation.repetition) == (1, 2)
    assert first.config.training == second.config.training == candidates[1].config.training
    assert first.config.federation == other.config.federation == tune.job.federation
