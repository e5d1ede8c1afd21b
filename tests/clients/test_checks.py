"""Models and modes whose step would not clip every record are refused before anything is charged."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from small_runs import CommonStreams
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from wardround.clients.cells import torch_half
from wardround.clients.forwards import unknown_because
from wardround.clients.training import LocalTrainer
from wardround.config import ModelConfig, TrainingConfig
from wardround.datasets import FederatedData, HospitalData
from wardround.errors import ConfigError
from wardround.models import build_model

OPACUS = ("hooks", "functorch", "ew", "ghost")
MODES = ("auto", "closed-form", "per-record", *OPACUS)


def federation(shape=(6,), num_classes=2, owners=None):
    features = np.zeros((4, *shape), np.float32)
    labels = np.zeros(4, np.int64 if num_classes else np.float32)
    hospital = HospitalData(
        hospital_id="north",
        train_features=features,
        train_labels=labels,
        test_features=features[:0],
        test_labels=labels[:0],
        fingerprint="",
        train_owners=owners,
    )
    return FederatedData(
        dataset_name="made up",
        task="classification" if num_classes else "regression",
        class_names=tuple("abcdefghij"[:num_classes]),
        feature_names=(),
        input_shape=shape,
        hospitals=(hospital,),
        excluded=(),
        notes=(),
        partition="iid",
    )


def check(model, shape=(6,), mode="auto", placement="local", num_classes=2, owners=None, unit="record"):
    made = federation(shape, num_classes, owners)
    trainer = LocalTrainer(model, TrainingConfig(grad_sample_mode=mode), task=made.task, source=CommonStreams(1))
    return torch_half(f"{unit}-{placement}" if placement != "none" else "none").check(trainer, made)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [
        ("logistic", (6,), {}),
        ("mlp", (6,), {}),
        ("cnn", (1, 9, 9), {}),
        ("resnet18", (3, 8, 8), {"width": 8}),
        ("vgg19", (1, 8, 8), {"width": 8}),
    ],
)
def test_our_own_models_pass_in_every_mode(name, shape, sizes, mode):
    for num_classes in (3, 0) if name in ("logistic", "mlp") else (3,):
        model, _ = build_model(ModelConfig(name=name, **sizes), input_shape=shape, num_outputs=num_classes or 1, seed=1)
        before = [parameter.clone() for parameter in model.parameters()]
        check(model, shape, mode, num_classes=num_classes)
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


class Patches(nn.Module):
    """Folds a record's patches into the batch."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(2, 4), nn.Linear(12, 2)

    def forward(self, records):
        inner = torch.tanh(self.inner(records.reshape(-1, 2)))
        return self.head(inner.reshape(len(records), 12))


class TimeFirst(nn.Module):
    """Puts time where the records belong."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, records):
        return self.head(records.reshape(len(records), 3, 2).transpose(0, 1)).mean(dim=0)


class CentredWithZeroHead(nn.Module):
    """Mixes records, which a head of zeros hides from whoever looks at the outputs."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, records):
        hidden = self.inner(records)
        return self.head(hidden - hidden.mean(dim=0))


class Twice(nn.Module):
    """Uses one layer twice, which is allowed, and clipped as one."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, records):
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(records)))))


class Dropping(nn.Module):
    """Dropout is chance, not mixing."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, records):
        return self.head(nn.functional.dropout(records, 0.5, training=self.training))


@pytest.mark.parametrize("mode", OPACUS)
@pytest.mark.parametrize("model", [Patches, TimeFirst, CentredWithZeroHead, Twice, Dropping])
def test_opacus_modes_are_for_known_forwards_alone(model, mode):
    with pytest.raises(ConfigError, match=r'not on the list of layers.*set "auto" or "per-record"'):
        check(model(), mode=mode)


@pytest.mark.parametrize("mode", ["auto", "per-record"])
@pytest.mark.parametrize("model", [Patches, CentredWithZeroHead, Twice, Dropping])
def test_any_other_forward_is_run_by_record_and_says_why(model, mode):
    chosen = check(model(), mode=mode)
    assert chosen.name == "per-record"
    assert f"the model ({model.__name__}) is not on the list of layers" in chosen.reason


