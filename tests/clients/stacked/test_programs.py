"""Hospitals whose model is a program of one record train together where none is small enough to be run alone."""

import numpy as np
import pytest
import torch
from stacks import CLIP, both_ways, check_alike, cohort, records, trainer_of
from torch import nn

from wardround.clients.stacked.together import apart_because, train_together
from wardround.models import parameters_of

SHAPE = (5, 3)


class Mixed(nn.Module):
    """A forward of its own, of which one weight is used twice and another never, with a frozen one."""

    def __init__(self):
        super().__init__()
        self.inner, self.last, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.full((3,), 0.7), requires_grad=False)

    def forward(self, steps):
        state = torch.zeros_like(steps[:, 0])
        for step in range(steps.shape[1]):
            state = self.inner(torch.tanh(state) + steps[:, step] * self.scale)
        return self.last(state)


class Dropped(Mixed):
    def forward(self, steps):
        return super().forward(nn.functional.dropout(steps, 0.3, self.training))


class Convolved(Mixed):
    def forward(self, steps):
        return super().forward(nn.functional.conv1d(steps, torch.ones(5, 5, 1)))


MODELS = {"lstm": lambda: "lstm", "transformer": lambda: "transformer", "own": Mixed}


def asked_of(cell, trainer, **changes):
    data = [records(num, seed, shape=SHAPE) for seed, num in enumerate((40, 1, 7, 30))]
    data[2].train_features[3, 0, 0] = np.nan
    return cohort(cell, trainer, data=data, **changes)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", ["record-local", "record-central"])
def test_it_is_what_each_makes_by_itself(cell, model):
    torch.manual_seed(3)
    trainer = trainer_of(MODELS[model](), cell, shape=SHAPE, learning_rate=0.1)
    assert trainer.mode_for(SHAPE).name == "per-record"
    check_alike(*both_ways(trainer, asked_of(cell, trainer)))


@pytest.mark.parametrize("model", MODELS)
def test_fifty_steps_without_noise_end_within_a_hundred_thousandth(model):
    torch.manual_seed(3)
    trainer = trainer_of(MODELS[model](), "record-local", shape=SHAPE, learning_rate=0.1)
    check_alike(*both_ways(trainer, asked_of("record-local", trainer, steps=50, noise=0.0)))


def test_a_record_zeroed_out_moves_the_sum_by_at_most_the_clip():
    torch.manual_seed(3)
    trainer = trainer_of(Mixed(), "record-central", shape=SHAPE)
    data = records(300, 0, shape=SHAPE)
    data.train_features[150:] = data.train_features[150].clone()
    data.train_labels[:] = trainer.model(data.train_features).argmin(dim=1)
    sums = []
    for row in (None, 0, 150, 299):
        features = data.train_features.clone()
        if row is not None:
            features[row] = np.nan
        one = type(data)(
            train_features=features,
            train_labels=data.train_labels,
            test_features=features,
            test_labels=data.test_labels,
        )
        asked = cohort("record-central", trainer, data=[one, records(9, 1, shape=SHAPE)], rate=1.0, clip=CLIP / 50)
        sent = train_together(trainer, parameters_of(trainer.model), asked)[0]
        assert sent.measures.num_scrubbed == (row is not None)
        sums.append(np.concatenate([array.reshape(-1) for array in sent.arrays.values()]))
    moves = [np.linalg.norm(sums[0] - each) for each in sums[1:]]
    assert CLIP / 50 * (1 - 1e-4) <= min(moves) <= max(moves) <= CLIP / 50


def why(model, cell="record-local", shape=SHAPE, num=20, **sizes):
    trainer = trainer_of(model, cell, shape=shape)
    data = records(num, 0, shape=shape)
    return apart_because(trainer, data, cohort(cell, trainer, data=[data], rate=1.0, **sizes)[0].assignment, None)


def test_programs_that_draw_have_convolutions_or_are_large_are_apart():
    assert why(Dropped()) == "the model draws at random"
    assert "convolutions, which are no faster" in (why(Convolved()) or "")
    assert why("lstm", shape=(5, 40), num=400) == (
        "a program of its model for 256 records is no faster for several hospitals at once"
    )


@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize("cell", ["none", "hospital-local"])
def test_a_forward_that_sees_whole_batches_is_apart(cell, model):
    assert "the model's forward is not a known one" in (why(model, cell) or "")
