"""A page and a terminal of a federation of many hospitals stay readable, and say where all of them are."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from small_runs import profiles_of, small_config
from test_report import text_of

from wardround.reports.folder import read_run
from wardround.reports.report import write_report
from wardround.reports.terminal import print_plan, print_summary
from wardround.server.plan.planning import plan_federation

WriteRun = Callable[..., Path]
MANY = {f"hospital-{number:04d}": 20 + number for number in range(450)}


@pytest.fixture(scope="module")
def folder(write_run_at: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "run"
    return write_run_at(folder, hospitals=MANY, num_rounds=3, left_out=[f"{name} did not answer" for name in MANY])


def test_the_page_has_a_line_for_the_costliest_and_says_where_all_are(folder: Path) -> None:
    page = write_report(folder)
    text, html = text_of(page), page.read_text()
    assert "The 200 hospitals of the largest epsilon; all 450 are in hospitals.csv and summary.json." in text
    listed = re.findall(r'<th scope="row" data-value="(hospital-\d+)"', html)
    # The smallest hospitals spend most.
    assert listed == sorted(MANY)[:200]
    assert "445 more sentences on who was left out" in text
    assert "and 250 more, in summary.json (left_out)" in text


def test_its_figures_draw_some_from_the_least_to_the_most(folder: Path) -> None:
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", write_report(folder).read_text()))
    assert "200 of 447 other hospitals, from the least to the most at the end" in page


def test_the_terminal_names_some_and_counts_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(folder, Console(width=100))
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "430 more hospitals with no larger epsilon" in text
    assert "430 more sentences like these are in" in text


def test_a_plan_of_many_names_those_that_pay_most(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_federation(small_config(), profiles_of([20 + number for number in range(450)], digits=4))
    print_plan(plan, Console(width=100))
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert len(re.findall(r"hospital-\d{4}", text)) == 20
    assert "430 more hospitals with no larger epsilon: wardround plan --json has all" in text


def test_what_a_hospital_spent_is_a_staircase_though_quiet_lines_are_not_kept(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """Hospitals are asked in rounds 1 and 6 of 8 alone: in between they spend nothing."""
    path = write_run(hospitals=MANY, num_rounds=8) / "hospitals.csv"
    header, *lines = path.read_text().splitlines()
    spent: dict[str, str] = {}
    with path.open("w") as file:
        print(header, file=file)
        for line in lines:
            cells = line.split(",")
            if cells[0] in ("0", "1", "6"):
                spent[cells[1]] = cells[8]
            else:
                cells[2:4], cells[6:12] = ["0", "0"], ["", "", spent[cells[1]], "", "", ""]
            print(",".join(cells), file=file)
    hospital = read_run(path.parent).hospitals[7]
    first, second = (hospital.rows[place]["epsilon"] for place in (1, -1))
    assert [(row["round"], row["epsilon"]) for row in hospital.rows] == [
        (0, 0.0),
        (1, first),
        (5, first),
        (6, second),
        (8, second),
    ]
