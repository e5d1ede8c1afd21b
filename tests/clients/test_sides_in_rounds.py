"""A strategy's own code at a hospital: a program of what it is given, run after clip and noise."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up import changed_assignment
from scipy.stats import kstest
from test_training import assignment, tensors, trainer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from wardround.clients.hospital_sides import side_in_round
from wardround.errors import ConfigError
from wardround.models import parameters_of
from wardround.strategies import HospitalSide
from wardround.streams import SeededSource

_SHAPE = (40,)


def add(gradient: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part + received[name] for name, part in gradient.items()}


def side_of(step: Any) -> HospitalSide:
    return HospitalSide(strategy="Mine", step=step)


def like(arrays: Any, value: float) -> dict[str, Any]:
    return {name: np.full_like(array, value) for name, array in arrays.items()}


def flat(arrays: Any) -> np.ndarray:
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays.values()])


def test_the_noise_is_the_noise_that_is_billed_whatever_is_added_to_it() -> None:
    """One step: what is left of the model's move without the correction is noise of the billed scale, and no other."""
    task = assignment(num_steps=1, noise_multiplier=1.5, sample_rate=1e-9, expected_batch_size=10.0)
    local = trainer(model="mlp", shape=_SHAPE)
    start = parameters_of(local.model)
    corrected, execution, _ = local.train(
        start, tensors(shape=_SHAPE), task, side=side_in_round(side_of(add), local.model, like(start, 3.0))
    )
    noise = (flat(start) - flat(corrected)) / 0.5 - 3.0
    scale = 1.5 * 0.7 / 10.0
    assert kstest(noise, "norm", args=(0, scale)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert kstest(noise, "norm", args=(0, scale * wrong)).pvalue < 1e-6
    plain, *_ = trainer(model="mlp", shape=_SHAPE).train(start, tensors(shape=_SHAPE), task)
    np.testing.assert_allclose(flat(corrected), flat(plain) - 0.5 * 3.0, atol=1e-6)
    assert (execution.num_noise_draws, execution.noise_multiplier) == (1, pytest.approx(1.5))


@pytest.mark.parametrize("max_grad_norm", [0.7, None])
def test_what_is_sent_for_it_is_as_large_as_it_was_in_every_step(max_grad_norm: float | None) -> None:
    """Also where the step is what was sent, and the optimizer's gradients are emptied in place."""
    local = trainer()
    start = parameters_of(local.model)
    side = side_in_round(side_of(lambda gradient, received: received), local.model, like(start, 2.0))
    got, *_ = local.train(start, tensors(), assignment(max_grad_norm=max_grad_norm), side=side, proximal_mu=0.0)
    np.testing.assert_allclose(flat(got), flat(start) - 5 * 0.5 * 2.0, rtol=1e-6)


@pytest.mark.parametrize("unit", ["record", "hospital"])
def test_nothing_that_it_does_on_the_side_meets_a_number(unit: str) -> None:
    """So it can't carry one hospital's gradient, which has no noise yet where hospitals are the unit, to the next."""
    met: list[Tensor] = []

    def remembers(gradient: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
        met.extend(gradient.values())
        return {name: part + (met[0] - met[0]).sum() for name, part in gradient.items()}

    local, task = trainer(), assignment(unit=unit, sensitivity=1.4 if unit == "hospital" else None)
    start, side = parameters_of(local.model), side_of(remembers)
    for number in (1, 2):
        first, *_ = local.train(
            start,
            tensors(seed=number),
            changed_assignment(task, hospital_id=f"h{number}"),
            side=side_in_round(side, local.model, {}),
        )
    fresh, *_ = trainer().train(start, tensors(seed=2), changed_assignment(task, hospital_id="h2"))
    assert np.array_equal(flat(first), flat(fresh))
    assert met
    assert all(isinstance(tensor, FakeTensor) for tensor in met)


def test_other_arrays_draw_other_noise() -> None:
    """The same noise over two steps that differ by what was sent would be subtracted with what was sent."""
    task, data, moves = assignment(noise_multiplier=2.0, num_steps=1), tensors(), []
    for value in (0.0, 1.0, 1.0):
        local = trainer()
        local.keys._source = SeededSource(seed=1, job=b"job")
        start = parameters_of(local.model)
        got, *_ = local.train(start, data, task, side=side_in_round(side_of(add), local.model, like(start, value)))
        moves.append((flat(start) - flat(got)) / 0.5 - value)
    assert np.array_equal(moves[1], moves[2])
    assert np.abs(moves[0] - moves[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda g, r: {k: v if v.sum() > 0 else -v for k, v in g.items()}, "depends on the values that it is given"),
        (lambda g, r: {k: v[v > 0] for k, v in g.items()}, "depends on the values that it is given"),
        (lambda g, r: [v.add_(1) for v in g.values()] and g, "it writes into a buffer"),
        (lambda g, r: list(g.values()), "it must return a tensor by every parameter's name"),
        (lambda g, r: {"1.weight": g["1.weight"]}, "it must return a tensor by every parameter's name"),
        (lambda g, r: {k: v.sum() for k, v in g.items()}, r"1.weight became \(\), and its gradient is \(2, 6\)"),
        (lambda g, r: {k: v.numpy() for k, v in g.items()}, "RuntimeError: .numpy\\(\\) is not supported"),
        (lambda g, r: {k: v + r["c"] for k, v in g.items()}, "KeyError: 'c'"),
        (lambda g: g, "TypeError: .*takes 1 positional argument but 2 were given"),
    ],
)
def test_what_is_no_function_of_its_arguments_is_refused_by_the_strategys_name(step: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"the hospital side of strategy Mine failed: .*{reason}"):
        side_in_round(side_of(step), trainer().model, {})


def test_it_is_recorded_once_for_all_hospitals_of_the_same_shapes() -> None:
    calls: list[int] = []

    def counted(gradient: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        return add(gradient, received)

    local, side = trainer(), side_of(counted)
    sent = like(parameters_of(local.model), 1.0)
    for value in (1.0, 2.0, 3.0):
        side_in_round(side, local.model, like(sent, value))
    first = len(calls)
    side_in_round(replace(side), local.model, sent)
    assert first < len(calls) <= 2 * first
