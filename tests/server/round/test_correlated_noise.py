"""Noise that cancels itself: what is really drawn, of one round and between rounds, and what it goes on from."""

from collections.abc import Mapping
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray
from scipy.stats import kstest
from small_runs import profiles_of, small_config

from wardround import exact_sums
from wardround.agreed.cohorts import draw_cohort
from wardround.config import Config
from wardround.errors import ConfigError
from wardround.privacy.banded import factorise
from wardround.privacy.cells import RoundSum
from wardround.privacy.spending import open_account
from wardround.server.plan.noise_memory import noise_memory, relative_noise
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState
from wardround.streams import SeededSource

NOISE, CLIP, ROUNDS, TURNS = 1.5, 0.5, 9, 3
Memory = Mapping[str, NDArray[Any]]


def turns(**sections: dict[str, Any]) -> Config:
    whole: dict[str, dict[str, Any]] = {
        "training": {"num-rounds": ROUNDS, "cohorts": "round-robin", "fraction-train": 1 / TURNS},
        "privacy": {
            "unit": "hospital",
            "placement": "central",
            "noise-correlation": "banded",
            "noise-multiplier": NOISE,
            "max-grad-norm": CLIP,
            "target-delta": 1e-2,
        },
    }
    return small_config(**{name: whole.get(name, {}) | sections.get(name, {}) for name in whole | sections})


def planned(sizes: tuple[int, ...] = (100,) * 6, **sections: dict[str, Any]) -> FederationPlan:
    return plan_federation(turns(**sections), profiles_of(sizes), num_parameters=40)


def before_round(plan: FederationPlan, number: int, memory: Memory, attempt: int = 1) -> RoundState:
    return RoundState(
        run_id="run",
        round_number=number - 1,
        attempt=attempt,
        arrays={},
        account=open_account(plan.target_deltas),
        noise_multipliers={},
        max_grad_norm=CLIP,
        left={},
        stopped="",
        memory=memory,
    )


def released(
    plan: FederationPlan, number: int, memory: Memory, *, seed: int = 3, size: int = 20_000, attempt: int = 1
) -> tuple[NDArray[np.float64], Memory]:
    """Return the noise on the average of a round in which every update is zero, in clips, and what is remembered."""
    zeros = {"w": np.zeros(size), "t": np.zeros(())}
    noise = {hospital.profile.hospital_id: hospital.noise_multiplier for hospital in plan.hospitals}
    cohort = draw_cohort(plan.config, plan.names, number)
    assignments = assign_round(plan, cohort, number, noise, attempt=attempt)
    total: exact_sums.FixedSum = {}
    for assignment in assignments:
        exact_sums.accumulate(total, zeros, assignment.weight)
    summed = RoundSum(
        arrays=zeros,
        total=total,
        answered=assignments,
        assignments=assignments,
        learning_rate=1.0,
        source=SeededSource(seed=seed, job=b""),
        memory=noise_memory(plan, before_round(plan, number, memory, attempt), number),
    )
    what = plan.cell.release(summed)
    return what.arrays["w"] / CLIP, what.memory


def all_rounds(plan: FederationPlan, *, seed: int = 3, size: int = 20_000) -> NDArray[np.float64]:
    memory: Memory = {}
    drawn = []
    for number in range(1, plan.config.training.num_rounds + 1):
        noise, memory = released(plan, number, memory, seed=seed, size=size)
        drawn.append(noise)
    assert not memory  # the last round remembers nothing
    return np.array(drawn)


def covariance_of(num_rounds: int, separation: int) -> NDArray[np.float64]:
    """Return C^-1 C^-T, written out."""
    factorisation = factorise(num_rounds, separation)
    matrix = np.zeros((num_rounds, num_rounds))
    for t in range(num_rounds):
        for i, entry in enumerate(factorisation.row(t)):
            matrix[t, t - i] = entry
    inverse = np.linalg.inv(matrix)
    return np.asarray(inverse @ inverse.T)


