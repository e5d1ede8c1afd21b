"""Which hospitals train by themselves, and the reason in words."""

from dataclasses import replace

import pytest
import torch
from made_up import changed_assignment
from stacks import SHAPE, assigned, records, trainer_of
from torch import nn

from wardround.clients.hospital_sides import SideInRound, side_in_round
from wardround.clients.stacked.together import apart_because
from wardround.config import ModelConfig
from wardround.models import build_model
from wardround.strategies import HospitalSide


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, features):
        return self.layer(features)


MODELS = {
    "not a known one": Own(),
    "AlphaDropout": nn.Sequential(nn.Linear(6, 4), nn.AlphaDropout(0.5), nn.Linear(4, 3)),
    "must have the same dtype": nn.Sequential(nn.Linear(6, 3)).double(),
}


def why(model="logistic", cell="record-local", *, tensors=None, side=None, training=None, **changes):
    trainer = trainer_of(model, cell, **(training or {}))
    tensors = records(20, 0) if tensors is None else tensors
    assignment = assigned(cell, 20, dimension=trainer.num_parameters)
    for name, value in changes.items():
        assignment = changed_assignment(assignment, **{name: value})
    return apart_because(trainer, tensors, assignment, side)


@pytest.mark.parametrize("reason", MODELS)
@pytest.mark.parametrize("cell", ["none", "record-local"])
def test_a_model_that_is_not_stacked_is_named(cell, reason):
    if (cell, reason) == ("record-local", "not a known one"):
        assert why(MODELS[reason], cell) is None  # as a program of one record
    else:
        assert reason in (why(MODELS[reason], cell) or "")


@pytest.mark.parametrize("model", ["cnn", "resnet18"])
def test_convolutions_are_apart(model):
    trainer, tensors = trainer_of(model, "record-local", shape=(1, 8, 8)), records(4, 0, shape=(1, 8, 8))
    assert "no faster for several hospitals at once" in (
        apart_because(trainer, tensors, assigned("record-local", 4), None) or ""
    )


def test_patients_with_several_rows_are_apart():
    owned = replace(records(4, 0), train_owners=torch.tensor([0, 0, 1, 2]))
    assert why(tensors=owned) == "patients have several rows"


@pytest.mark.parametrize("mode", ["hooks", "functorch", "ew", "ghost", "per-record"])
def test_a_mode_that_is_asked_for_is_kept_where_records_are_clipped(mode):
    assert why(training={"grad_sample_mode": mode}) == f'the settings ask for grad-sample-mode = "{mode}"'
    assert why(cell="none", training={"grad_sample_mode": mode}) is None


@pytest.mark.parametrize("changes", [{"sample_rate": 0.0}, {"sample_rate": 1.5}, {"num_steps": 0}])
def test_an_odd_schedule_fails_alone(changes):
    trainer, assignment = trainer_of("logistic", "record-local"), assigned("record-local", 20)
    odd = replace(assignment, schedule=replace(assignment.schedule, **changes))
    assert apart_because(trainer, records(20, 0), odd, None) == "its schedule is not one"


def test_a_sum_of_several_batches_fails_alone():
    trainer, assignment = trainer_of("logistic", "record-central"), assigned("record-central", 20)
    odd = replace(assignment, schedule=replace(assignment.schedule, num_steps=2))
    assert "another number of batches" in (apart_because(trainer, records(20, 0), odd, None) or "")


def test_a_clip_that_is_none_fails_alone():
    assert why(max_grad_norm=None) == "there is no clip"


def test_a_strategys_part_at_hospitals_is_apart():
    model, _ = build_model(ModelConfig(), input_shape=SHAPE, num_outputs=3, seed=1)
    side = side_in_round(HospitalSide(strategy="Mine", step=lambda gradients, received: gradients), model, {})
    assert isinstance(side, SideInRound)
    assert why(side=side) == "the strategy has a part at the hospitals"


def test_records_of_another_shape_are_apart():
    assert "don't fit records of shape" in (why(tensors=records(4, 0, shape=(5,))) or "")
