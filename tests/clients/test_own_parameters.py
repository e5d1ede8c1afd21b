"""Parameters that are a hospital's own: training begins there, is pulled to what all were sent, and draws by both."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from hostile_rounds import HostileServer
from planned_parts import config_of
from scipy.stats import kstest
from site_files import write_sites
from small_runs import small_config
from stacks import check_alike, cohort, same_bits, trainer_of
from test_training import assignment, tensors, trainer

from wardround import wire
from wardround.clients.app import SimulatedHospitals
from wardround.clients.released import read_releases
from wardround.clients.stacked.together import train_together
from wardround.config import config_to_toml
from wardround.datasets import load_federation
from wardround.errors import ProtocolError, UpdateError
from wardround.models import parameters_of
from wardround.simulations.engines.flower_internals import take_identity
from wardround.streams import SeededSource

_SHAPE = (40,)


def flat(arrays: Any) -> np.ndarray:
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays.values()])


def moved(arrays: Any, value: float) -> dict[str, Any]:
    return {name: array + np.float32(value) for name, array in arrays.items()}


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_the_noise_is_the_noise_that_is_billed_wherever_training_begins(strength: float) -> None:
    """One step without records: the move from its own model, less the pull, is noise and no other."""
    task = assignment(num_steps=1, noise_multiplier=1.5, sample_rate=1e-9, expected_batch_size=10.0)
    local = trainer(model="mlp", shape=_SHAPE)
    mean = parameters_of(local.model)
    own = moved(mean, 0.25)
    got, execution, _ = local.train(mean, tensors(shape=_SHAPE), task, proximal_mu=strength, own=own)
    noise = (flat(own) - flat(got)) / 0.5 - strength * 0.25
    scale = 1.5 * 0.7 / 10.0
    assert kstest(noise, "norm", args=(0, scale)).pvalue > 0.01
    for wrong in (2 / 3, 3 / 2):
        assert kstest(noise, "norm", args=(0, scale * wrong)).pvalue < 1e-6
    assert (execution.num_noise_draws, execution.noise_multiplier) == (1, pytest.approx(1.5))


def test_from_other_parameters_other_noise_is_drawn() -> None:
    """The same noise at two models that are known would be subtracted with them."""
    task, data, moves = assignment(noise_multiplier=2.0, num_steps=1, sample_rate=1e-9), tensors(), []
    for value in (0.5, 1.0, 1.0):
        local = trainer()
        local.keys._source = SeededSource(seed=1, job=b"job")
        mean = parameters_of(local.model)
        got, *_ = local.train(mean, data, task, own=moved(mean, value))
        moves.append(flat(moved(mean, value)) - flat(got))
    assert np.array_equal(moves[1], moves[2])
    assert np.abs(moves[0] - moves[1]).max() > 1e-3


@pytest.mark.parametrize("part", ["all", "head", "some hospitals"])
@pytest.mark.parametrize("strength", [0.0, 0.3])
@pytest.mark.parametrize("cell", ["none", "record-local"])
def test_together_they_are_what_each_makes_by_itself(cell: str, strength: float, part: str) -> None:
    local = trainer_of("mlp", cell)
    mean = parameters_of(local.model)
    names = list(mean)[-2:] if part == "head" else list(mean)
    asked = [
        replace(each, own={name: moved(mean, 0.1 * place)[name] for name in names})
        if place % 2 or part != "some hospitals"
        else each
        for place, each in enumerate(cohort(cell, local, mu=strength))
    ]
    alone = [local.train(mean, each.tensors, each.assignment, proximal_mu=strength, own=each.own) for each in asked]
    together = train_together(local, mean, asked)
    check_alike(alone, together)
    assert not same_bits(together[1], train_together(local, mean, cohort(cell, local, mu=strength))[1])


def test_company_that_begins_elsewhere_is_another_stack() -> None:
    """Last bits of a sum may hang on it, and with them what is released."""
    local = trainer_of("mlp", "record-local", source=SeededSource(seed=1, job=b"job"))
    mean = parameters_of(local.model)
    asked = cohort("record-local", local)
    others = [asked[0], *(replace(each, own=moved(mean, 0.5)) for each in asked[1:])]
    first, second = (train_together(local, mean, each)[0] for each in (asked, others))
    assert np.abs(flat(first.arrays) - flat(second.arrays)).max() > 1e-3


@pytest.mark.parametrize("own", [{"1.weight": np.zeros((1, 1), np.float32)}, {"nowhere": np.zeros(2, np.float32)}])
def test_what_does_not_fit_the_model_is_refused(own: Any) -> None:
    local = trainer()
    with pytest.raises(UpdateError):
        local.train(parameters_of(local.model), tensors(), assignment(), own=own)


def test_hospitals_without_models_of_their_own_take_none() -> None:
    take_identity()
    content = RecordDict({wire.OWN: wire.array_record({"w": np.zeros(2)})})
    message = Message(content, dst_node_id=1, message_type="train")
    hospitals = SimulatedHospitals(small_config(), load_federation(small_config().federation))
    with pytest.raises(ProtocolError, match='method = "none" here: both sides need the same settings'):
        hospitals.own(message)
    with_own = SimulatedHospitals(small_config(personal={"method": "mr-mtl"}), hospitals.federation)
    assert with_own.own(message).keys() == {"w"}


class SendsOwn(HostileServer):
    """Sends parameters that are to be the site's own along."""

    def _training(self, arrays: Any, assignment: Any) -> Message:
        message = super()._training(arrays, assignment)
        message.content[wire.OWN] = wire.array_record(arrays)
        return message


def test_a_real_site_takes_none_from_a_server(tmp_path: Path) -> None:
    config = config_of("record", "local")
    tables = {name: table for name, table in tomllib.loads(config_to_toml(config)).items() if name != "simulation"}
    server = SendsOwn(tmp_path, config, write_sites(tmp_path, tables))
    assert server.round(server.model()) == {}
    assert len(server.errors) == 3
    assert [read_releases(path.parent / "site.key-released") for path in server.paths.values()] == [()] * 3
