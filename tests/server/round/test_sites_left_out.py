"""One bad or absent real site is left out of a run or a round by name, and the others go on; simulation stays loud."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_replies import BAD, BAD_LATER, HARMLESS, Spoil, addressed, arrays, content, failed
from flower_grid import FlowerGrid, stage_of
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from safetensors.numpy import load_file
from site_runs import NAMES, config_between_sites, run_between_sites
from small_runs import charges_of, rows_of

from wardround import wire
from wardround.clients.app import make_client_app
from wardround.datasets import load_federation
from wardround.errors import CohortError, WardroundError
from wardround.server.record.verify import verify_run
from wardround.server.round.introductions import connect
from wardround.simulations.engines.flower_internals import copy_of
from wardround.simulations.engines.nodes import Node

OTHERS = [name for name in NAMES if name != NAMES[2]]
CELLS = {
    "record local": {"unit": "record", "placement": "local"},
    "hospital distributed": {"unit": "hospital", "placement": "distributed"},
    "record central": {"unit": "record", "placement": "central"},
    "hospital central": {"unit": "hospital", "placement": "central", "noise-multiplier": 0.1},
}


class SiteGrid(FlowerGrid):
    """A Flower grid on which the third node's replies of one stage are others."""

    def __init__(self, make_app: Callable[[], ClientApp], nodes: list[Node], stage: str, spoil: Spoil) -> None:
        contexts = {node.node_id: Context(1, node.node_id, dict(node.node_config), RecordDict(), {}) for node in nodes}
        super().__init__(make_app(), contexts)
        self._stage, self._spoil = stage, spoil
        self.timeouts: set[float | None] = set()
        self.asked: list[tuple[str, float]] = []

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        self.timeouts.add(timeout)
        return [reply for message in messages for reply in self._answers(message)]

    def _answers(self, message: Message) -> list[Message]:
        self.number(message)
        stage, node_id = stage_of(message), message.metadata.dst_node_id
        self.asked.append((stage, message.metadata.ttl))
        came = copy_of(message, RecordDict(dict(message.content.items())))
        reply = self.reply_to(came)
        is_bad = node_id == 3 and stage == self._stage and not reply.has_error()
        return list(self._spoil(reply)) if is_bad else [reply]


