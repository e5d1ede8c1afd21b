"""Show a run or a study while it goes on, on stderr: a bar in a terminal, a line now and then elsewhere, or nothing."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from wardround.reports.numbers import epsilon_text, number_text

__all__ = ["Progress", "round_text"]

_LINE_SHARE, _LINE_SECONDS = 0.1, 5.0


class Progress:
    """Parts done of all, what is known of the last one, and the time left.

    Args:
        noun: what the parts are: "round" of a run, "run" of a study.
        quiet: show nothing.
        console: where to write; default stderr.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self,
        noun: str,
        *,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._noun = noun
        self._quiet = quiet
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._first: tuple[int, float] | None = None
        self._printed: tuple[int, float] = (-1, -math.inf)

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            counter = TextColumn(f"{self._noun} {{task.completed:.0f}}/{{task.total:.0f}}  {{task.description}}")
            left = (TimeRemainingColumn(compact=True), TextColumn("left"))
            self._bar = Bar(BarColumn(bar_width=20), counter, *left, console=self._console, get_time=self._clock)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Show what begins now, before there is a part to show; a warning is no beginning."""
        if not self._quiet:
            end = "" if text.startswith("warning: ") else " ..."
            self._console.print(f"{text}{end}", markup=False, highlight=False, soft_wrap=True)

    def show(self, number: int, num_all: int, text: str) -> None:
        """Show that a part is done.

        Args:
            number: of the part; of all that are done.
            num_all: parts planned.
            text: what is known of it.
        """
        if self._quiet:
            return
        if self._bar is None:
            self._line(number, num_all, text, self._clock())
        elif self._task is None:
            self._task = self._bar.add_task(text, completed=number, total=num_all)
        else:
            self._bar.update(self._task, completed=number, total=num_all, description=text)

    def _line(self, number: int, num_all: int, text: str, now: float) -> None:
        first_number, first_seconds = self._first = self._first or (number, now)
        last_number, last_seconds = self._printed
        is_due = number - last_number >= _LINE_SHARE * num_all or now - last_seconds >= _LINE_SECONDS
        if not is_due and number != num_all:
            return
        self._printed = (number, now)
        left = ""
        if first_number < number < num_all:
            seconds = (now - first_seconds) / (number - first_number) * (num_all - number)
            left = "  {}:{:02d} left".format(*divmod(round(seconds), 60))
        line = f"{self._noun} {number}/{num_all}  {text}{left}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def round_text(
    loss: float | None,
    metric_name: str,
    metric: float | None,
    epsilon_max: float | None,
    tested_after: int | None = None,
) -> str:
    """Return what is shown of a committed round.

    Args:
        loss: mean test loss; nan where not known, None where it is not measured.
        metric_name: accuracy, auc, r2 or C.
        metric: its value; nan where not known, None where it is not measured.
        epsilon_max: largest epsilon of a hospital so far; inf without privacy.
        tested_after: an earlier round that loss and metric are of; None where they are of this one.
    """
    epsilon = f"epsilon <= {epsilon_text(math.nan if epsilon_max is None else epsilon_max)} (Renyi)"
    if epsilon_max == math.inf:
        epsilon = "no privacy"
    elif epsilon_max == 0:
        epsilon = "nothing spent yet"
    if loss is None and metric is None:
        return f"loss and {metric_name} not measured  {epsilon}"
    since = "" if tested_after is None else f" (after round {tested_after})"
    return f"loss {_measured(loss)}  {metric_name} {_measured(metric)}{since}  {epsilon}"


def _measured(value: float | None) -> str:
    return "not measured" if value is None else number_text(value)
