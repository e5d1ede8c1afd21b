"""Hospitals that train together make what each makes by itself: in every cell, model and setting that is stacked."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import changed_assignment
from small_runs import CommonStreams
from stacks import CLIP, NUM_OUTPUTS, both_ways, check_alike, cohort, records, same_bits, trainer_of
from torch import nn

from wardround.clients.cells import torch_half
from wardround.clients.stacked.steps import STEPS_TOGETHER
from wardround.clients.stacked.together import Asked, train_together
from wardround.clients.steps import Steps
from wardround.clients.tensors import HospitalTensors
from wardround.exact_sums import FRACTION_BITS, FixedSum, accumulate
from wardround.models import parameters_of
from wardround.privacy.cells import CELLS
from wardround.privacy.integers import from_residues
from wardround.streams import Draw, SeededSource

STACKED = tuple(cell.name for cell in CELLS if torch_half(cell.name).steps in STEPS_TOGETHER)
STEPPED = ("none", "record-local", "hospital-local")


def frozen():
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.SiLU(), nn.Linear(4, NUM_OUTPUTS, bias=False))
    model[0].weight.requires_grad_(False)
    model[2].requires_grad_(False)
    return model


MODELS = {
    "logistic": lambda: "logistic",
    "mlp": lambda: "mlp",
    "wide": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, NUM_OUTPUTS)),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 5, bias=False), nn.GELU()), nn.ELU(), nn.Linear(5, 3)),
    "partly frozen": frozen,
}


def test_all_cells_are_stacked():
    assert set(STEPS_TOGETHER) == set(Steps) and set(STACKED) == {cell.name for cell in CELLS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", STACKED)
def test_it_is_what_each_makes_by_itself(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(MODELS[model](), cell)
    check_alike(*both_ways(trainer, cohort(cell, trainer)))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("value", [0.0, math.nan])
def test_large_layers_are_rounded_by_their_factors_alike_whatever_a_record_is(value, has_bias):
    trainer = trainer_of(nn.Sequential(nn.Linear(600, 12, bias=has_bias)), "record-distributed", shape=(600,))
    data = [records(num, seed, shape=(600,)) for seed, num in enumerate((40, 1, 130))]
    data[2].train_features[::3] = value
    steps = 20_000.0
    asked = [
        replace(each, assignment=changed_assignment(each.assignment, scaled_norm=steps))
        for each in cohort("record-distributed", trainer, data=data, rate=1.0, noise=0.0)
    ]
    alone, together = both_ways(trainer, asked)
    assert all(same_bits(one, other) for one, other in zip(alone, together, strict=True))
    for one, tensors in zip(alone, data, strict=True):
        summed = np.concatenate([from_residues(array.astype(np.int64)).ravel() for array in one.arrays.values()])
        assert 0 < np.linalg.norm(summed) <= steps * tensors.num_train


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", STACKED)
def test_on_a_gpu_it_is_what_each_makes_by_itself(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(MODELS[model](), cell, device="cuda")
    check_alike(*both_ways(trainer, [on_a_gpu(each) for each in cohort(cell, trainer)]), tolerance=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
@pytest.mark.parametrize("model", ["cnn", "dropout", "groups"])
@pytest.mark.parametrize("cell", STACKED)
def test_convolutions_on_a_gpu_are_what_each_makes_by_itself_and_the_same_bits_every_time(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(CONVOLUTIONS[model](), cell, shape=(2, 8, 8), device="cuda", learning_rate=0.1)
    data = [records(num, seed, shape=(2, 8, 8)) for seed, num in enumerate((30, 1, 6))]
    asked = [on_a_gpu(each) for each in cohort(cell, trainer, data=data)]
    start = parameters_of(trainer.model)
    alone, together = both_ways(trainer, asked, start)
    check_alike(alone, together, tolerance=1e-4)
    again = train_together(trainer, start, asked)
    assert all(same_bits(one, other) for one, other in zip(together, again, strict=True))


def on_a_gpu(asked: Asked) -> Asked:
    rows = ("train_features", "train_labels", "test_features", "test_labels")
    return replace(asked, tensors=HospitalTensors(**{name: getattr(asked.tensors, name).cuda() for name in rows}))


def test_an_update_that_is_not_finite_is_zero_in_a_sum_as_it_is_alone():
    trainer = trainer_of("logistic", "hospital-central")
    start = {name: np.full_like(array, np.inf) for name, array in parameters_of(trainer.model).items()}
    asked = [replace(each, weight=0.2) for each in cohort("hospital-central", trainer)]
    alone = [trainer.train(start, each.tensors, each.assignment) for each in asked]
    total: FixedSum = {}
    together = train_together(trainer, start, asked, total)
    assert total.keys() == start.keys() and not any(array.any() for array in total.values())
    assert not any(array.any() for one in alone for array in one.arrays.values())
    assert [one.measures.num_scrubbed for one in together] == [one.measures.num_scrubbed for one in alone]
    assert all(one.measures.num_scrubbed for one in alone) and not any(one.arrays for one in together)


@pytest.mark.parametrize("cell", ["none", "record-local", "hospital-local", "hospital-central"])
def test_updates_of_a_large_model_are_in_the_sum_one_by_one_but_for_those_that_it_refuses(cell):
    torch.manual_seed(3)
    trainer = trainer_of(nn.Sequential(nn.Linear(6, 4096), nn.ReLU(), nn.Linear(4096, NUM_OUTPUTS)), cell)
    assert trainer.num_parameters > 2**15
    start, asked = parameters_of(trainer.model), cohort(cell, trainer)
    weights = [0.2, math.nan, None, 1.5, *[0.1] * (len(asked) - 4)]
    asked = [replace(each, weight=weight) for each, weight in zip(asked, weights, strict=True)]
    total, wanted = FixedSum(), FixedSum()
    sent, together = train_together(trainer, start, asked), train_together(trainer, start, asked, total)
    for weight, own, one in zip(weights, sent, together, strict=True):
        is_share = weight is not None and 0 < weight <= 1
        if is_share:
            accumulate(wanted, own.arrays, weight)
            assert not one.arrays
        else:
            assert one.arrays.keys() == own.arrays.keys() and same_bits(own, one)
    assert all(np.array_equal(total[name], array) for name, array in wanted.items()) and total.keys() == wanted.keys()


def test_no_hospital_moves_a_sum_by_more_than_its_clip_times_its_weight():
    trainer = trainer_of("mlp", "hospital-central", learning_rate=5.0)
    start, asked = parameters_of(trainer.model), cohort("hospital-central", trainer)
    for each in asked:
        total: FixedSum = {}
        train_together(trainer, start, [replace(each, weight=0.5)], total)
        moved = np.linalg.norm(np.concatenate([array.ravel() * 2.0**-FRACTION_BITS for array in total.values()]))
        assert 0.5 * CLIP * (1 - 1e-5) <= moved <= 0.5 * CLIP


CONVOLUTIONS = {
    "cnn": lambda: "cnn",
    "dropout": lambda: nn.Sequential(
        *(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.Dropout(0.0), nn.Flatten(), nn.Linear(16, 3))
    ),
    "groups": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3, groups=2, padding=1), nn.Tanh(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16, 3))
    ),
}


@pytest.mark.parametrize("model", CONVOLUTIONS)
@pytest.mark.parametrize("cell", STEPPED)
def test_convolutions_are_what_each_makes_by_itself_though_company_makes_them_no_faster_here(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(CONVOLUTIONS[model](), cell, shape=(2, 8, 8), learning_rate=0.1)
    asked = cohort(cell, trainer, data=[records(num, seed, shape=(2, 8, 8)) for seed, num in enumerate((30, 1, 6))])
    start = parameters_of(trainer.model)
    alone = [trainer.train(start, each.tensors, each.assignment) for each in asked]
    check_alike(alone, train_together(trainer, start, asked))


@pytest.mark.parametrize("probability", [0.0, 1.0])
@pytest.mark.parametrize("cell", STEPPED)
def test_dropout_of_nothing_and_of_everything_is_the_same_together(cell, probability):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(probability), nn.Linear(5, NUM_OUTPUTS))
    trainer = trainer_of(model, cell)
    check_alike(*both_ways(trainer, cohort(cell, trainer)))


@pytest.mark.parametrize("cell", STEPPED)
def test_what_dropout_draws_is_each_hospitals_own_and_hangs_on_no_company(cell):
    """With streams that no key changes, a hospital makes the same beside others, and two alike are not the same."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, NUM_OUTPUTS))
    trainer = trainer_of(model, cell)
    alike = [records(40, seed) for seed in range(4)]
    start = parameters_of(trainer.model)
    asked = cohort(cell, trainer, data=alike, noise=0.0, rate=0.3, steps=4)
    whole, pair = (train_together(trainer, start, some) for some in (asked, asked[:2]))
    check_alike(whole[:2], pair)
    plain = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, NUM_OUTPUTS))
    without = train_together(trainer_of(plain, cell), start, asked)
    moved = [
        np.abs(one.arrays["0.weight"] - other.arrays["0.weight"]).max()
        for one, other in zip(whole, without, strict=True)
    ]
    assert min(moved) > 1e-3