def spoiled(
    path: Path,
    stage: str,
    spoil: Spoil,
    cell: str = "record local",
    federation: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the summary of a run whose third site is bad at a stage."""
    steps = None if cell == "record central" else 2
    config = config_between_sites(
        federation=federation or {}, training={"num-rounds": 1, "local-steps": steps}, privacy=CELLS[cell]
    )
    return run_between_sites(
        path, config, make_grid=lambda make_app, nodes: SiteGrid(make_app, nodes, stage, spoil), **options
    )


def profile(**changes: Any) -> Spoil:
    """Return what changes values of a profile; None takes one out."""

    def spoil(reply: Message) -> list[Message]:
        told = dict(reply.content[wire.PROFILE]) | keyed(changes)  # type: ignore[arg-type]
        return [content(reply, {wire.PROFILE: ConfigRecord({k: v for k, v in told.items() if v is not None})})]

    return spoil


def execution(**changes: Any) -> Spoil:
    """Return what changes values of what a site says it did; None takes one out."""

    def spoil(reply: Message) -> list[Message]:
        told = dict(reply.content[wire.METRICS]) | keyed(changes)  # type: ignore[arg-type]
        kept = MetricRecord({key: value for key, value in told.items() if value is not None})
        return [content(reply, {**dict(reply.content.items()), wire.METRICS: kept})]

    return spoil


def keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in values.items()}


AT_CONNECT: dict[str, Spoil] = {
    "no reply": lambda reply: [],
    "an error": failed,
    "nothing in it": lambda reply: [content(reply, {})],
    "no name": profile(hospital_id=None),
    "a name that is a number": profile(hospital_id=3),
    "a name that does harm": profile(hospital_id="=cmd()\x1b[2J"),
    "an endless name": profile(hospital_id="a" * 10**6),
    "a stranger": profile(hospital_id="stranger"),
    "a size that is text": profile(num_train="90"),
    "a size that is true": profile(num_train=True),
    "a shape that is a number": profile(input_shape=30),
    "a shape of texts": profile(input_shape=["30"]),
    "own statistics that are a number": profile(own_statistics=1),
    "from another node": addressed(src_node_id=1),
    "to another message": addressed(reply_to_message_id="message-99"),
}


@pytest.mark.parametrize("how", AT_CONNECT)
def test_a_site_that_cannot_say_who_it_is_is_left_out_of_the_run(how: str, tmp_path: Path) -> None:
    summary = spoiled(tmp_path / "run", "query.profile", AT_CONNECT[how])
    assert summary["status"] == "done" and summary["num_hospitals"] == 3
    told = " ".join(summary["left_out"])
    assert "node 3 is left out of the run, as it could not say who it is: " in told
    assert f"{NAMES[2]} is left out of the run, as no node said that it is it" in told
    assert sorted(name for _, name in charges_of(tmp_path / "run", "planned")) == OTHERS
    assert verify_run(tmp_path / "run")[0] == []


def test_two_nodes_that_say_they_are_one_site_are_both_left_out(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"2 sites can take part, and min-survivors = 3 .*hospital-01 is left out of"):
        spoiled(tmp_path / "run", "query.profile", profile(hospital_id=NAMES[0]))


def test_sites_that_are_not_there_are_named(tmp_path: Path) -> None:
    summary = spoiled(tmp_path / "run", "none", failed, absent={NAMES[1]})
    assert summary["left_out"] == [f"{NAMES[1]} is left out of the run, as no node said that it is it"]
    assert sorted(name for _, name in charges_of(tmp_path / "run", "planned")) == [n for n in NAMES if n != NAMES[1]]


IN_TRAINING = {
    **{how: bad for how, bad in BAD.items() if "another's name" not in how},
    "mask: no word of what it did": ("mask", lambda reply: [content(reply, {wire.ARRAYS: reply.content[wire.ARRAYS]})]),
    "mask: fewer steps": ("mask", execution(num_steps=1)),
    "mask: less noise": ("mask", execution(noise_multiplier=0.5)),
    "mask: noise that is no number": ("mask", execution(noise_multiplier=float("nan"))),
    "mask: another rate": ("mask", execution(sample_rate=0.9)),
    "mask: another round": ("mask", execution(round_number=9)),
    "mask: no steps said": ("mask", execution(num_steps=None)),
    "mask: steps that are fractional": ("mask", execution(num_steps=2.0)),
}


@pytest.mark.parametrize("cell", ["record local", "hospital distributed"])
@pytest.mark.parametrize("how", IN_TRAINING)
def test_a_site_that_trains_wrongly_is_left_out_of_the_round(how: str, cell: str, tmp_path: Path) -> None:
    summary = spoiled(tmp_path / "run", *IN_TRAINING[how], cell)
    assert summary["status"] == "done"
    (sentence,) = summary["left_out"]
    assert sentence.startswith(f"{NAMES[2]} dropped out of round 1: ")
    assert [row["num_completed"] for row in rows_of(tmp_path / "run" / "rounds.csv")] == ["0", "3"]
    # It was asked, and so it was charged; that it released is not known.
    assert sorted(name for _, name in charges_of(tmp_path / "run", "planned")) == sorted(NAMES)
    assert sorted(name for _, name in charges_of(tmp_path / "run", "released")) == OTHERS
    assert verify_run(tmp_path / "run")[0] == []


@pytest.mark.parametrize("how", BAD_LATER)
def test_a_site_that_fails_once_its_vector_arrived_is_in_the_sum_and_named(how: str, tmp_path: Path) -> None:
    """Of three others' shares of each seed the wrong ones are one, so that two are left, which is enough."""
    summary = spoiled(tmp_path / "run", *BAD_LATER[how], "hospital distributed")
    (sentence,) = summary["left_out"]
    assert NAMES[2] in sentence
    assert [row["num_completed"] for row in rows_of(tmp_path / "run" / "rounds.csv")] == ["0", "4"]
    assert verify_run(tmp_path / "run")[0] == []


@pytest.mark.parametrize("how", HARMLESS)
def test_more_than_was_asked_for_harms_nobody(how: str, tmp_path: Path) -> None:
    summary = spoiled(tmp_path / "run", *HARMLESS[how], "hospital distributed")
    assert summary["left_out"] == []
    assert [row["num_completed"] for row in rows_of(tmp_path / "run" / "rounds.csv")] == ["0", "4"]


def shifted(steps: int) -> Spoil:
    def change(masked: dict[str, Any]) -> dict[str, Any]:
        return {name: np.asarray(array + np.uint32(steps), np.uint32) for name, array in masked.items()}

    return arrays(change)


@pytest.mark.parametrize(
    ("cell", "spoil", "reason"),
    [
        ("record local", shifted(2**30), "the weights in the sum add up to"),
        ("record central", shifted(2**30), "the weights in the sum add up to"),
        ("hospital distributed", shifted(2**30), "a number of the sum is"),
    ],
)
def test_a_sum_that_no_honest_sites_have_leaves_the_model_as_it_is(
    cell: str, spoil: Spoil, reason: str, tmp_path: Path
) -> None:
    summary = spoiled(tmp_path / "run", "mask", spoil, cell)
    assert summary["status"] == "done"
    (sentence,) = summary["left_out"]
    assert sentence.startswith(f"round 1 was charged but left the model as it was: {reason}")
    assert verify_run(tmp_path / "run")[0] == []


def moved_to(folder: Path, cell: str, steps: int) -> np.ndarray:
    """Return the model of a round in which the third site adds so many steps to every number, and none is refused."""

    def change(masked: dict[str, Any]) -> dict[str, Any]:
        weight = {wire.SUM_OF_WEIGHTS: masked.pop(wire.SUM_OF_WEIGHTS)}
        return {name: np.asarray(array + np.uint32(steps), np.uint32) for name, array in masked.items()} | weight

    summary = spoiled(folder, "mask", arrays(change), cell, federation={"max-records": 500})
    assert (summary["status"], summary["left_out"]) == ("done", [])
    assert verify_run(folder)[0] == []
    return np.concatenate([part.ravel() for part in load_file(folder / "model.safetensors").values()])


@pytest.mark.parametrize("cell", ["record central", "hospital central"])
def test_no_sum_is_refused_or_torn_apart_before_its_noise_is_in_it(cell: str, tmp_path: Path) -> None:
    """By what it adds, a site would learn on which side of a number the sum of the others is, whatever the noise."""
    honest, quarter, half = (moved_to(tmp_path / str(steps), cell, steps) for steps in (0, 2**30 - 2**20, 2**31))
    # Half way around the circle is where a sum turned from the largest number to the least.
    assert np.abs(half - honest).max() < 0.5 * np.abs(quarter - honest).max()


def test_replies_are_waited_for_as_long_as_is_said_and_messages_live_no_longer(tmp_path: Path) -> None:
    grids: list[SiteGrid] = []

    def make_grid(make_app: Any, nodes: Any) -> SiteGrid:
        grids.append(SiteGrid(make_app, nodes, "none", failed))
        return grids[0]

    run_between_sites(tmp_path / "run", make_grid=make_grid, timeout_seconds=77.0)
    assert {ttl for _, ttl in grids[0].asked} == {77.0}
    assert grids[0].timeouts == {77.0}


def test_simulated_hospitals_are_never_left_out() -> None:
    """What a site is left out for ends a simulation, which somebody should look at."""
    config = config_between_sites()
    nodes = [Node(node_id=index + 1, node_config={"partition-id": index}) for index in range(4)]
    app = make_client_app(config, load_federation(config.federation))
    for how, error in (("an error", "node 3 can't say who it is"), ("a size that is text", "num-train is a str")):
        with pytest.raises(WardroundError, match=error):
            connect(SiteGrid(lambda: app, nodes, "query.profile", AT_CONNECT[how]))
