"""Show a run while it goes on, on stderr: a bar in a terminal, a line now and then elsewhere, nothing when quiet."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from wardround.reports.numbers import epsilon_text, number_text

__all__ = ["LiveBar", "Progress"]

_LINE_SHARE, _LINE_SECONDS = 0.1, 5.0


class LiveBar:
    """Where progress is shown: a bar in a terminal while it is entered; what is shown elsewhere is its children's.

    Args:
        quiet: show nothing.
        console: where to write; default stderr.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def _counters(self) -> tuple[ProgressColumn, ...]:
        """Return what counts beside the bar."""
        return ()

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            left = (TimeRemainingColumn(compact=True), TextColumn("left"))
            columns = (BarColumn(bar_width=20), *self._counters(), *left)
            self._bar = Bar(*columns, console=self._console, get_time=self._clock)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Show what begins now, before there is a round to show."""
        if not self._quiet:
            self._console.print(f"{text} ...", markup=False, highlight=False, soft_wrap=True)


class Progress(LiveBar):
    """The live progress of a run: round, loss, metric, largest epsilon and time left."""

    _first: tuple[int, float] | None = None
    _printed: tuple[int, float] = (-1, -math.inf)

    def _counters(self) -> tuple[ProgressColumn, ...]:
        return (TextColumn("round {task.completed:.0f}/{task.total:.0f}  {task.description}"),)

    def update(
        self,
        round_number: int,
        num_rounds: int,
        loss: float | None,
        metric_name: str,
        metric: float | None,
        epsilon_max: float | None,
    ) -> None:
        """Show that a round is committed.

        Args:
            round_number: from 0, which is before training.
            num_rounds: rounds planned.
            loss: mean test loss; nan where not known, None where it is not measured.
            metric_name: accuracy, auc or r2.
            metric: its value; nan where not known, None where it is not measured.
            epsilon_max: largest epsilon of a hospital so far; inf without privacy.
        """
        if self._quiet:
            return
        epsilon = f"epsilon <= {epsilon_text(_known(epsilon_max))} (Renyi)"
        if epsilon_max == math.inf:
            epsilon = "no privacy"
        elif epsilon_max == 0:
            epsilon = "nothing spent yet"
        text = f"loss {_measured(loss)}  {metric_name} {_measured(metric)}  {epsilon}"
        if loss is None and metric is None:
            text = f"loss and {metric_name} not measured  {epsilon}"
        if self._first is None:
            self._first = (round_number, self._clock())
        if self._bar is None:
            self._line(round_number, num_rounds, text)
        elif self._task is None:
            self._task = self._bar.add_task(text, completed=round_number, total=num_rounds)
        else:
            self._bar.update(self._task, completed=round_number, total=num_rounds, description=text)

    def _line(self, round_number: int, num_rounds: int, text: str) -> None:
        now = self._clock()
        last_round, last_seconds = self._printed
        is_due = round_number - last_round >= _LINE_SHARE * num_rounds or now - last_seconds >= _LINE_SECONDS
        if is_due or round_number == num_rounds:
            self._printed = (round_number, now)
            left = self._left(round_number, num_rounds, now)
            line = f"round {round_number}/{num_rounds}  {text}{left}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self, round_number: int, num_rounds: int, now: float) -> str:
        first_round, first_seconds = self._first or (round_number, now)
        if round_number == first_round or round_number >= num_rounds:
            return ""
        seconds = (now - first_seconds) / (round_number - first_round) * (num_rounds - round_number)
        minutes, seconds = divmod(round(seconds), 60)
        return f"  {minutes}:{seconds:02d} left"


def _measured(value: float | None) -> str:
    return "not measured" if value is None else number_text(value)


def _known(value: float | None) -> float:
    return math.nan if value is None else value