IMAGES = {
    "positions": lambda: nn.Sequential(
        nn.Linear(8, 4), nn.LayerNorm((8, 4)), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "groups": lambda: nn.Sequential(
        nn.GroupNorm(1, 2), nn.MaxPool2d(2), nn.Flatten(2), nn.Linear(16, 5), nn.SiLU(), nn.Flatten(), nn.Linear(10, 3)
    ),
    "frozen": lambda: nn.Sequential(
        nn.Linear(8, 6).requires_grad_(False),
        nn.LayerNorm(6),
        nn.AdaptiveMaxPool2d((2, 1)),
        nn.Flatten(),
        nn.GroupNorm(1, 4),
        nn.Linear(4, NUM_OUTPUTS).requires_grad_(False),
        nn.Softmax(dim=1),
    ),
}


@pytest.mark.parametrize("model", IMAGES)
@pytest.mark.parametrize("cell", ["none", "record-local", "record-central", "hospital-local"])
def test_layers_of_images_are_what_each_makes_by_itself(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(IMAGES[model](), cell, shape=(2, 8, 8), learning_rate=0.1)
    data = [records(num, seed, shape=(2, 8, 8)) for seed, num in enumerate((30, 1, 6))]
    data[2].train_features[1, 0, 3] = np.nan
    check_alike(*both_ways(trainer, cohort(cell, trainer, data=data)))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", STEPPED)
def test_fifty_steps_without_noise_end_within_a_hundred_thousandth(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(MODELS[model](), cell, learning_rate=0.2)
    check_alike(*both_ways(trainer, cohort(cell, trainer, steps=50, noise=0.0)))


@pytest.mark.parametrize("model", [nn.ReLU, nn.Tanh])
def test_fifty_noisy_steps_end_within_a_hundred_thousandth_of_opacus(model):
    """With kinks as without: of 118 hospitals and an mlp of 64 the largest difference seen was 1.8e-7."""
    torch.manual_seed(3)
    built = nn.Sequential(nn.Linear(6, 16), model(), nn.Linear(16, NUM_OUTPUTS))
    trainer, opacus = (trainer_of(built, "record-local", grad_sample_mode=mode) for mode in ("auto", "hooks"))
    asked = cohort("record-local", trainer, steps=50, noise=1.0)
    start = parameters_of(trainer.model)
    alone = [opacus.train(start, each.tensors, each.assignment) for each in asked]
    check_alike(alone, train_together(trainer, start, asked))


SETTINGS = {
    "momentum": {"momentum": 0.9, "weight_decay": 0.01, "learning_rate": 0.1},
    "adam": {"optimizer": "adam", "weight_decay": 0.1, "learning_rate": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "learning_rate": 0.01},
    "schedule": {"learning_rate_schedule": "cosine", "num_rounds": 5},
    "weights": {"loss_weights": (0.5, 3.0, 1.0)},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("cell", STEPPED)
def test_every_optimizer_and_schedule_is_each_hospitals_own(cell, settings):
    trainer = trainer_of("mlp", cell, **SETTINGS[settings])
    check_alike(*both_ways(trainer, cohort(cell, trainer, round_number=3)))


@pytest.mark.parametrize("cell", STEPPED)
def test_the_pull_of_the_proximal_term_is_the_same(cell):
    trainer = trainer_of("mlp", cell)
    pulled, free = (both_ways(trainer, cohort(cell, trainer, mu=mu)) for mu in (0.5, 0.0))
    check_alike(*pulled)
    assert not same_bits(pulled[1][1], free[1][1])


@pytest.mark.parametrize("cell", STEPPED)
def test_a_regression_is_the_same(cell):
    trainer = trainer_of("mlp", cell, task="regression", learning_rate=0.05)
    data = [records(num, seed, task="regression") for seed, num in enumerate((30, 4))]
    check_alike(*both_ways(trainer, cohort(cell, trainer, data=data)))


def test_images_are_flattened_the_same():
    trainer = trainer_of("mlp", "record-local", shape=(2, 4, 3))
    data = [records(num, seed, shape=(2, 4, 3)) for seed, num in enumerate((30, 4))]
    check_alike(*both_ways(trainer, cohort("record-local", trainer, data=data)))


def test_hospitals_may_have_clips_of_their_own():
    trainer = trainer_of("mlp", "record-central")
    asked = [*cohort("record-central", trainer, clip=0.1), *cohort("record-central", trainer, clip=30.0)]
    alone = []
    for each in asked:  # a trainer of one hospital after the other keeps to one clip
        fresh = trainer_of("mlp", "record-central")
        alone.append(fresh.train(parameters_of(trainer.model), each.tensors, each.assignment))
    check_alike(alone, train_together(trainer, parameters_of(trainer.model), asked))


def test_hospitals_of_several_cells_and_rounds_may_be_asked_at_once():
    trainer = trainer_of("logistic", "none")
    asked = [*cohort("none", trainer), *cohort("hospital-central", trainer, round_number=2)]
    check_alike(*both_ways(trainer, asked[::2] + asked[1::2]))


def test_adaptive_clipping_sends_its_count():
    trainer = trainer_of("logistic", "hospital-central")
    asked = [
        Asked(tensors=each.tensors, assignment=changed_assignment(each.assignment, adaptive_clipping=True))
        for each in cohort("hospital-central", trainer)
    ]
    start = parameters_of(trainer.model) | {"within-clip": np.zeros(())}
    alone, together = both_ways(trainer, asked, start)
    check_alike(alone, together)
    assert "within-clip" in together[0].arrays


@pytest.mark.parametrize("cell", STACKED)
def test_no_batch_and_a_single_record_are_steps_like_any_other(cell):
    trainer = trainer_of("mlp", cell, momentum=0.5)
    asked = cohort(cell, trainer, data=[records(1, 0), records(50, 1)], rate=1e-9, noise=1.0)
    alone, together = both_ways(trainer, asked)
    check_alike(alone, together)
    assert all(math.isnan(each.measures.loss) for each in together)


@pytest.mark.parametrize("cell", STACKED)
def test_many_records_are_added_block_by_block(cell):
    trainer = trainer_of("mlp", cell, learning_rate=0.1)
    data = [records(num, seed) for seed, num in enumerate((700, 520, 256, 257, 3))]
    check_alike(*both_ways(trainer, cohort(cell, trainer, data=data, rate=1.0, steps=2)))


@pytest.mark.parametrize("cell", ["record-local", "hospital-central"])
def test_batches_of_all_records_serve_every_step_until_each_hospital_stops(cell):
    trainer = trainer_of("mlp", cell, learning_rate=0.1)
    data = [records(num, seed) for seed, num in enumerate((70, 52, 41, 60, 300))]
    check_alike(*both_ways(trainer, cohort(cell, trainer, data=data, rate=1.0)))


def test_batches_that_outgrow_their_block_are_whole():
    trainer = trainer_of("mlp", "record-local", learning_rate=0.1)
    asked = cohort("record-local", trainer, data=[records(29, seed) for seed in range(20)], rate=0.1, steps=40)
    sampled = [
        (CommonStreams(7).drawn(Draw.SAMPLING, 1, each.assignment.hospital_id).random((40, 29)) < 0.1).sum(axis=1)
        for each in asked
    ]
    assert any((sizes > 8).any() for sizes in sampled)  # a block of these has 8
    check_alike(*both_ways(trainer, asked))


def test_draws_that_take_several_goes_are_the_same():
    trainer = trainer_of("logistic", "record-local")
    asked = cohort("record-local", trainer, data=[records(60_000, 0), records(2, 1)], rate=3e-4, steps=80)
    check_alike(*both_ways(trainer, asked))


@pytest.mark.parametrize("cell", STACKED)
def test_records_that_are_not_finite_are_left_out_and_counted(cell):
    data = [records(num, seed) for seed, num in enumerate((40, 30, 20))]
    for row, value in ((0, np.nan), (3, np.inf), (5, -np.inf), (7, 1e30), (8, 1e38)):
        data[1].train_features[row, 2] = value
    data[2].train_features[:] = np.nan
    trainer = trainer_of("mlp", cell)
    alone, together = both_ways(trainer, cohort(cell, trainer, data=data, rate=1.0))
    check_alike(alone, together)
    assert together[0].measures.num_scrubbed == 0 < min(each.measures.num_scrubbed for each in together[1:])


@pytest.mark.parametrize("cell", ["record-local", "record-central", "hospital-local"])
def test_parameters_that_are_not_finite_leave_every_record_out(cell):
    trainer = trainer_of("mlp", cell)
    start = {name: np.full_like(array, np.nan) for name, array in parameters_of(trainer.model).items()}
    check_alike(*both_ways(trainer, cohort(cell, trainer), start))


@pytest.mark.parametrize("cell", STACKED)
def test_it_is_the_same_bits_again(cell):
    trainer = trainer_of("mlp", cell)
    start, asked = parameters_of(trainer.model), cohort(cell, trainer)
    first, again = train_together(trainer, start, asked), train_together(trainer, start, asked)
    assert all(same_bits(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("value", [5.0, np.nan, np.inf, 1e30])
@pytest.mark.parametrize("cell", STACKED)
def test_what_one_hospital_holds_changes_no_bit_of_anothers(cell, value):
    trainer = trainer_of("mlp", cell)
    start, results = parameters_of(trainer.model), []
    for changed in (False, True):
        data = [records(num, seed) for seed, num in enumerate((40, 33, 60, 25))]
        if changed:
            data[1].train_features[4:20] = value
        results.append(train_together(trainer, start, cohort(cell, trainer, data=data, rate=0.5)))
    same = [same_bits(one, other) for one, other in zip(*results, strict=True)]
    assert same == [True, False, True, True]


def test_who_else_is_in_the_stack_changes_last_bits_alone():
    trainer = trainer_of("mlp", "record-local")
    start, asked = parameters_of(trainer.model), cohort("record-local", trainer)
    whole = train_together(trainer, start, asked)
    for some in itertools.combinations(range(len(asked)), 2):
        check_alike([whole[index] for index in some], train_together(trainer, start, [asked[index] for index in some]))


def noise_apart(one, other):
    return max(float(np.abs(array - other.arrays[name]).max()) for name, array in one.arrays.items())


def test_a_stack_and_a_hospital_by_itself_draw_apart_and_so_do_two_stacks():
    trainer = trainer_of("logistic", "record-local", source=SeededSource(seed=7, job=b""))
    start, asked = parameters_of(trainer.model), cohort("record-local", trainer, noise=1.0)
    (first, *_), alone = (
        train_together(trainer, start, asked),
        trainer.train(start, asked[0].tensors, asked[0].assignment),
    )
    results = [first, alone, *(train_together(trainer, start, asked[:count])[0] for count in (1, 2))]
    results.append(train_together(trainer, start, [asked[0], *asked[:0:-1]])[0])
    for one, other in itertools.combinations(results, 2):
        assert noise_apart(one, other) > 1e-3
    assert same_bits(first, train_together(trainer, start, asked)[0])
    assert first.execution == alone.execution


def test_nobody_is_a_stack_too():
    trainer = trainer_of("logistic", "record-local")
    assert train_together(trainer, parameters_of(trainer.model), []) == []


def clipped_sum(trainer, data, others=()):
    asked = cohort("record-central", trainer, data=[data, *others], rate=1.0)
    sent = train_together(trainer, parameters_of(trainer.model), asked)[0].arrays
    return np.concatenate([array.reshape(-1) for array in sent.values()])


def zeroed(data, row):
    """Return the data with a record that has no gradient."""
    features = data.train_features.clone()
    features[row] = np.nan
    return type(data)(
        train_features=features, train_labels=data.train_labels, test_features=features, test_labels=data.test_labels
    )


@pytest.mark.parametrize("model", ["logistic", "mlp"])
@pytest.mark.parametrize("num", [1, 60, 60_000])
def test_a_record_zeroed_out_moves_the_sum_by_at_most_the_clip(model, num):
    trainer = trainer_of(model, "record-central")
    data = records(num, 0)
    data.train_features.mul_(50.0)  # all are clipped
    data.train_features[num // 2 :] = data.train_features[num // 2].clone()  # many in one direction
    data.train_labels[:] = trainer.model(data.train_features).argmin(dim=1)  # and none is answered right
    whole, others = clipped_sum(trainer, data, [records(30, 1)]), [records(30, 1)]
    moves = [np.linalg.norm(whole - clipped_sum(trainer, zeroed(data, row), others)) for row in {0, num // 2, num - 1}]
    assert max(moves) <= CLIP
    assert min(moves) >= CLIP * (1 - 1e-5)


def test_rows_don_t_depend_on_where_they_stand():
    """What makes a clipped gradient a function of its record: here of 500, in two orders."""
    trainer = trainer_of("mlp", "record-central")
    data = records(500, 0)
    order = torch.from_numpy(np.random.default_rng(1).permutation(500))
    moved = type(data)(
        train_features=data.train_features[order],
        train_labels=data.train_labels[order],
        test_features=data.test_features,
        test_labels=data.test_labels,
    )
    np.testing.assert_allclose(clipped_sum(trainer, moved), clipped_sum(trainer, data), rtol=0, atol=1e-10)
