"""Local training: the clipped sum is right in every mode, the noise is the noise billed, and nothing leaks across."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from made_up import changed_assignment, flat_assignment
from scipy.stats import kstest
from small_runs import CommonStreams

from wardround.clients.gradients import quiet_hooks
from wardround.clients.steps import LocalRound, private_steps
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.errors import ProtocolError
from wardround.models import build_model, parameters_of
from wardround.privacy.executions import check_execution
from wardround.privacy.noise import GaussianNoise
from wardround.privacy.sampling import PoissonSampler
from wardround.streams import Draw, SeededSource

MODES = ("closed-form", "hooks", "functorch", "ew", "ghost", "per-record")
NUM_RECORDS, NUM_FEATURES = 40, 6


def tensors(seed=0, num_records=NUM_RECORDS, shape=(NUM_FEATURES,)):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num_records, *shape)).astype(np.float32) * 3
    labels = generator.integers(0, 2, num_records)
    return HospitalTensors(
        train_features=torch.tensor(features),
        train_labels=torch.tensor(labels),
        test_features=torch.tensor(features),
        test_labels=torch.tensor(labels),
    )


def trainer(mode="hooks", model="logistic", seed=7, shape=(NUM_FEATURES,), most_floats=2**27, **training):
    task = training.pop("task", "classification")
    outputs = 1 if task == "regression" else 2
    built, _ = build_model(ModelConfig(name=model), input_shape=shape, num_outputs=outputs, seed=1)
    config = TrainingConfig(**({"grad_sample_mode": mode, "learning_rate": 0.5} | training))
    return LocalTrainer(built, config, task=task, source=CommonStreams(seed), most_floats=most_floats)


def assignment(**changes):
    values = {
        "hospital_id": "north",
        "round_number": 1,
        "sample_rate": 0.3,
        "expected_batch_size": 0.3 * NUM_RECORDS,
        "num_steps": 5,
        "noise_multiplier": 0.0,
        "max_grad_norm": 0.7,
        "weight": 1.0,
    }
    return flat_assignment(**(values | changes))


def reference_logistic(arrays, data, task, seed=7, learning_rate=0.5):
    """DP-SGD on softmax regression in NumPy float64: Abadi et al. 2016, algorithm 1, without noise."""
    weight, bias = (arrays[name].astype(float) for name in ("1.weight", "1.bias"))
    features, labels = data.train_features.numpy().astype(float), data.train_labels.numpy()
    sampling = CommonStreams(seed).drawn(Draw.SAMPLING, task.round_number, task.hospital_id)
    for _ in range(task.schedule.num_steps):
        batch = sampling.random(len(labels)) < task.schedule.sample_rate
        logits = features[batch] @ weight.T + bias
        residual = np.exp(logits - logits.max(1, keepdims=True))
        residual /= residual.sum(1, keepdims=True)
        residual -= np.eye(2)[labels[batch]]
        gradients = np.einsum("no,ni->noi", residual, features[batch])
        norms = np.sqrt((gradients**2).sum((1, 2)) + (residual**2).sum(1))
        factors = np.minimum(1, (task.max_grad_norm or math.inf) / (norms + 1e-6))
        weight -= learning_rate * np.einsum("n,noi->oi", factors, gradients) / task.schedule.expected_batch_size
        bias -= learning_rate * (factors @ residual) / task.schedule.expected_batch_size
    return {"1.weight": weight, "1.bias": bias}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_equals_the_numpy_loop(mode):
    local, data = trainer(mode), tensors()
    arrays = parameters_of(local.model)
    got, execution, _ = local.train(arrays, data, assignment())
    want = reference_logistic(arrays, data, assignment())
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, atol=2e-5)
    assert (execution.num_steps, execution.num_noise_draws, execution.sample_rate) == (5, 5, 0.3)


def test_without_privacy_it_is_the_same_loop_without_clip():
    local, data = trainer(), tensors()
    arrays = parameters_of(local.model)
    plain = assignment(max_grad_norm=None)
    got, execution, _ = local.train(arrays, data, plain)
    for name, array in reference_logistic(arrays, data, plain).items():
        np.testing.assert_allclose(got[name], array, atol=2e-5)
    assert execution.num_noise_draws == 0


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_images_without_privacy_are_trained_as_by_a_plain_loop_on_them(name):
    shape, data = (1, 8, 8), tensors(shape=(1, 8, 8))
    local, plain = trainer("hooks", name, shape=shape, learning_rate=0.05), assignment(max_grad_norm=None)
    model, _ = build_model(ModelConfig(name=name), input_shape=shape, num_outputs=2, seed=1)
    arrays = parameters_of(model)
    got, *_ = local.train(arrays, data, plain)
    sampling = CommonStreams(7).drawn(Draw.SAMPLING, plain.round_number, plain.hospital_id)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(plain.schedule.num_steps):
        batch = torch.from_numpy(sampling.random(NUM_RECORDS) < plain.schedule.sample_rate)
        losses = torch.nn.functional.cross_entropy(
            model.train()(data.train_features[batch]), data.train_labels[batch], reduction="sum"
        )
        optimizer.zero_grad()
        (losses / plain.schedule.expected_batch_size).backward()
        optimizer.step()
    for key, array in parameters_of(model).items():
        np.testing.assert_allclose(got[key], array, atol=1e-5)
    # Nothing of the last step stays behind.
    assert all(parameter.grad is None for parameter in local.parameters)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "lie_last"), [("cnn", True), ("vgg19", False)])
def test_images_lie_channels_last_unless_group_norms_see_them(name, lie_last, channels):
    images = torch.randn(2, channels, 32, 32)
    laid_out = trainer("auto", name, shape=images.shape[1:]).laid_out(images)
    assert torch.equal(laid_out, images)
    assert (laid_out.stride()[1] == 1) == lie_last


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_modes_agree_on_deeper_models(model):
    shape, data = (1, 8, 8), tensors(shape=(1, 8, 8))
    task = assignment(noise_multiplier=0.5)
    results = []
    for mode in MODES:
        local = trainer(mode, model, shape=shape)
        results.append(local.train(parameters_of(local.model), data, task)[0])
    for result in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_allclose(result[name], array, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_chunks_of_a_batch_add_up_to_the_same_step(mode):
    data, task = tensors(), assignment(noise_multiplier=1.0)
    whole = trainer(mode)
    want, *_ = whole.train(parameters_of(whole.model), data, task)
    parts = trainer(mode, most_floats=14 * 3)  # three records at a time
    got, execution, _ = parts.train(parameters_of(parts.model), data, task)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5)
    assert execution.num_noise_draws == task.schedule.num_steps


@pytest.mark.parametrize("owned", [False, True])
def test_a_large_batch_without_a_clip_is_worked_off_in_parts(owned):
    data, task = tensors(), assignment(max_grad_norm=None, noise_multiplier=0.0, sample_rate=1.0)
    data.train_features[5] = torch.nan
    if owned:
        data = dataclasses.replace(data, train_owners=torch.arange(NUM_RECORDS) // 3)
    whole, parts = trainer(), trainer(most_floats=2)  # eight numbers at a time: a row, or a patient's
    assert parts.rows_at_a_time((NUM_FEATURES,)) == 1 < NUM_RECORDS < whole.rows_at_a_time((NUM_FEATURES,))
    (want, _, measured), (got, _, again) = (
        each.train(parameters_of(each.model), data, task) for each in (whole, parts)
    )
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, atol=1e-6)
    assert again.loss == pytest.approx(measured.loss) and again.num_scrubbed == measured.num_scrubbed > 0


@pytest.mark.parametrize("mode", MODES)
def test_empty_batches_are_steps_with_noise(mode):
    local, data = trainer(mode), tensors()
    task = assignment(sample_rate=1e-9, expected_batch_size=1.0, noise_multiplier=2.0, num_steps=3)
    arrays = parameters_of(local.model)
    got, execution, measures = local.train(arrays, data, task)
    assert (execution.num_noise_draws, execution.num_steps) == (3, 3)
    assert math.isnan(measures.loss)
    generator = CommonStreams(7).drawn(Draw.NOISE)
    want = {name: array.copy() for name, array in arrays.items()}
    for _ in range(3):
        for name in want:
            want[name] -= 0.5 * 2.0 * 0.7 * generator.standard_normal(want[name].shape, dtype=np.float32)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_noise_really_added_has_the_billed_scale(mode):
    shape, num_outputs = (2_000,), 2
    built, _ = build_model(ModelConfig(), input_shape=shape, num_outputs=num_outputs, seed=1)
    local = LocalTrainer(
        built, TrainingConfig(grad_sample_mode=mode, learning_rate=1.0), task="classification", source=CommonStreams(3)
    )
    # Features of zero leave the weights' gradients at zero: what is left is noise alone.
    data = HospitalTensors(
        train_features=torch.zeros(30, *shape),
        train_labels=torch.zeros(30, dtype=torch.int64),
        test_features=torch.zeros(0, *shape),
        test_labels=torch.zeros(0, dtype=torch.int64),
    )
    task = assignment(num_steps=1, noise_multiplier=1.5, max_grad_norm=0.8, expected_batch_size=9.0)
    arrays = parameters_of(local.model)
    got, *_ = local.train(arrays, data, task)
    noise = (arrays["1.weight"] - got["1.weight"]).ravel() * 9.0
    scale = 1.5 * 0.8
    assert kstest(noise, "norm", args=(0, scale)).pvalue > 0.01
    for wrong in (scale * 2 / 3, scale * 3 / 2):
        assert kstest(noise, "norm", args=(0, wrong)).pvalue < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_records_that_are_not_finite_are_scrubbed_and_counted(mode):
    data = tensors()
    features = data.train_features.clone()
    features[3] = math.nan
    features[5, 0] = math.inf
    spoiled = dataclasses.replace(data, train_features=features)
    task = assignment(sample_rate=1.0, num_steps=2, noise_multiplier=0.3)
    local = trainer(mode)
    arrays = parameters_of(local.model)
    got, _, measures = local.train(arrays, spoiled, task)
    assert measures.num_scrubbed == 4
    keep = [index for index in range(NUM_RECORDS) if index not in (3, 5)]
    without = dataclasses.replace(data, train_features=data.train_features[keep], train_labels=data.train_labels[keep])
    want, *_ = trainer(mode).train(arrays, without, task)
    for name, array in want.items():
        assert np.isfinite(got[name]).all()
        np.testing.assert_allclose(got[name], array, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_nothing_but_broken_records_is_noise_alone(mode):
    data = tensors()
    broken = dataclasses.replace(data, train_features=torch.full_like(data.train_features, math.nan))
    local = trainer(mode)
    arrays = parameters_of(local.model)
    task = assignment(sample_rate=1.0, num_steps=2)
    got, _, measures = local.train(arrays, broken, task)
    assert measures.num_scrubbed == 2 * NUM_RECORDS
    assert all(np.array_equal(got[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("mode", MODES)
def test_one_record_moves_the_sum_by_no_more_than_the_clip(mode):
    """Sensitivity: add one record to a batch, whatever its size and label; the clipped sum moves by at most C."""
    data = tensors(1)
    norm = 0.7
    for scale in (1e-3, 1.0, 1e4):
        sums = []
        for count in (10, 11):
            local = trainer(mode, learning_rate=1.0)
            arrays = parameters_of(local.model)
            features = data.train_features[:count].clone()
            if count == 11:
                features[10] *= scale
            part = dataclasses.replace(data, train_features=features, train_labels=data.train_labels[:count])
            task = assignment(sample_rate=1.0, num_steps=1, max_grad_norm=norm, expected_batch_size=1.0)
            got, *_ = local.train(arrays, part, task)
            sums.append(np.concatenate([(arrays[name] - got[name]).ravel() for name in arrays]))
        assert np.linalg.norm(sums[1] - sums[0]) <= norm * (1 + 1e-4)


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "functorch", "ew", "per-record"])
@pytest.mark.parametrize("max_grad_norm", [0.7, None])
def test_a_patient_of_several_rows_is_one_record(mode, max_grad_norm):
    """Repeating every row of a patient changes nothing: the patient is sampled, averaged and clipped as one."""
    data = tensors()
    copies = torch.arange(NUM_RECORDS) % 3 + 1
    owners = torch.arange(NUM_RECORDS).repeat_interleave(copies)
    repeated = dataclasses.replace(
        data,
        train_features=data.train_features[owners],
        train_labels=data.train_labels[owners],
        train_owners=owners,
    )
    task = assignment(max_grad_norm=max_grad_norm, noise_multiplier=1.0 if max_grad_norm else 0.0)
    single = trainer(mode)
    arrays = parameters_of(single.model)
    want, *_ = single.train(arrays, data, task)
    for floats in (14 * 4, 2**27):
        got, _, measures = trainer(mode, most_floats=floats).train(arrays, repeated, task)
        assert measures.num_examples == NUM_RECORDS
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, atol=1e-5)


class Folded(torch.nn.Module):
    """Five patches of a record go through one layer as if they were five records."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(NUM_FEATURES, 2)

    def forward(self, records):
        return self.head(records.reshape(-1, NUM_FEATURES)).reshape(len(records), -1, 2).mean(dim=1)


