"""Modules made up without a look at what refuses them: a record moves the sum by a clip at most, or none trains."""

import contextvars
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from central_steps import sums_of, trainer_for
from torch import nn
from torch.nn import functional

from wardround.clients.training import LocalTrainer
from wardround.errors import WardroundError
from wardround.models import parameters_of

RECORDS, FEATURES = 8, 6
MODES = ("auto", "closed-form", "per-record", "hooks", "ew", "functorch", "ghost")
LAST: list = []
CONTEXT: contextvars.ContextVar = contextvars.ContextVar("mean", default=0.0)
ZOO: dict[str, Callable[[], nn.Module]] = {}


def animal(make):
    ZOO[make.__name__] = make
    return make


class Odd(nn.Module):
    """A linear layer before and after something odd."""

    def __init__(self, work, zero_head=False, **buffers):
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 2)
        self.work = work
        for name, value in buffers.items():
            self.register_buffer(name, value)
        if zero_head:
            nn.init.zeros_(self.head.weight)

    def forward(self, x):
        return self.head(torch.tanh(self.first(self.work(self, x))))


def odd(name, work, **options):
    ZOO[name] = lambda: Odd(work, **options)


# Statistics over the batch.
odd("median", lambda m, x: x - x.median(0).values)
odd("cumsum", lambda m, x: x.cumsum(0))
odd("roll", lambda m, x: x.roll(1, 0))
odd("row_count", lambda m, x: x * x.shape[0] ** 3)
odd("batch_norm", lambda m, x: functional.batch_norm(x, None, None, training=True), zero_head=True)
odd("storage", lambda m, x: x + torch.tensor(x.untyped_storage().nbytes() / 1e2))
odd("where", lambda m, x: torch.where((x > 5).any(), x * 1e3, x))
odd("unwrap", lambda m, x: x - torch._C._functorch.get_unwrapped(x).mean(0) if _is_wrapped(x) else x - x.mean(0))
odd("shared_noise", lambda m, x: x + torch.randn(1, FEATURES))
odd("nested_vmap", lambda m, x: torch.vmap(lambda c: c - c.mean(), in_dims=1, out_dims=1)(x))


def _is_wrapped(x):
    return torch._C._functorch.is_functorch_wrapped_tensor(x)


# Memory.
def remembers(name, read, write, **options):
    def work(m, x):
        before = read(m)
        write(m, x.detach().sum(0) * 100)
        return x + before

    odd(name, work, **options)


@functools.cache
def cached(key):
    return [torch.zeros(FEATURES)]


def defaults(value=None, kept=[0.0]):  # noqa: B006
    kept[0] = kept[0] if value is None else value
    return kept[0]


def number(x):
    return float(x.sum())


remembers("rebound", lambda m: m.mean, lambda m, s: setattr(m, "mean", s), mean=torch.zeros(FEATURES))
remembers("attribute", lambda m: m.__dict__.get("kept", 0.0), lambda m, s: setattr(m, "kept", s))
remembers("a_float", lambda m: m.__dict__.get("kept", 0.0), lambda m, s: setattr(m, "kept", number(s)))
remembers(
    "a_count", lambda m: m.__dict__.get("kept", 0.0), lambda m, s: setattr(m, "kept", getattr(m, "kept", 0) + 9.0)
)
remembers("a_global", lambda m: LAST[-1] if LAST else 0.0, lambda m, s: LAST.append(s))
remembers("cache_in_place", lambda m: cached(1)[0].clone(), lambda m, s: cached(1)[0].add_(s))
remembers("default", lambda m: defaults(), lambda m, s: defaults(s))
remembers("context", lambda m: CONTEXT.get(), lambda m, s: CONTEXT.set(s))
remembers("torch_seed", lambda m: torch.randn(FEATURES), lambda m, s: torch.manual_seed(int(number(s))))
remembers("weight_grad", lambda m: 0.0, lambda m, s: setattr(m.first.bias, "grad", s))
remembers("training_flag", lambda m: float(m.training), lambda m, s: m.train(bool(s.sum() > 5)))


@animal
def closure():
    kept = [0.0]
    return Odd(lambda m, x: (x + kept[0], kept.__setitem__(0, x.detach().sum(0)))[0])


@animal
def modifies_its_input():
    return Odd(lambda m, x: x.add_(x.mean(0)))


# Hooks.
def hooked(name, attach):
    def make():
        model = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 2))
        attach(model)
        return model

    ZOO[name] = make


hooked("forward_hook", lambda m: m[0].register_forward_hook(lambda _, __, out: out - out.mean(0)))
hooked(
    "backward_pre_hook", lambda m: m[1].register_full_backward_pre_hook(lambda _, g: (g[0].sum(0).expand_as(g[0]) * 9,))
)
hooked(
    "own_class",
    lambda m: setattr(
        m[1],
        "__class__",
        type("Tanh", (nn.Tanh,), {"forward": lambda s, x: x.cumsum(0), "__module__": nn.Tanh.__module__}),
    ),
)
hooked(
    "own_call", lambda m: setattr(m[1], "__class__", type("Tanh", (nn.Tanh,), {"__call__": lambda s, x: x.cumsum(0)}))
)
hooked("compiled_call", lambda m: setattr(m[1], "_compiled_call_impl", lambda x: x - x.mean(0)))


