"""What engine = "auto" means: of settings and sizes alone, said, and kept by whoever goes on with the run."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import small_config

from wardround.config import load_config
from wardround.errors import ConfigError
from wardround.simulations.engines.choosing import Choice, choose_engine, estimated_seconds, named_engine
from wardround.simulations.prepared import plan
from wardround.simulations.runs import resume, run

AUTO = {"engine": "auto"}


def chosen(input_shape: tuple[int, ...] = (30,), **sections: Any) -> Choice:
    config = small_config(**{"simulation": AUTO} | sections)
    planned = plan(small_config(**{**sections, "simulation": {"engine": "inline"}}))
    return choose_engine(config, planned, input_shape)


def test_little_training_is_done_in_this_process() -> None:
    engine, reason = chosen()
    assert engine == "stacked" and reason.endswith("of one processor, too little for workers to pay")


def test_much_training_is_shared_out_over_workers() -> None:
    engine, reason = chosen(training={"num-rounds": 1000, "local-steps": 1000})
    assert engine == "ray" and reason.endswith("of one processor, which workers share out")


@pytest.mark.parametrize("setting", [{"num-workers": 2}, {"gpus-per-worker": 0.5}])
def test_what_only_workers_have_chooses_them(setting: dict[str, Any]) -> None:
    (name,) = setting
    engine, reason = chosen(simulation=AUTO | setting)
    assert engine == "ray" and reason.startswith(name)


def test_a_gpu_trains_hospitals_together_however_much_there_is_to_do() -> None:
    long = {"num-rounds": 1000, "local-steps": 1000, "device": "cuda"}
    config = small_config(simulation=AUTO, training=long)
    assert named_engine(config) == ("stacked", "a GPU trains the hospitals of a round together")
    assert (named_engine(small_config(simulation=AUTO | {"gpus-per-worker": 0.5}, training=long)) or "")[0] == "ray"


@pytest.mark.parametrize("simulation", [{"engine": "ray"}, {"engine": "auto", "num-workers": 2}])
def test_workers_that_would_have_no_gpu_are_refused_one(simulation: dict[str, Any]) -> None:
    config = small_config(simulation=simulation, training={"device": "cuda"})
    with pytest.raises(ConfigError, match=r"gpus-per-worker = 0.0\): set one"):
        plan(config)


@pytest.mark.parametrize("engine", ["ray", "inline", "stacked"])
def test_an_engine_that_is_named_is_that(engine: str) -> None:
    assert chosen(simulation={"engine": engine}, training={"num-rounds": 1000, "local-steps": 1000}).engine == engine


def test_the_estimate_grows_with_rounds_steps_batches_and_a_records_places() -> None:
    config = small_config(simulation=AUTO)
    planned = plan(config)

    def seconds(input_shape: tuple[int, ...] = (30,), **training: Any) -> float:
        return estimated_seconds(config, plan(small_config(training=training)), input_shape)

    short = seconds(**{"num-rounds": 1})
    assert seconds(**{"num-rounds": 2}) == pytest.approx(2 * short)
    assert seconds(**{"num-rounds": 1, "local-steps": 50}) > short
    assert seconds(**{"num-rounds": 1, "sample-rate": 1.0}) > seconds(**{"num-rounds": 1, "sample-rate": 0.1})
    in_a_table = estimated_seconds(config, planned, (30,))
    of_records = [
        estimated_seconds(small_config(simulation=AUTO, model={"name": name}), planned, shape)
        for name, shape in (("lstm", (10, 3)), ("lstm", (20, 3)), ("cnn", (1, 60, 60)), ("cnn", (1, 90, 90)))
    ]
    assert [in_a_table, *of_records] == sorted({in_a_table, *of_records})
    # These take a record as one row of numbers, whatever its shape.
    assert estimated_seconds(config, planned, (10, 3)) == in_a_table
    masked = small_config(
        simulation=AUTO,
        aggregation={"protocol": "secagg+", "min-survivors": 3},
        privacy={"placement": "distributed"},
        training={"local-steps": 1},
    )
    assert estimated_seconds(masked, planned, (30,)) > in_a_table  # hospitals that mask are asked one by one


def test_a_run_says_what_it_chose_and_is_resumed_on_that(tmp_path: Path) -> None:
    config = small_config(simulation=AUTO)
    (sentence,) = [note for note in plan(config).notes if note.startswith("engine stacked: ")]
    said: list[str] = []
    first = run(config, out=tmp_path / "run", say=said.append)
    assert sentence in said and sentence in first.summary["notes"] and first.summary["engine"] == "stacked"
    assert load_config(first.folder / "config.toml").simulation.engine == "stacked"
    assert resume(first.folder).summary["engine"] == "stacked"
