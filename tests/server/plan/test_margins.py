"""What rounding before central noise does to neighbours, built as badly as it gets, is within what the noise covers."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from made_up import PRIVATE
from safetensors.numpy import load_file
from small_runs import CommonStreams, profiles_of, small_config

from wardround.clients.cells import torch_half
from wardround.config import Config
from wardround.errors import ConfigError
from wardround.exact_sums import FRACTION_BITS, FixedSum, accumulate, fixed_sum, mean
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME, next_clip
from wardround.rounds import Assignment
from wardround.secagg.quantisation import Quantiser
from wardround.server.plan.margins import rounding_distance, update_bound
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.records import Outcome
from wardround.server.round.released import release as release_of_round
from wardround.server.round.sums import Sum
from wardround.simulations.engines.flower_internals import take_identity
from wardround.simulations.runs import run
from wardround.streams import Draw, SeededKey, SeededSource
from wardround.wire import arrays_of

SIZES = [3, 50, 1_000_000]


def settings(unit: str, placement: str, protocol: str, clip: float = 1.0, *, adaptive: bool = False) -> Config:
    gradient = unit == "record" and placement != "local"
    return small_config(
        training={"local-steps": None if gradient else 2},
        privacy={
            "unit": unit,
            "placement": placement,
            "target-delta": 1e-8,
            "max-grad-norm": clip,
            "adaptive-clipping": adaptive,
        },
        aggregation={"protocol": protocol, "min-survivors": 1 if protocol == "plain" else 2},
    )


def planned(config: Config, num_parameters: int) -> tuple[FederationPlan, tuple[Assignment, ...]]:
    plan = plan_federation(config, profiles_of(SIZES), num_parameters)
    return plan, assign_round(plan, plan.names, 1, dict.fromkeys(plan.names, 1.0))


def in_sum(
    plan: FederationPlan,
    cohort: tuple[Assignment, ...],
    answered: tuple[Assignment, ...],
    values: dict[str, np.ndarray],
    num_members: int,
) -> np.ndarray:
    """Return the sum that the server adds noise to, in the units of gradients or of weighted updates."""
    if plan.config.aggregation.protocol == "plain":
        total: FixedSum = {}
        for assignment in answered:
            accumulate(total, {"w": values[assignment.hospital_id]}, assignment.weight)
    else:
        is_record = cell_named(cohort[0].event.cell).unit == "record"
        weights = {a.hospital_id: 1.0 if is_record else float(SIZES[index]) for index, a in enumerate(cohort)}
        quantiser = Quantiser(
            num_members=num_members,
            max_update=update_bound(plan, cohort),
            max_weight=max(weights.values()),
            is_folded=True,
        )
        residues = np.zeros(len(next(iter(values.values()))) + 1, np.uint32)
        for a in answered:
            residues += quantiser.residues(values[a.hospital_id], weights[a.hospital_id])
        known = sum(weights[a.hospital_id] for a in answered)
        total = fixed_sum({"w": quantiser.sums(residues)[0] * (sum(a.weight for a in answered) / known)})
    weight = sum(assignment.weight for assignment in answered)
    factor = len(answered) if cell_named(cohort[0].event.cell).unit == "record" else weight
    return mean(total, weight, {"w": np.zeros(total["w"].shape)})["w"] * factor


def check(
    plan: FederationPlan, cohort: Any, answered: Any, before: np.ndarray, after: np.ndarray, num_members: int
) -> float:
    """Hold the distance of two sums to what the noise is for; return it, relative to the distance without rounding."""
    changed = answered[0]
    share = 1.0 if cell_named(changed.event.cell).unit == "record" else changed.weight
    exact = float(np.linalg.norm(after - before)) * share
    assert exact <= float(changed.sensitivity) * share * (1 + 1e-9)
    sums = [
        in_sum(
            plan,
            cohort,
            answered,
            {a.hospital_id: value if a is changed else np.zeros_like(value) for a in answered},
            num_members,
        )
        for value in (before, after)
    ]
    distance = float(np.linalg.norm(sums[1] - sums[0]))
    covered = plan.cell.noise_stddev(answered, rounding_distance(plan, cohort)) / answered[0].event.noise_multiplier
    assert distance <= covered
    return distance / exact


@pytest.mark.parametrize("gone", [(), (2,), (1, 2)])
@pytest.mark.parametrize("early", [False, True])
def test_a_zeroed_out_hospital_in_a_secure_sum_whoever_drops_out_and_when(gone: tuple[int, ...], early: bool) -> None:
    """Each coordinate just above half a step: with the largest gone, 20 % that its step would not account for."""
    levels = (2**30 - 1) // 3
    weight = SIZES[0] if gone == (1, 2) else SIZES[1] if gone else SIZES[2]
    per_unit = weight / SIZES[2] * levels / (1 + 2.0**-16)
    dimension = min(400_000, math.floor((per_unit / 2.500001) ** 2))
    plan, cohort = planned(settings("hospital", "central", "secagg+"), dimension)
    answered = tuple(a for index, a in enumerate(cohort) if index not in gone)[::-1]
    steps = math.floor(per_unit / math.sqrt(dimension) - 0.5) + 0.500001
    update = np.full(dimension, steps / per_unit)
    ratio = check(plan, cohort, answered, np.zeros(dimension), update, len(answered) if early else 3)
    if gone == (1, 2) and not early:
        assert ratio > 1.18
        # Of the cohort's step and the cohort's largest weight, which nobody who answered has.
        assert rounding_distance(plan, cohort) / (SIZES[2] / sum(SIZES)) < 1e-6


@pytest.mark.parametrize("num_members", [1, 2, 3])
def test_a_replaced_record_in_a_secure_sum(num_members: int) -> None:
    dimension = 250_000
    plan, cohort = planned(settings("record", "central", "secagg+"), dimension)
    step = update_bound(plan, cohort) / ((2**30 - 1) // num_members)
    before = np.full(dimension, 0.499999 * step)
    after = before + 1 / math.sqrt(dimension)
    assert check(plan, cohort, cohort[:num_members], before, after, num_members) > 1.01


@pytest.mark.parametrize("answering", [1, 3])
@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_the_grid_of_the_exact_sum_at_the_smallest_clip_that_is_accepted(unit: str, answering: int) -> None:
    dimension, grid = 10_000, 2.0**-FRACTION_BITS
    clip = 3.01 * math.sqrt(dimension) * grid / 0.01
    plan, cohort = planned(settings(unit, "central", "plain", clip), dimension)
    answered = cohort[:answering] if answering < 3 else cohort[::-1]
    moved, weight = clip / math.sqrt(dimension), answered[0].weight
    if unit == "record":
        before = np.full(dimension, 0.499999 * grid / weight)
        after = before + moved
    else:
        before = np.zeros(dimension)
        steps = math.floor(moved * weight / grid - 0.5) + 0.500001
        after = np.full(dimension, moved if steps < 0 else steps * grid / weight)
    check(plan, cohort, answered, before, after, 3)
    # Together with all else the noise is at most a hundredth larger while the hospitals of average weight are there.
    assert rounding_distance(plan, cohort) <= 0.0101 * clip / (1 if unit == "record" else 3)


@pytest.mark.parametrize("cell", [cell for cell in PRIVATE if cell[1] != "central"])
def test_where_noise_is_in_what_is_rounded_it_costs_nothing(cell: tuple[str, str]) -> None:
    plan, cohort = planned(settings(*cell, "secagg+"), 62)
    assert rounding_distance(plan, cohort) == 0.0


def test_without_clipping_there_is_no_distance_to_cover() -> None:
    nobody = {"placement": "none", "noise-multiplier": None, "target-delta": 1e-8}
    assert rounding_distance(*planned(small_config(privacy=nobody), 62)) == 0.0


@pytest.mark.parametrize("protocol", ["plain", "secagg+"])
@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_a_clip_below_the_grid_is_refused_with_the_least_one(unit: str, protocol: str) -> None:
    least = 3 * 1000 * 2.0**-40 / 0.01
    message = (
        r"max-grad-norm = 1e-09 must be >= 2\.73e-07 and <= 1e\+06 for 1000000 parameters and 3 hospitals in a round "
        r"\(\[privacy\] max-grad-norm\), as sums are kept in steps of 2\^-40: raise it"
    )
    with pytest.raises(ConfigError, match=message):
        planned(settings(unit, "central", protocol, 1e-9), 1_000_000)
    with pytest.raises(ConfigError, match="max-grad-norm"):
        planned(settings(unit, "central", protocol, least * 0.999), 1_000_000)
    planned(settings(unit, "central", protocol, least * 1.001), 1_000_000)
    planned(settings(unit, "local", protocol, 1e-9), 1_000_000)


def test_a_clip_at_which_the_records_decided_whether_their_sum_fits_is_refused_before_any_is_read() -> None:
    """A sum of gradients of 2^22 can't be kept, and a round that failed for it would tell of a sum without noise."""
    planned(settings("record", "central", "plain", clip=4.19), 10)  # the largest hospital has a million records
    planned(settings("hospital", "central", "plain", clip=1e6), 10)
    with pytest.raises(ConfigError, match=r"max-grad-norm = 4\.2 must be < 4\.19 for a hospital of 1000000 records"):
        planned(settings("record", "central", "plain", clip=4.2), 10)