# Custom autograd functions.


class OwnVmapRule(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x * 1.0

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g

    @staticmethod
    def vmap(info, in_dims, x):
        return x - x.mean(in_dims[0], keepdim=True), in_dims[0]


odd("own_vmap_rule", lambda m, x: OwnVmapRule.apply(m.first(x)))


# Layers of torch.nn, oddly used: a record may take the place of a channel, of a step in time, of a row.
def layers(name, *make):
    ZOO[name] = lambda: nn.Sequential(*(one() for one in make))


def linear(a=FEATURES, b=2):
    return lambda: nn.Linear(a, b)


layers("softmax_minus_2", lambda: nn.Softmax(-2), linear())
layers("pad_of_records", lambda: nn.ZeroPad2d((0, 0, 1, -1)), linear())
layers("encoder_of_records", lambda: nn.TransformerEncoderLayer(FEATURES, 2, 8), linear())
layers("batch_norm_1d", linear(6, 6), lambda: nn.BatchNorm1d(6, track_running_stats=False), linear())
layers("lazy", lambda: nn.LazyLinear(2))
layers("relu_in_place", lambda: nn.ReLU(inplace=True), linear())
layers("layer_norm_below_0", lambda: nn.LayerNorm(FEATURES, eps=-1.0), linear())
layers("alpha_dropout", linear(6, 6), lambda: nn.AlphaDropout(0.5), linear())


# Parameters.
def parameters(name, change):
    def make():
        model = nn.Sequential(
            nn.Linear(FEATURES, FEATURES), nn.Tanh(), nn.Linear(FEATURES, FEATURES), nn.Tanh(), linear()()
        )
        change(model)
        return model

    ZOO[name] = make


def set_weight(layer, weight, key="weight"):
    layer._parameters[key] = nn.Parameter(weight)


parameters("tied", lambda m: m[2]._parameters.update(weight=m[0].weight))
parameters("one_storage", lambda m: set_weight(m[2], m[0].weight.data))
parameters("expanded", lambda m: set_weight(m[0], torch.ones(1, 1).expand(6, 6)))
parameters("infinite", lambda m: nn.init.constant_(m[4].bias, torch.inf))
parameters("tiny", lambda m: nn.init.constant_(m[0].weight, 1e-40))
odd("outputs_1e30", lambda m, x: x * 1e30)
odd("undefined_for_some", lambda m, x: (x - 0.5).sqrt())
OUTSIDE = nn.Parameter(torch.ones(FEATURES))
odd("outside", lambda m, x: x * OUTSIDE)


def __getattr__(name: str):
    """Return the factory of an animal."""
    if not name.startswith("zoo_"):
        raise AttributeError(name)

    def factory(*, input_shape, num_outputs):
        torch.manual_seed(3)
        return ZOO[name.removeprefix("zoo_")]()

    return factory


KNOWN = ("batch_norm_1d", "lazy", "alpha_dropout", "one_storage", "expanded", "tiny")
CASES = [(name, mode) for name in ZOO for mode in (MODES if name in KNOWN else MODES[:1])]
FEATURES_OF_ALL = torch.randn((RECORDS, FEATURES), generator=torch.Generator().manual_seed(1))


def trainer_of(name: str, mode: str) -> LocalTrainer:
    return trainer_for(f"{__name__}:zoo_{name}", FEATURES_OF_ALL, mode)


def summed(trainer: LocalTrainer, start: dict, features: torch.Tensor, round_number: int = 1) -> np.ndarray:
    sums = sums_of(trainer, start, features, round_number)
    return np.concatenate([array.ravel() for array in sums.values()])


def with_record(record: torch.Tensor | float) -> torch.Tensor:
    changed = FEATURES_OF_ALL.clone()
    changed[4] = record
    return changed


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_one_record_moves_the_sum_by_a_clip_and_leaves_nothing_behind_or_is_refused(name, mode):
    try:
        trainer = trainer_of(name, mode)
    except WardroundError:
        return
    start = parameters_of(trainer.model)
    fresh = summed(trainer, start, FEATURES_OF_ALL, round_number=2)
    empty = summed(trainer, start, with_record(torch.nan))
    for record in (10.0, -1e8, torch.eye(FEATURES)[2] * 1e5):
        assert np.linalg.norm(summed(trainer, start, with_record(record)) - empty) <= 1.000001
    assert np.array_equal(summed(trainer, start, FEATURES_OF_ALL, round_number=2), fresh)


def test_what_is_refused_is_not_all():
    accepted = [name for name in KNOWN if trainer_of(name, "hooks").mode_for((FEATURES,)).name == "hooks"]
    assert set(accepted) >= {"batch_norm_1d", "lazy", "tiny"}
