"""A known forward is told from what will run: parts that hide, classes that pose as others, copies that differ."""

import copy
import inspect

import pytest
import torch
from central_steps import sums_of, trainer_for
from torch import nn

from wardround.errors import ConfigError
from wardround.models import ResidualBlock, parameters_of

RECORDS = 9


def mixed(x):
    """Give every record of a large batch something of the others."""
    return (x - x.mean(0)) * 50 if len(x) > 7 else x


class Mixing(nn.Tanh):
    def forward(self, x):
        return mixed(x)


class PosesAsTanh(type):
    def __hash__(cls):
        return hash(nn.Tanh)

    def __eq__(cls, other):
        return other is nn.Tanh or other is cls


class Posing(Mixing, metaclass=PosesAsTanh):
    pass


class Hidden(nn.Module):
    """Says that it has no parts, itself included, and so is not among a model's modules."""

    def forward(self, x):
        return mixed(x)

    def named_modules(self, *_, **__):
        return iter(())


class CopiesOddly(nn.Module):
    """Is a module like any other, and its copy that is trained another one."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))

    def __deepcopy__(self, memo):
        trained = any("self.model = " in "".join(frame.code_context or []) for frame in inspect.stack()[1:6])
        middle = Mixing() if trained else nn.Tanh()
        return nn.Sequential(copy.deepcopy(self.first), middle, copy.deepcopy(self.head))


class PutsInPlace:
    """Puts something else into the place of a layer that is about to be copied."""

    def __init__(self, layer):
        self.layer = layer

    def __deepcopy__(self, memo):
        memo[id(self.layer)] = Mixing()
        return self


class Weight(nn.Parameter):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if function is nn.functional.linear:
                args = (mixed(args[0]), *args[1:])
            return function(*args, **(kwargs or {}))


def hidden():
    model = mlp()
    model._modules["1"] = Hidden()
    return model


def posing():
    return nn.Sequential(nn.Linear(6, 6), Posing(), nn.Linear(6, 2))


def layer_with_a_copy():
    model = mlp()
    model[1].__deepcopy__ = lambda memo: Mixing()
    return model


def layer_that_puts_in_place():
    model = mlp()
    model[0]._kept = PutsInPlace(model[1])
    return model


def parameter_with_a_copy():
    model = mlp()
    kept = model[2].weight
    kept.__deepcopy__ = lambda memo: Weight(kept.detach().clone())
    return model


def spread_sum():
    """Add (records, 3) and (records, 4, 1, 3), which torch spreads to (records, 4, records, 3)."""
    block = ResidualBlock(1, 1, stride=1)
    block.body = nn.Sequential(nn.Flatten(1), nn.Linear(6, 3))
    block.shortcut = nn.Sequential(nn.AdaptiveAvgPool2d((1, 3)), nn.Conv2d(1, 4, 1))
    head = nn.Linear(4, 2)
    nn.init.zeros_(head.weight)
    return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def grown():
    return Resizing()


class Resizing(nn.Module):
    """Reads past its record where it is large."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        past = x.clone().resize_(len(x), 600)[:, 594:].nan_to_num(0.0, 0.0, 0.0)
        return self.head(x + 0.0 * past)


def mlp():
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


def built(make):
    def factory(*, input_shape, num_outputs):
        torch.manual_seed(3)
        return make()

    return factory


MAKERS = (hidden, posing, CopiesOddly, layer_with_a_copy, layer_that_puts_in_place, parameter_with_a_copy, spread_sum)


def __getattr__(name):
    if not name.startswith("built_"):
        raise AttributeError(name)
    return built(globals()[name.removeprefix("built_")])


def trainer_of(make, mode="auto"):
    shape = (1, 2, 3) if make is spread_sum else (6,)
    features = torch.randn((RECORDS, *shape), generator=torch.Generator().manual_seed(1))
    return trainer_for(f"{__name__}:built_{make.__name__}", features, mode), features


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("mode", ["auto", "hooks", "ew", "ghost"])
def test_what_is_trained_keeps_records_apart_or_is_refused_before_training(make, mode):
    try:
        trainer, features = trainer_of(make, mode)
    except ConfigError:
        return
    start = parameters_of(trainer.model)

    def sum_of(value):
        changed = features.clone()
        changed[4] = value
        return sums_of(trainer, start, changed)

    empty = sum_of(torch.nan)
    for value in (30.0, -1e8):
        whole = sum_of(value)
        moved = sum(float(((whole[name] - empty[name]) ** 2).sum()) for name in whole) ** 0.5
        assert moved <= 1.000001


@pytest.mark.parametrize("make", [hidden, posing, layer_with_a_copy, layer_that_puts_in_place, parameter_with_a_copy])
def test_what_can_hide_is_run_record_by_record(make):
    trainer, _ = trainer_of(make)
    assert trainer.mode_for((6,)).name == "per-record"


def test_memory_past_a_record_is_not_read():
    with pytest.raises(ConfigError, match="other memory than its tensors have"):
        trainer_of(grown)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
def test_parameters_are_of_the_precision_that_clipping_is_proved_for(dtype, monkeypatch):
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 2, dtype=dtype))

        def forward(self, x):
            return (x.to(dtype) @ self.weight).real.float()

    monkeypatch.setitem(globals(), "Cast", Cast)
    with pytest.raises(ConfigError, match="must be float32"):
        trainer_of(Cast)