def test_it_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"max-grad-norm = 1e-12 must be >="):
        run(settings("hospital", "central", "plain", 1e-12), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("clip", [0.0, 1e-31, 2e6, math.nan])
def test_clips_that_no_float32_gradient_can_be_held_to_are_refused(clip: float) -> None:
    with pytest.raises(ConfigError, match=r"max-grad-norm = \S+ must be"):
        small_config(privacy={"max-grad-norm": clip})


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("clip", [1e-30, 1e-6, 1.0, 1e6])
def test_float32_leaves_a_clipped_update_within_its_sensitivity(clip: float, adaptive: bool) -> None:
    _, cohort = planned(settings("hospital", "central", "plain", adaptive=adaptive), 0)
    sensitivity = PRIVATE["hospital", "central"].sensitivity(clip, adaptive_clipping=adaptive)
    task = replace(cohort[0], max_grad_norm=clip, sensitivity=sensitivity)
    generator = np.random.default_rng(3)
    for _ in range(20):
        update = {"w": generator.standard_normal(3000) * 10.0 ** generator.uniform(-12, 2, 3000) * clip}
        before = {"w": np.zeros(3000, np.float32)}
        sent, *_ = torch_half(task.event.cell).release(before, update, task, CommonStreams(3).key())
        assert (COUNT_NAME in sent) == adaptive
        norm = math.hypot(*(float(np.linalg.norm(array.astype(np.float64))) for array in sent.values()))
        assert 0.99 * clip < norm <= sensitivity


@pytest.mark.parametrize("clip", [1e-30, 1e6])
@pytest.mark.parametrize(
    ("unit", "placement"), [("record", "distributed"), ("hospital", "distributed"), ("hospital", "local")]
)
def test_integers_and_residues_hold_at_the_ends_of_what_a_clip_may_be(
    unit: str, placement: str, clip: float, tmp_path: Path
) -> None:
    """The integer steps are relative to the clip, and so is the range that secure aggregation has."""
    epsilons = []
    for number, each in enumerate((1.0, clip if placement == "distributed" else min(clip, 1e3))):
        config = settings(unit, placement, "secagg+", each)
        config = replace(
            config,
            training=replace(config.training, num_rounds=2),
            privacy=replace(config.privacy, target_delta=1e-4),
        )
        done = run(config, out=tmp_path / str(number))
        assert done.summary["num_rounds"] == 2
        assert done.summary["left_out"] == []
        assert all(np.isfinite(array).all() for array in load_file(done.folder / "model.safetensors").values())
        epsilons.append(done.summary["epsilon"])
    assert epsilons[0] == epsilons[1]


def test_an_adaptive_clip_stays_where_the_setting_may_be() -> None:
    assert next_clip(1e-30, quantile=1.0, target_quantile=0.0, learning_rate=10.0) == 1e-30
    assert next_clip(1e6, quantile=0.0, target_quantile=1.0, learning_rate=10.0) == 1e6


class ListeningSource(SeededSource):
    """Seeded keys of which the last is remembered, so that what was drawn with it can be drawn again."""

    last: ClassVar[SeededKey]

    def key(self, *inputs: bytes, **where: Any) -> SeededKey:
        ListeningSource.last = super().key(*inputs, **where)
        return ListeningSource.last


@pytest.mark.parametrize("unit", ["record", "hospital"])
@pytest.mark.parametrize("protocol", ["plain", "secagg+"])
def test_a_round_draws_noise_for_those_who_answered_and_for_the_cohorts_grid(protocol: str, unit: str) -> None:
    """The sum of nothing is released: what is left is the noise, whose stddev is read off to twelve digits."""
    plan, cohort = planned(settings(unit, "central", protocol), 62)
    zeros = {"w": np.zeros(62)}
    rounding = rounding_distance(plan, cohort)
    for answered in (cohort, cohort[:2]):  # the last has most of the records
        total: FixedSum = {}
        for assignment in answered:
            accumulate(total, zeros, assignment.weight)
        take_identity()
        summed = Sum(
            total=total,
            replies=[Message(RecordDict(), 1, "train")],
            answered=answered,
            outcome=Outcome(abandoned="", dropped={}, num_scrubbed={}),
        )
        source = ListeningSource(seed=1, job=b"job")
        (reply,), _ = release_of_round(plan, zeros, cohort, summed, source, {})
        drawn = ListeningSource.last.generator(Draw.NOISE).standard_normal(62)
        if unit == "record":
            factor = -plan.config.training.learning_rate / sum(a.schedule.expected_batch_size for a in cohort)
            largest = 1.0
        else:
            factor, largest = 1 / math.fsum(a.weight for a in answered), max(a.weight for a in answered)
        stddev = np.median(arrays_of(reply.content["arrays"])["w"] / factor / drawn)
        distance = cohort[0].distance * largest
        assert stddev == pytest.approx(distance + rounding, rel=1e-13)
        # Neither without rounding, nor with that of the grids of those who answered.
        assert rounding / distance > 1e-12
        if answered != cohort and rounding_distance(plan, answered) != rounding:
            assert stddev != pytest.approx(distance + rounding_distance(plan, answered), rel=1e-13)
        assert stddev != pytest.approx(distance, rel=1e-13)
