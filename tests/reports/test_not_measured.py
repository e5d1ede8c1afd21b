"""A run between real sites on the page and in the terminal: what is not measured is said, and not drawn."""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from site_runs import run_between_sites

from wardround.leaves import SENTENCES, SIMULATION_ONLY, fields_sent
from wardround.reports.progress import Progress, round_text
from wardround.reports.released import NOT_MEASURED
from wardround.reports.report import write_report
from wardround.reports.terminal import print_summary

WriteRun = Callable[..., Path]
TASKS = ("classification", "regression")


def text_of(page: Path) -> str:
    """Return what is read on a page: blanks joined, without markup."""
    body = page.read_text(encoding="utf-8").partition("<body")[2]
    plain = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", plain.replace("&#39;", "'"))


def printed(folder: Path, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(folder, console)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\s+", " ", console.file.getvalue())


@pytest.mark.parametrize("task", TASKS)
def test_the_page_says_that_nothing_is_measured_and_why(write_run: WriteRun, task: str) -> None:
    text = text_of(write_report(write_run(is_measured=False, task=task)))
    assert NOT_MEASURED in text and "no real site sends it" in NOT_MEASURED
    assert "Loss not measured" in text
    assert ("r2 not measured" if task == "regression" else "AUC not measured Accuracy not measured") in text
    # Nothing that is compared with, drawn or promised for scores.
    for word in ("guessing", "most frequent class", "always the mean", "test records; none is shown", "Loss by round"):
        assert word.lower() not in text.lower(), word
    assert "nan" not in re.findall(r"[a-z]+", text.lower())


def test_while_the_run_goes_on_the_tables_tell_that_nothing_is_measured(write_run: WriteRun) -> None:
    text = text_of(write_report(write_run("sites", is_measured=False, has_summary=False)))
    assert NOT_MEASURED in text
    # No simulation can go on with it.
    assert "wardround resume" not in text and "the server app continues it" in text
    assert NOT_MEASURED not in text_of(write_report(write_run("simulated", has_summary=False)))
    # A summary of before there was a word for it is of a run that measured.
    assert NOT_MEASURED not in text_of(write_report(write_run("older", measured=None)))


@pytest.mark.parametrize("task", TASKS)
def test_no_chart_of_scores_is_drawn_and_those_of_epsilon_are(write_run: WriteRun, task: str) -> None:
    page = write_report(write_run(is_measured=False, task=task)).read_text(encoding="utf-8")
    assert len(re.findall(r"<svg[^>]*class=\"chart", page)) == 3
    assert len(re.findall(r"<figure", page)) == 3
    assert "<h3>Epsilon by round</h3>" in page and "<h3>Epsilon by hospital</h3>" in page


def test_the_page_lists_what_real_sites_send_and_no_more(write_run: WriteRun) -> None:
    text = text_of(write_report(write_run(is_measured=False)))
    sent = fields_sent(protocol="secagg+", task="classification", failed=False, are_sites=True)
    for name, sentence in SENTENCES.items():
        if name not in ("arrays", "name"):
            assert (f"It sends {sentence}." in text) == (name in sent), name
    assert SIMULATION_ONLY not in text


def test_a_simulations_page_says_what_no_real_site_sends(write_run: WriteRun) -> None:
    text = text_of(write_report(write_run()))
    assert "epsilon does not cover it, and no real site sends it" in text
    assert NOT_MEASURED not in text and "not measured" not in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("task", TASKS)
def test_the_terminal_says_not_measured_for_every_hospital(write_run: WriteRun, task: str, width: int) -> None:
    text = printed(write_run(is_measured=False, task=task), width)
    assert NOT_MEASURED in text
    assert text.count("not measured") == 4 + 1 + 1  # hospitals, all, and the sentence
    assert "accuracy" not in text.lower().replace(NOT_MEASURED.lower(), "") and "r2" not in text


def test_the_progress_line_says_not_measured() -> None:
    console = Console(file=io.StringIO(), width=120)
    with Progress("round", console=console) as progress:
        progress.show(0, 2, round_text(None, "accuracy", None, 0.0))
        progress.show(2, 2, round_text(0.5, "auc", math.nan, 1.0))
    assert isinstance(console.file, io.StringIO)
    first, last = console.file.getvalue().splitlines()
    assert first == "round 0/2  loss and accuracy not measured  nothing spent yet"
    assert "not measured" not in last and "loss 0.500" in last


def test_the_page_of_a_run_is_rebuilt_the_same_from_its_files(tmp_path: Path) -> None:
    run_between_sites(tmp_path / "run")
    page: dict[int, Any] = {turn: write_report(tmp_path / "run").read_bytes() for turn in range(2)}
    assert page[0] == page[1]
    assert NOT_MEASURED in text_of(tmp_path / "run" / "report.html")
    assert NOT_MEASURED in printed(tmp_path / "run")