def test_the_noise_of_every_round_is_of_the_scale_that_was_billed_and_of_no_other() -> None:
    drawn = all_rounds(planned())
    # Of two hospitals of one size: z C / 2 on the average, if it were independent.
    stddevs = NOISE / 2 * np.sqrt(np.diag(covariance_of(ROUNDS, TURNS)))
    for noise, stddev in zip(drawn, stddevs, strict=True):
        assert kstest(noise, "norm", args=(0, stddev)).pvalue > 0.001
        for wrong in (2 / 3, 3 / 2):
            assert kstest(noise, "norm", args=(0, stddev * wrong)).pvalue < 1e-6


def test_rounds_hang_together_as_the_factorisation_says_and_in_no_other_way() -> None:
    expected = (NOISE / 2) ** 2 * covariance_of(ROUNDS, TURNS)
    seeds = np.concatenate([all_rounds(planned(), seed=seed) for seed in range(4)], axis=1)
    # Times C the rounds are independent again, which every wrong covariance would leave undone.
    root = np.linalg.inv(np.linalg.cholesky(expected))
    for factor, is_right in ((1.0, True), (2 / 3, False), (3 / 2, False)):
        whitened = (root / np.sqrt(factor) @ seeds).reshape(-1)
        assert (kstest(whitened, "norm").pvalue > 0.001) == is_right
    found = np.cov(seeds)
    # A covariance of 80,000 draws is off by 1 / sqrt(80,000) of the variances; six times that never happens.
    slack = 6 * np.sqrt(2 * np.outer(np.diag(expected), np.diag(expected)) / seeds.shape[1])
    assert (np.abs(found - expected) < slack).all()
    for wrong in (2 / 3, 3 / 2):
        assert not (np.abs(found - wrong * expected) < slack).all()
    assert not (np.abs(found - np.diag(np.diag(expected))) < slack).all()


def test_the_sum_of_all_rounds_has_less_noise_by_as_much_as_the_plan_says() -> None:
    plan = planned((100,) * 12, training={"num-rounds": 20, "fraction-train": 0.25})
    independent = planned(
        (100,) * 12, training={"num-rounds": 20, "fraction-train": 0.25}, privacy={"noise-correlation": "none"}
    )
    errors = [np.sqrt(np.mean(np.cumsum(all_rounds(each), axis=0) ** 2)) for each in (plan, independent)]
    assert errors[0] / errors[1] == pytest.approx(0.633, rel=0.02)
    assert relative_noise(plan) == pytest.approx(0.6332, rel=1e-3)
    assert relative_noise(independent) == 1.0


def test_groups_of_unlike_weight_have_a_factorisation_of_their_own() -> None:
    sizes = (400, 50, 60, 100, 100, 30)
    plan = planned(sizes, training={"num-rounds": 12})
    independent = planned(sizes, training={"num-rounds": 12}, privacy={"noise-correlation": "none"})
    errors = [np.sqrt(np.mean(np.cumsum(all_rounds(each), axis=0) ** 2)) for each in (plan, independent)]
    assert errors[0] / errors[1] == pytest.approx(relative_noise(plan), rel=0.02)


def test_a_round_goes_on_from_the_one_right_before_it_alone() -> None:
    plan = planned()
    _, memory = released(plan, 1, {}, size=5)
    assert int(memory["rounds"][1]) == 2
    go_on = noise_memory(plan, before_round(plan, 2, memory), 2)
    assert {name: array.tobytes() for name, array in go_on.items()} == {
        name: array.tobytes() for name, array in memory.items()
    }
    for number, attempt in ((2, 2), (3, 1), (1, 2)):
        begun = noise_memory(plan, before_round(plan, number, memory, attempt), number)
        assert not [name for name in begun if name.startswith("noise")]
        assert begun["rounds"].tolist() == [number, number, ROUNDS - number + 1]
        fresh = noise_memory(plan, before_round(plan, number, {}, attempt), number)
        assert begun["columns"].tobytes() == fresh["columns"].tobytes()


