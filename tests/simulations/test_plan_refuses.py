"""`plan` refuses what `run` refuses, in the same words, and says which settings are not used."""

import sys

import pytest
import torch

from wardround.config import load_config
from wardround.errors import WardroundError
from wardround.simulations import prepared
from wardround.simulations.runs import run

USERS = """
def no_strategy(): return 3
def fails(): raise RuntimeError("no strategy today")
def mixes(input_shape, num_outputs):
    import torch
    class Mixing(torch.nn.Linear):
        def forward(self, x): return super().forward(x - x.mean(0))
    return Mixing(input_shape[0], num_outputs)
def takes_all():
    from flwr.serverapp.strategy import FedMedian
    return FedMedian()
"""
BAD = [
    ["aggregation.strategy=scaffold"],
    ["aggregation.strategy=fedsgd"],
    ["aggregation.strategy=fedprox"],
    ["aggregation.eta=0.1"],
    ["aggregation.strategy=fedadagrad", "aggregation.beta-1=0.5"],
    ["aggregation.strategy=users_of_plan:no_strategy"],
    ["aggregation.strategy=users_of_plan:fails"],
    ["aggregation.strategy=users_of_plan:absent"],
    ["aggregation.strategy=users_of_plan:takes_all", "privacy.placement=central", "training.local-steps=1"],
    ["aggregation.strategy=users_of_plan:takes_all", "aggregation.protocol=secure-sum", "aggregation.min-survivors=2"],
    ["aggregation.min-survivors=9"],
    ["model.name=cnn"],
    ["model.name=logistc"],
    ["model.name=users_of_plan:mixes"],
    ["model.name=users_of_plan:absent"],
    ["training.grad-sample-mode=ghost", "model.name=users_of_plan:mixes"],
    ["training.loss-weights=[1, 2, 3]"],
    ["training.local-steps=0"],
    ["federation.dataset=hart-disease"],
    ["federation.num-hospitals=9999"],
    ["federation.partition=natural"],
    ["federation.min-patients=1000"],
    ["federation.class-weights=[1, 1, 1]"],
    ["privacy.target-delta=0.5"],
    ["privacy.target-delta={nowhere = 1e-5}"],
    ["privacy.placement=distributed"],
    ["privacy.max-grad-norm=1e-29", "privacy.placement=central", "training.local-steps=1"],
    ["simulation.engine=magic"],
    ["simulation.gpus-per-worker=1.5"],
]
if not torch.cuda.is_available():
    BAD.append(["training.device=cuda"])


@pytest.fixture
def users_module(tmp_path, monkeypatch):
    (tmp_path / "users_of_plan.py").write_text(USERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("users_of_plan", None)


@pytest.mark.parametrize("overrides", BAD, ids=" ".join)
def test_plan_refuses_what_run_refuses_in_the_same_words(overrides, users_module, tmp_path):
    def refusal(done):
        with pytest.raises(WardroundError) as raised:
            done(load_config(None, [*_engine(overrides), "training.num-rounds=1", *overrides]))
        return type(raised.value), str(raised.value)

    assert refusal(prepared.plan) == refusal(lambda config: run(config, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def _engine(overrides):
    return [] if any(text.startswith("simulation.engine") for text in overrides) else ["simulation.engine=inline"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_plan_refuses_workers_that_wait_for_gpus_as_run_does(ray_session, tmp_path):
    config = load_config(None, ["simulation.gpus-per-worker=0.5", "simulation.num-workers=2", "training.num-rounds=1"])
    words = "gpus-per-worker = 0.5 with 2 workers does not fit the 0 GPUs"
    with pytest.raises(WardroundError, match=words):
        prepared.plan(config)
    with pytest.raises(WardroundError, match=words):
        run(config, out=tmp_path / "run")


def test_what_is_not_used_is_said_by_plan_and_by_the_run(tmp_path):
    overrides = ["federation.dirichlet-alpha=0.1", "model.width=8", "simulation.engine=inline", "training.num-rounds=1"]
    config = load_config(None, overrides)
    planned = prepared.plan(config)
    unused = [note for note in planned.notes if " is not used" in note]
    assert [note.split(" (")[0] for note in unused] == ["dirichlet-alpha = 0.1", "width = 8"]
    said = []
    notes = run(config, out=tmp_path / "run", say=said.append).outcome.facts.notes
    assert [note for note in notes if " is not used" in note] == unused
    assert [text for text in said if " is not used" in text] == [f"warning: {note}" for note in unused]


def test_hospitals_that_are_natural_have_no_number_to_be_set(real_data):
    overrides = ["federation.dataset=heart-disease", f'federation.data-dir="{real_data}"', "federation.num-hospitals=9"]
    (note,) = (note for note in prepared.plan(load_config(None, overrides)).notes if "num-hospitals" in note)
    assert note.startswith(
        "num-hospitals = 9 ([federation] num-hospitals) is not used: it goes with hospitals that are made"
    )
