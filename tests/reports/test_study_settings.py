"""A study that varies settings: its page, charts and table tell the combinations apart, and compare like with like."""

import csv
import io
import re

import pytest
from made_up_study import write_study
from rich.console import Console

from wardround.reports.study import write_study_page
from wardround.reports.study_figures import charts_of_utility
from wardround.reports.study_folder import read_study
from wardround.reports.study_hospital_figures import charts_of_hospitals
from wardround.reports.study_panels import MOST_PANELS
from wardround.reports.study_setting_figures import charts_of_settings
from wardround.reports.study_statistics import groups_of, hospital_groups
from wardround.reports.study_terminal import print_study
from wardround.reports.study_words import findings, guarantees, headline, reader_rows

RATES = {"training.learning-rate": ("0.1", "0.5")}
BOTH = RATES | {"privacy.max-grad-norm": ("0.5", "1.25")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(write_study(tmp_path_factory.mktemp("study") / "rates", vary=RATES))


def test_every_combination_is_a_row_of_its_own(study):
    groups = groups_of(study.rows)
    with_privacy = [group for group in groups if not group.baseline]
    assert len(with_privacy) == 3 * 4 * 2
    assert {group.setting for group in with_privacy} == {((name, value),) for name in RATES for value in RATES[name]}
    assert sum(group.baseline == "majority" for group in groups) == 1
    assert sum(group.baseline == "federated" for group in groups) == 2
    assert all(len(group.rows) == 3 for group in groups)


def test_panels_have_one_combination_each_and_one_vertical_axis(study):
    charts = [chart for chart in charts_of_utility(study) if chart.name.startswith("auc-epsilon-record-")]
    assert [chart.title.split("; ")[1] for chart in charts] == ["learning-rate 0.1", "learning-rate 0.5"]
    assert len({chart.y_range for chart in charts}) == 1
    low, high = charts[0].y_range
    for chart, rate in zip(charts, RATES["training.learning-rate"], strict=True):
        assert len(chart.curves) == 3
        for level in chart.levels:
            is_below = level.label.endswith("(below the figure)")
            assert level.is_drawn == (not is_below) == (low <= level.y <= high)
        for curve in chart.curves:
            placement = curve.label.split()[0]
            rows = [r for r in study.rows if r.placement == placement and r.target_epsilon == r.target_epsilon]
            mine = [r.auc for r in rows if dict(r.varied)["training.learning-rate"] == rate]
            assert sum(curve.y) == pytest.approx(sum(mine) / 3)
            assert all(low < y < high for y in curve.y)


def test_with_noise_in_one_place_the_combinations_are_curves_of_one_chart(tmp_path):
    alone = read_study(write_study(tmp_path / "study", placements=("local",), vary=RATES))
    (chart,) = [chart for chart in charts_of_utility(alone) if chart.name.startswith("auc-epsilon-record")]
    assert [curve.label for curve in chart.curves] == ["learning-rate 0.1", "learning-rate 0.5"]
    assert len({curve.series for curve in chart.curves}) == 2
    assert chart.levels[0].label.startswith("most frequent class")
    for curve, rate in zip(chart.curves, RATES["training.learning-rate"], strict=True):
        rows = [r for r in alone.rows if not r.baseline and r.target_epsilon == r.target_epsilon]
        mine = [r.auc for r in rows if dict(r.varied)["training.learning-rate"] == rate]
        assert sum(curve.y) == pytest.approx(sum(mine) / 3)


def test_what_privacy_costs_is_set_against_the_same_setting_without_privacy(study):
    for group in hospital_groups(study):
        if not group.group.baseline and group.hospital != "Switzerland":
            rows = {row.run: row for row in study.rows}
            for line, cost in zip(group.rows, group.costs, strict=True):
                same = [
                    other
                    for other in study.rows
                    if (other.baseline, other.seed, other.varied) == ("federated", line.seed, rows[line.run].varied)
                ]
                (without,) = (item for item in study.hospitals[same[0].run] if item.hospital == line.hospital)
                assert cost == pytest.approx(line.auc - without.auc)
    changes = [chart for chart in charts_of_utility(study) if chart.name.startswith("auc-change-epsilon")]
    # The made-up rates cost a baseline what they cost a run with privacy.
    assert changes[0].curves[0].y == pytest.approx(changes[1].curves[0].y)


def test_a_setting_has_a_chart_of_its_own_with_what_it_changes(study):
    (chart,) = charts_of_settings(study)
    assert chart.x_label == "learning-rate" and chart.x_scale == "log"
    assert {curve.label for curve in chart.curves} >= {"local noise", "central noise", "federated, no privacy"}
    assert [level.label.split(":")[0] for level in chart.levels] == ["most frequent class"]
    assert all(curve.y[0] == pytest.approx(curve.y[1]) for curve in chart.curves)  # both values have three letters
    assert "Whoever picks a value by such a figure learns more" in chart.caption


def test_words_stand_along_the_axis_where_values_are_no_numbers(tmp_path):
    folder = write_study(tmp_path / "words", vary={"training.optimizer": ("sgd", "adam")})
    (chart,) = charts_of_settings(read_study(folder))
    assert chart.x_names == ("sgd", "adam")
    assert "adam" in write_study_page(folder).read_text()


def test_several_settings_have_a_chart_for_each_combination_of_the_others(tmp_path):
    study = read_study(write_study(tmp_path / "both", vary=BOTH))
    charts = charts_of_settings(study)
    assert len(charts) == 4 and len({chart.name for chart in charts}) == 4
    assert [chart.title.rpartition("; ")[2] for chart in charts] == [
        *("max-grad-norm 0.5", "max-grad-norm 1.25"),
        *("learning-rate 0.1", "learning-rate 0.5"),
    ]
    # The clip makes no difference to a baseline: it stands beside every clip.
    assert sum(group.baseline == "federated" for group in groups_of(study.rows)) == 2
    assert all(any("federated" in item.label for item in chart.keys) for chart in charts)


def test_many_combinations_have_some_figures_and_all_rows(tmp_path):
    values = tuple(str(value) for value in range(1, 10))
    study = read_study(write_study(tmp_path / "many", placements=("local",), vary={"training.local-steps": values}))
    charts = [chart for chart in charts_of_utility(study) if chart.name.startswith("auc-epsilon")]
    assert len(charts) == MOST_PANELS
    assert f"The first {MOST_PANELS} of 9 combinations have a figure" in charts[0].caption
    assert len({chart.name for chart in (*charts_of_utility(study), *charts_of_hospitals(study))}) == len(
        [*charts_of_utility(study), *charts_of_hospitals(study)]
    )
    assert len([group for group in groups_of(study.rows) if not group.baseline]) == 9 * 4


def test_sentences_name_the_values_that_they_are_about(tmp_path):
    study = read_study(write_study(tmp_path / "both", vary={"privacy.max-grad-norm": ("0.5", "1.25")}))
    verdict, compared = headline(study)
    assert re.search(
        r"AUC \S+ ± \S+ \(max-grad-norm 1.25\) to \S+ ± \S+ \(max-grad-norm 0.5\) with local noise", verdict
    )
    assert "privacy.max-grad-norm 0.5 and 1.25" in compared
    assert any("and max-grad-norm 1.25, central noise changes AUC" in sentence for sentence in findings(study))
    (terms,) = (dict(rows) for _, rows in guarantees(study))
    assert terms["Clip (L2 norm)"] == "varied: 0.5, 1.25"
    assert len(reader_rows(study)) == 3


def test_terminal_and_page_have_a_column_of_each_setting(study):
    console = Console(width=140, file=io.StringIO(), color_system=None)
    print_study(study.folder, console)
    lines = console.file.getvalue().splitlines()
    assert "learning-rate" in lines[1]
    assert sum(bool(re.match(r"record local +0\.5 +epsilon 1 ", line)) for line in lines) == 1
    page = write_study_page(study.folder).read_text()
    head = re.search(r'id="setting-table".*?</thead>', page, re.DOTALL)[0]
    assert "learning-rate" in head
    body = re.search(r'id="setting-table".*?</table>', page, re.DOTALL)[0].split("<tbody>")[1]
    assert {row.count("<td") for row in body.split("</tr>")[:-1]} == {head.count("<th ") - 1}
    with (study.folder / "results.csv").open() as file:
        assert next(csv.reader(file))[-1] == "training.learning-rate"


def test_a_study_of_settings_without_privacy_has_its_chart_and_headline(tmp_path):
    folder = write_study(
        tmp_path / "plain",
        placements=(),
        target_epsilons=(),
        noise_multipliers=(),
        baselines=("federated",),
        vary=RATES,
    )
    study = read_study(folder)
    assert [chart.x_label for chart in charts_of_settings(study)] == ["learning-rate"]
    assert "without privacy only: AUC" in headline(study)[0] and "(learning-rate 0.1)" in headline(study)[0]
    assert "learning-rate" in write_study_page(folder).read_text()