def test_columns_that_span_more_rounds_than_hospitals_keep_away_are_not_gone_on_with() -> None:
    _, memory = released(planned(), 1, {}, size=5)
    sooner = planned(training={"fraction-train": 0.5})
    begun = noise_memory(sooner, before_round(sooner, 2, memory), 2)
    assert begun["rounds"].tolist() == [2, 2, ROUNDS - 1] and begun["columns"].shape[1] == 2


def test_a_redone_round_has_noise_of_its_own_that_takes_nothing_back() -> None:
    plan = planned()
    first, memory = released(plan, 1, {})
    second, _ = released(plan, 2, memory)
    redone, _ = released(plan, 2, memory, attempt=2)
    assert abs(np.corrcoef(first, second)[0, 1]) > 0.2
    assert abs(np.corrcoef(first, redone)[0, 1]) < 0.05
    assert abs(np.corrcoef(second, redone)[0, 1]) < 0.05


def test_at_most_as_many_noises_are_remembered_as_the_band_has() -> None:
    plan = planned()
    memory: Memory = {}
    kept = []
    for number in range(1, ROUNDS + 1):
        _, memory = released(plan, number, memory, size=5)
        kept.append(len(memory.get("noise/w", ())))
    assert kept == [1, 2, 2, 2, 2, 2, 2, 2, 0]


def test_adaptive_clippings_count_has_noise_of_the_same_kind() -> None:
    plan = planned(privacy={"adaptive-clipping": True})
    noise = {hospital.profile.hospital_id: NOISE for hospital in plan.hospitals}
    assignments = assign_round(plan, draw_cohort(plan.config, plan.names, 1), 1, noise)
    assert {a.event.cell for a in assignments} == {"hospital-correlated"}
    model = {"w": np.zeros(3)}
    total: exact_sums.FixedSum = {}
    for assignment in assignments:
        exact_sums.accumulate(total, {"w": np.zeros(3), "within-clip": np.zeros(())}, assignment.weight)
    summed = RoundSum(
        arrays=model,
        total=total,
        answered=assignments,
        assignments=assignments,
        learning_rate=1.0,
        source=SeededSource(seed=1, job=b""),
        memory=noise_memory(plan, before_round(plan, 1, {}), 1),
    )
    what = plan.cell.release(summed)
    assert what.quantile is not None and what.memory["noise/within-clip"].shape == (1,)


def test_the_bill_is_that_of_independent_noise_and_dp_accountings() -> None:
    banded = planned()
    independent = planned(privacy={"noise-correlation": "none"})
    assert banded.epsilon_max == independent.epsilon_max
    assert banded.account.epsilons_by_reader(1) == independent.account.epsilons_by_reader(1)
    event = banded.cell.dp_event(banded.hospitals[0].event)
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    assert event == dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(NOISE), ROUNDS // TURNS)
    assert banded.epsilon_max == pytest.approx(accountant.compose(event).get_epsilon(1e-2), rel=2e-3)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"cohorts": "random"}}, r"set \[training\] cohorts = \"round-robin\""),
        ({"training": {"fraction-train": 1.0}}, r"lower \[training\] fraction-train to a half or less"),
        ({"privacy": {"placement": "local"}}, r"set unit = \"hospital\" and placement = \"central\""),
        ({"privacy": {"unit": "record", "target-delta": 1e-4}, "training": {"local-steps": None}}, "to whole updates"),
        (
            {"privacy": {"placement": "distributed"}, "aggregation": {"protocol": "secure-sum"}},
            r"set unit = \"hospital\" and placement = \"central\"",
        ),
        (
            {"privacy": {"placement": "none", "noise-multiplier": None}},
            "noise-correlation = banded has no meaning without privacy",
        ),
        ({"privacy": {"noise-correlation": "band"}}, r"must be one of none, banded"),
    ],
)
def test_settings_without_a_proof_are_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        turns(**sections)


def test_too_few_hospitals_to_take_turns_are_refused_before_anything_is_charged() -> None:
    with pytest.raises(ConfigError, match="lower \\[training\\] fraction-train"):
        planned((100,) * 5, training={"fraction-train": 0.6})