def test_what_is_folded_into_the_batch_is_clipped_with_its_record():
    local = LocalTrainer(Folded(), TrainingConfig(learning_rate=1.0), task="classification", source=CommonStreams(7))
    data = tensors(shape=(5, NUM_FEATURES))
    task = assignment(sample_rate=1.0, num_steps=1, max_grad_norm=0.1, expected_batch_size=1.0)
    arrays = parameters_of(local.model)
    got, *_ = local.train(arrays, data, task)
    # By hand: the mean of the patches goes through the layer, being linear.
    folded = dataclasses.replace(data, train_features=data.train_features.mean(dim=1))
    named = {"1.weight": arrays["head.weight"], "1.bias": arrays["head.bias"]}
    want = reference_logistic(named, folded, task, learning_rate=1.0)
    np.testing.assert_allclose(got["head.weight"], want["1.weight"], atol=2e-5)
    np.testing.assert_allclose(got["head.bias"], want["1.bias"], atol=2e-5)


def test_streams_differ_by_hospital_and_round_and_repeat_with_the_seed():
    data, results = tensors(), {}
    for key in [("north", 1), ("north", 2), ("south", 1)]:
        local = trainer()
        task = assignment(hospital_id=key[0], round_number=key[1], noise_multiplier=1.0)
        arrays = parameters_of(local.model)
        results[key] = local.train(arrays, data, task)[0]
        again, *_ = trainer().train(arrays, data, task)
        assert all(np.array_equal(results[key][name], again[name]) for name in again)
    first, *others = results.values()
    assert all(not np.array_equal(first["1.weight"], other["1.weight"]) for other in others)


