"""The page's section on classes quotes the summary, shows no small count, and takes no name for markup."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_classes import report_of

from wardround.reports.folder import read_run
from wardround.reports.report import write_report
from wardround.reports.words import status_sentence

NAMES = ["no disease", "disease"]


def section_of(folder: Path) -> str:
    page = write_report(folder).read_text(encoding="utf-8")
    found = re.search(r'<section aria-labelledby="classes">.*?</section>', page, re.DOTALL)
    return " ".join(re.sub("<[^>]*>", " ", found[0]).split()) if found else ""


def test_it_quotes_scores_matrix_and_calibration(write_run: Callable[..., Path]) -> None:
    told = report_of([[80, 20], [15, 60]], NAMES)
    text = section_of(write_run(**told))
    for item in told["by_class"]:
        scores = " ".join(
            f"{item[name]:.3f} ({item['intervals'][name][0]:.3f}–{item['intervals'][name][1]:.3f})"  # noqa: RUF001
            for name in ("precision", "recall", "f1")
        )
        assert f"{item['class']} {item['num_test']} {scores}" in text
    assert "no disease 80 20 disease 15 60" in text
    assert f"the expected calibration error is {told['calibration_error']:.3f}" in text
    page = write_report(write_run(**told)).read_text(encoding="utf-8")
    assert f"{told['f1']:.3f}" in page and "of disease" in page


def test_small_cells_are_not_shown_and_the_page_says_so(write_run: Callable[..., Path]) -> None:
    text = section_of(write_run(**report_of([[80, 3], [15, 60]], NAMES)))
    assert "no disease not shown &lt;10 disease not shown not shown" in text
    assert "Cells of fewer than 10 test records are not shown" in text
    assert "A dash stands for" not in text
    few = section_of(write_run(**report_of([[80, 3, 2], [15, 40, 1], [1, 2, 3]], [*NAMES, "rare"])))
    assert "A dash stands for a score of fewer than 10 test records" in few


def test_a_class_name_is_text(write_run: Callable[..., Path]) -> None:
    names = ["<5 days", "</td><script>alert(1)</script>"]
    page = write_report(write_run(**report_of([[80, 20], [15, 60]], names))).read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;5 days" in page


def test_many_classes_have_no_matrix_and_regressions_no_section(write_run: Callable[..., Path]) -> None:
    told = report_of([[20 + row] * 20 for row in range(20)], [f"class {n}" for n in range(20)])
    text = section_of(write_run("many", **told))
    assert "The confusion matrix of 20 classes is in summary.json" in text and "Right class" not in text
    assert section_of(write_run("regression", task="regression")) == section_of(write_run("earlier")) == ""


@pytest.mark.parametrize(("placement", "is_charged"), [("local", True), ("none", False)])
def test_a_run_that_stopped_early_says_what_its_epsilon_is_of(
    write_run: Callable[..., Path], placement: str, is_charged: bool
) -> None:
    folder = write_run(placement=placement, status="stopped-early", num_rounds_planned=40, kept_round=12)
    sentence = status_sentence(read_run(folder))
    assert sentence.startswith("Stopped early after 15 of 40 rounds: the loss had not improved in 1 evaluated round.")
    assert ("Epsilon is that of all planned rounds" in sentence) == is_charged
    page = write_report(folder).read_text(encoding="utf-8")
    assert "The model is the one after round 12: the best by its loss on the hospitals&#39; test records." in page


def test_a_users_metrics_and_the_public_loss_stand_among_the_figures(write_run: Callable[..., Path]) -> None:
    folder = write_run(metrics={"brier": 0.12345}, public_loss=0.6543, auc_pooled=0.8111)
    text = " ".join(re.sub("<[^>]*>", " ", write_report(folder).read_text(encoding="utf-8")).split())
    for told in ("brier 0.123 your metric", "Loss on public records 0.654", "AUC over all test records 0.811"):
        assert told in text
    assert "AUC, mean over hospitals" in text
