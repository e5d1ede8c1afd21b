"""Released test scores on the page and in the terminal: with intervals, and with their epsilon."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from small_runs import small_config

from wardround.config import Config
from wardround.reports.endings import live_sentence
from wardround.reports.folder import read_run
from wardround.reports.numbers import epsilon_text
from wardround.reports.released import NOT_COMPUTED, NOT_MEASURED, released_figures, unmeasured_sentence
from wardround.reports.report import write_report
from wardround.reports.terminal import print_summary
from wardround.simulations.runs import run


def settings(release: str, **privacy: object) -> Config:
    return small_config(
        training={"num-rounds": 2}, evaluation={"release": release, "release-share": 0.5}, privacy=privacy
    )


def text_of(page: Path) -> str:
    body = page.read_text(encoding="utf-8").partition("<body")[2]
    plain = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", plain.replace("&#39;", "'").replace("&#34;", '"'))


def printed(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_summary(folder, console)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\s+", " ", console.file.getvalue())


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose scores can be told from the noise."""
    return run(settings("private", **{"noise-multiplier": 0.2}), out=tmp_path_factory.mktemp("noisy") / "run").folder


def test_page_and_terminal_tell_scores_intervals_and_epsilon(noisy: Path) -> None:
    run_ = read_run(noisy)
    released = run_.summary.released_scores
    assert released is not None and set(released.scores) > {"accuracy", "auc", "loss"}
    low, high = released.intervals["auc"]
    in_words = f"AUC {released.scores['auc']:.3f} ({low:.3f} to {high:.3f} at 95 %)"
    for text in (text_of(write_report(noisy)), printed(noisy)):
        assert in_words in text and "Released with noise, of the model after round 2 on 114 test records" in text
        assert f"costs epsilon {epsilon_text(released.epsilon)} by itself" in text
        assert "exact test scores are nowhere in the run's folder" in text and NOT_MEASURED not in text


def test_the_page_has_a_row_for_each_score_and_a_reliability_diagram(noisy: Path) -> None:
    rows = released_figures(read_run(noisy))
    assert [name for name, _, _ in rows][:2] == ["Accuracy", "Loss, of a record at most 4"]
    assert all("noise" in compared for _, _, compared in rows)
    text = text_of(write_report(noisy))
    assert "Calibration, released with noise" in text and "Epsilon of these scores" in text
    assert "not measured" not in text and "sums over its test records" in text
    assert "simulation only" in text and "predictions" not in text


def test_where_the_noise_hides_a_class_no_area_is_told_and_why(tmp_path: Path) -> None:
    folder = run(settings("private", **{"noise-multiplier": 6.0}), out=tmp_path / "run").folder
    sentence = unmeasured_sentence(read_run(folder))
    assert "An AUC is not told, as one of the classes has too few test records beside the noise." in sentence
    assert "Calibration, released with noise" not in text_of(write_report(folder))


def test_a_run_that_tells_nothing_says_so(tmp_path: Path) -> None:
    folder = run(settings("none"), out=tmp_path / "run").folder
    for text in (text_of(write_report(folder)), printed(folder)):
        assert NOT_COMPUTED in text and NOT_MEASURED not in text and "not measured" in text
    assert "No score or loss of test records is on this page" in text_of(write_report(folder))


@pytest.mark.parametrize("release", ["private", "none"])
def test_an_unfinished_run_is_resumed_as_a_simulation(release: str, tmp_path: Path) -> None:
    folder = run(settings(release), out=tmp_path / "run").folder
    (folder / "summary.json").unlink()
    text = text_of(write_report(folder))
    assert "wardround resume run" in text and "server app" not in text
    assert ("once the run has ended" in text) == (release == "private")


def test_why_the_tables_end_below_the_headline_is_told(noisy: Path) -> None:
    sentence = live_sentence(read_run(noisy))
    assert "before test scores were released" in sentence and "the same epsilon" not in sentence