def test_one_trainer_serves_hospitals_in_any_order():
    data, arrays = tensors(), parameters_of(trainer().model)
    tasks = [assignment(hospital_id=name, noise_multiplier=1.0) for name in ("a", "b", "c")]
    local = trainer(momentum=0.9)
    forward = {task.hospital_id: local.train(arrays, data, task)[0] for task in tasks}
    backward = {task.hospital_id: local.train(arrays, data, task)[0] for task in reversed(tasks)}
    for name, want in forward.items():
        assert all(np.array_equal(backward[name][key], want[key]) for key in want)


@pytest.mark.parametrize("max_grad_norm", [0.7, None])
def test_the_proximal_pull_is_mu_times_the_distance(max_grad_norm):
    data = tensors()
    task = assignment(num_steps=2, sample_rate=1e-9, expected_batch_size=1.0, max_grad_norm=max_grad_norm)
    if max_grad_norm:
        task = changed_assignment(task, noise_multiplier=1.0)
    local = trainer()
    arrays = parameters_of(local.model)
    pulled, *_ = local.train(arrays, data, task, proximal_mu=0.4)
    free, *_ = trainer().train(arrays, data, changed_assignment(task, num_steps=1))
    second, *_ = trainer().train(arrays, data, task)
    for name in arrays:
        # After the first step the distance is that step, so the second step is pulled back by lr * mu * distance.
        want = second[name] - 0.5 * 0.4 * (free[name] - arrays[name])
        np.testing.assert_allclose(pulled[name], want, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_regression_and_optimizers_reduce_the_loss(optimizer):
    local = trainer(task="regression", optimizer=optimizer, learning_rate=0.05)
    data = tensors(num_records=200)
    target = data.train_features @ torch.linspace(-1, 1, NUM_FEATURES)
    data = dataclasses.replace(data, train_labels=target)
    arrays = parameters_of(local.model)
    task = assignment(sample_rate=0.5, expected_batch_size=100.0, num_steps=60, max_grad_norm=20.0)
    first, _, measures = local.train(arrays, data, task)
    *_, later = local.train(first, data, task)
    assert later.loss < measures.loss / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": 4},
        {"sample_rate": 0.31},
        {"noise_multiplier": 0.99},
        {"num_noise_draws": 4},
        {"round_number": 2},
        {"hospital_id": "south"},
    ],
)
def test_a_difference_between_plan_and_execution_is_an_error(changes):
    local = trainer()
    task = assignment(noise_multiplier=1.0)
    _, execution, _ = local.train(parameters_of(local.model), tensors(), task)
    check_execution(task, execution)
    with pytest.raises(ProtocolError, match=f"executed {next(iter(changes))} = .* was planned and charged"):
        check_execution(task, dataclasses.replace(execution, **changes))


