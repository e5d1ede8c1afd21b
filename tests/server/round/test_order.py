"""The order of a round's steps, as a grid and a strategy see it: charged before anything is sent, committed last."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flower_grid import stage_of
from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from grid_runs import LineGrid, run_over
from small_runs import small_config

from wardround.config import Config
from wardround.privacy.ledger import open_ledger
from wardround.simulations.engines.nodes import Node

EIGHT_STEPS = ["ask", "add up", "step", "evaluate", "evaluated"]
STARTED: list["Diary"] = []
"""The diary of the run that is under way: a strategy is made by name, without arguments."""


@dataclass
class Diary:
    """What happened, with what the ledger held of it by then.

    Attributes:
        ledger: of the run.
        pages: the event, entries that were planned and released, and rounds that were committed.
    """

    ledger: Path
    pages: list[tuple[str, int, int, int]]

    def write(self, event: str) -> None:
        if not self.ledger.exists():
            return
        with open_ledger(self.ledger, read_only=True) as ledger:
            states = ledger.to_frame()["state"].tolist()
            committed = len(ledger.rounds())
        self.pages.append((event, states.count("planned"), states.count("released"), committed))


class Told(FedAvg):
    """Writes down when it is asked what."""

    needs_only_sum = True

    def configure_train(self, *given: Any, **named: Any) -> Iterable[Message]:
        STARTED[-1].write("ask")
        return super().configure_train(*given, **named)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        STARTED[-1].write("step")
        return super().aggregate_train(server_round, replies)

    def configure_evaluate(self, *given: Any, **named: Any) -> Iterable[Message]:
        STARTED[-1].write("evaluate")
        return super().configure_evaluate(*given, **named)

    def aggregate_evaluate(self, *given: Any, **named: Any) -> Any:
        STARTED[-1].write("evaluated")
        return super().aggregate_evaluate(*given, **named)


def told() -> Told:
    return Told(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)


class TellingGrid(LineGrid):
    """Writes down when the first hospital is sent its training."""

    def sent(self, message: Message) -> None:
        page = "add up"
        if stage_of(message) in ("train", "mask") and (not STARTED[-1].pages or STARTED[-1].pages[-1][0] != page):
            STARTED[-1].write(page)


def diary_of(path: Path, config: Config) -> list[tuple[str, int, int, int]]:
    """Return what happened in a run, and how it stood with the ledger each time."""
    STARTED.append(Diary(path / "ledger.sqlite", []))

    def make_grid(make_app: Callable[[], ClientApp], nodes: list[Node]) -> TellingGrid:
        return TellingGrid(make_app, nodes)

    run_over(path, config, make_grid)
    STARTED[-1].write("done")
    return STARTED.pop().pages


@pytest.mark.parametrize("protocol", ["plain", "secure-sum", "secagg+"])
def test_a_round_is_charged_before_it_is_asked_for_and_committed_when_all_is_done(
    protocol: str, tmp_path: Path
) -> None:
    config = small_config(
        training={"num-rounds": 2},
        aggregation={"protocol": protocol, "min-survivors": 3, "strategy": f"{__name__}:told"},
    )
    pages = diary_of(tmp_path / "run", config)
    opening, first, second, (last,) = pages[:2], pages[2:7], pages[7:12], pages[12:]
    assert [event for event, *_ in opening] == ["evaluate", "evaluated"]
    for number, steps in enumerate((first, second), 1):
        # Of three hospitals: all of the round's entries are planned before the strategy is asked whom to ask, none of
        # them is released, nor the round committed, before the model that came of it was evaluated.
        assert steps == [(event, 3 * number, 3 * (number - 1), number) for event in EIGHT_STEPS]
    assert last == ("done", 6, 6, 3)


def test_what_is_not_within_the_budget_is_never_charged_nor_asked_for(tmp_path: Path) -> None:
    config = small_config(
        training={"num-rounds": 3},
        privacy={"budget-epsilon": 1e-3, "on-budget": "stop"},
        aggregation={"strategy": f"{__name__}:told"},
    )
    pages = diary_of(tmp_path / "run", config)
    assert [event for event, *_ in pages] == ["evaluate", "evaluated", "done"]
    assert pages[-1] == ("done", 0, 0, 1)


def test_a_round_that_too_few_answer_is_charged_and_committed_and_the_strategy_sees_nothing(tmp_path: Path) -> None:
    config = small_config(
        training={"num-rounds": 1},
        aggregation={"min-survivors": 3, "strategy": f"{__name__}:told"},
        simulation={"dropout-rate": 0.99},
    )
    pages = diary_of(tmp_path / "run", config)
    assert [event for event, *_ in pages] == ["evaluate", "evaluated", "evaluate", "evaluated", "done"]
    assert pages[2] == ("evaluate", 3, 0, 1) and pages[-1] == ("done", 3, 0, 2)
