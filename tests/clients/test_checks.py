"""Models and modes whose step would not clip every record are refused before anything is charged."""

import numpy as np
import pytest
import torch
from torch import nn

from wardround.clients.checks import check_training
from wardround.config import Config, ModelConfig, PrivacyConfig, TrainingConfig
from wardround.datasets import Federation, HospitalData
from wardround.errors import ConfigError, WardroundError
from wardround.models import build_model

MODES = ("hooks", "functorch", "ew", "ghost")


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
    return Federation(
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


def check(model, shape=(6,), mode="hooks", placement="local", num_classes=2, owners=None):
    config = Config(training=TrainingConfig(grad_sample_mode=mode), privacy=PrivacyConfig(placement=placement))
    check_training(config, federation(shape, num_classes, owners), model)


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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", [Patches, TimeFirst, CentredWithZeroHead])
def test_models_that_would_be_under_billed_are_refused_in_every_mode(model, mode):
    with pytest.raises(WardroundError, match=r"clip every record|serve this model|into the batch"):
        check(model(), mode=mode)


@pytest.mark.parametrize("mode", ["hooks", "functorch", "ew"])
def test_what_is_sound_passes(mode):
    check(Twice(), mode=mode)
    check(Dropping(), mode=mode)


def test_without_privacy_anything_goes():
    check(CentredWithZeroHead(), placement="none")


def test_ghost_clipping_refuses_patients_of_several_rows():
    with pytest.raises(ConfigError, match="can't average the rows of one patient"):
        check(nn.Linear(6, 2), mode="ghost", owners=np.array([0, 0, 1, 1]))