def test_noise_and_steps_are_counted_where_they_are_drawn_and_not_taken_from_the_plan():
    local, task, streams = trainer(), assignment(noise_multiplier=1.5), CommonStreams(7)
    noise = GaussianNoise(streams.drawn(Draw.NOISE), torch.device("cpu"))
    sampler = PoissonSampler(NUM_RECORDS, 0.3, lambda: streams.drawn(Draw.SAMPLING))
    given = LocalRound(
        received={}, tensors=tensors(), assignment=task, key=streams.key(), sampler=sampler, proximal_mu=0.0
    )
    noise.noise_for([torch.zeros(1)], 1.5 * 0.7)  # drawn, and not assigned
    with quiet_hooks():
        counts = private_steps(local, given, noise)
    assert (sampler.num_draws, counts.num_noise_draws, counts.noise_multiplier) == (5, 6, pytest.approx(1.5))


@pytest.mark.parametrize("read_only", [False, True])
def test_another_model_is_other_noise_whatever_memory_it_lies_in(read_only):
    local, data, task = trainer(), tensors(), assignment(noise_multiplier=30.0, sample_rate=1e-9)
    local = LocalTrainer(local.model, TrainingConfig(), task="classification", source=SeededSource(seed=7, job=b""))
    arrays = parameters_of(local.model)

    def noise_on(arrays, task=task):
        for array in arrays.values():
            array.flags.writeable = not read_only
        sent, *_ = local.train(arrays, data, task)
        return np.concatenate([(sent[name] - arrays[name]).reshape(-1) for name in sorted(arrays)])

    first, again = noise_on(arrays), noise_on(arrays)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, noise_on({name: array.copy() for name, array in arrays.items()}))
    for name in arrays:
        arrays[name].flags.writeable = True
        if not read_only:
            arrays[name] += 1e-6  # in place: no other address tells it
            assert not np.allclose(noise_on(arrays), first, atol=1e-3)
        other = {key: array + (np.float32(1e-6) if key == name else 0) for key, array in arrays.items()}
        assert not np.allclose(noise_on(other), first, atol=1e-3)
    south = noise_on(arrays, changed_assignment(task, hospital_id="south"))
    assert not np.allclose(south, noise_on(arrays), atol=1e-3)


@pytest.mark.parametrize("changed", ["feature", "label", "owners"])
def test_other_records_are_other_noise_whatever_the_source_knows_of_them(changed):
    local, first, task = trainer(), tensors(), assignment(noise_multiplier=30.0, sample_rate=1e-9, num_steps=1)
    features, labels = first.train_features.clone(), first.train_labels.clone()
    if changed == "feature":
        features[0, 0] += 1
    if changed == "label":
        labels[0] = 1 - labels[0]
    owners = torch.arange(NUM_RECORDS) if changed == "owners" else None
    second = dataclasses.replace(first, train_features=features, train_labels=labels, train_owners=owners)
    for half in ("record-local", "hospital-local"):
        task = changed_assignment(task, cell=half)
        job = LocalTrainer(local.model, TrainingConfig(), task="classification", source=SeededSource(seed=7, job=b""))
        arrays = parameters_of(local.model)
        sent = [job.train(arrays, data, task)[0] for data in (first, second)]
        assert all(np.abs(sent[0][name] - sent[1][name]).min() > 1e-6 for name in arrays)