def test_a_known_forward_is_in_closed_form_and_says_why():
    chosen = check(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2)))
    assert chosen.name == "closed-form"
    assert "every layer of the model is known to keep records apart" in chosen.reason


def test_layers_without_a_closed_form_are_run_by_record_unless_another_mode_is_asked_for():
    def model():
        return nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(2, 2))

    shape = (1, 2, 2, 2)
    assert "0 (Conv3d) has no closed form" in check(model(), shape=shape).reason
    assert [check(model(), shape=shape, mode=mode).name for mode in ("auto", "hooks")] == ["per-record", "hooks"]
    with pytest.raises(ConfigError, match=r'0 \(Conv3d\) has no closed form: set "auto"'):
        check(model(), shape=shape, mode="closed-form")


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.ReLU(inplace=True)], "has inplace = True"),
        ([nn.Softmax(dim=0)], "works along the dimension of the records"),
        ([nn.Softmax(dim=-2)], "works along the dimension of the records"),
        ([nn.Conv1d(7, 7, 1)], "takes 2 dimensions, and 3 are a batch"),
        ([nn.LayerNorm((7, 6))], "normalises over the records"),
        ([nn.GroupNorm(6, 6)], "has one value in each group"),
        ([nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")], "not on the list"),
        ([nn.BatchNorm1d(6)], "not on the list"),
    ],
)
def test_layers_whose_settings_could_mix_records_are_not_known(layers, reason):
    with pytest.raises(ConfigError, match=reason):
        check(nn.Sequential(*layers, nn.Linear(6, 2)), mode="hooks")


class Watching(TorchFunctionMode):
    def __torch_function__(self, function, kinds, given=(), named=None):
        return function(*given, **(named or {}))


class WatchingBelow(TorchDispatchMode):
    def __torch_dispatch__(self, function, kinds, given=(), named=None):
        return function(*given, **(named or {}))


@contextmanager
def global_hook():
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, output: None)
    yield
    handle.remove()


@pytest.mark.parametrize(
    ("watcher", "name"),
    [
        (Watching, "a torch function mode"),
        (WatchingBelow, "a torch dispatch mode"),
        (global_hook, "global module hooks"),
        (lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x), "hooks on saved tensors"),
    ],
)
def test_nothing_trains_while_the_process_looks_on(watcher, name):
    with watcher(), pytest.raises(ConfigError, match=f"{name} in this process could mix records"):
        check(nn.Linear(6, 2))


def test_a_default_device_is_no_watcher():
    with torch.device("cpu"):
        check(nn.Linear(6, 2))


def test_a_known_forward_is_known_whatever_device_is_the_default():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.device("meta"):
        assert unknown_because(model, (6,)) is None


def test_ghost_norms_are_taken_where_they_are_products_alone():
    positions = nn.Sequential(nn.Linear(2, 2), nn.Flatten(), nn.Linear(6, 2))
    check(positions, shape=(3, 2), mode="hooks")
    with pytest.raises(ConfigError, match="several positions of a record"):
        check(positions, shape=(3, 2), mode="ghost")


def test_without_privacy_anything_goes():
    assert check(CentredWithZeroHead(), placement="none") is None


_SEEN = []


class Remembering(nn.Module):
    """Keeps every batch where no copy of the module reaches."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, records):
        _SEEN.append(records.detach().mean())
        return self.head(records) * _SEEN[max(0, len(_SEEN) - 2)]


def test_a_hospital_as_the_unit_is_not_carried_to_the_next():
    check(CentredWithZeroHead(), unit="hospital", placement="central")
    with pytest.raises(ConfigError, match="could carry one hospital's data to the next"):
        check(Remembering(), unit="hospital", placement="central")


def test_ghost_clipping_refuses_patients_of_several_rows():
    with pytest.raises(ConfigError, match="can't average the rows of one patient"):
        check(nn.Linear(6, 2), mode="ghost", owners=np.array([0, 0, 1, 1]))
