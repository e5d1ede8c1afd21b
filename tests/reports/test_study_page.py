"""A study's page, figures and table: what they say is what the tables hold, and nothing else."""

import csv
import io
import json
import math
import re
import statistics

import numpy as np
import pytest
from made_up_study import LOSS, write_study
from rich.console import Console
from scipy import stats

from wardround.errors import ProtocolError
from wardround.privacy.cells import cell_in_words, cell_named
from wardround.reports.progress import Progress
from wardround.reports.study import write_study_page, write_study_report
from wardround.reports.study_figures import charts_of_noise, charts_of_utility
from wardround.reports.study_folder import read_study
from wardround.reports.study_hospital_figures import charts_of_hospitals
from wardround.reports.study_statistics import groups_of, hospital_groups, spread_of
from wardround.reports.study_terminal import print_study
from wardround.reports.study_words import assumptions, findings, guarantees, headline, method, reader_rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(write_study(tmp_path_factory.mktemp("study") / "heart"))


def rows_of(folder, name="results.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("num_values", [2, 3, 5, 30])
def test_intervals_are_student_s(num_values):
    values = np.random.default_rng(num_values).normal(0.8, 0.1, num_values)
    spread = spread_of(values)
    low, high = stats.t.interval(0.95, num_values - 1, loc=values.mean(), scale=stats.sem(values))
    assert spread.mean == pytest.approx(values.mean())
    assert spread.half_width == pytest.approx((high - low) / 2)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert math.isnan(spread_of([0.5]).half_width)
    assert math.isnan(spread_of([math.nan]).mean)
    assert spread_of([0.5, math.nan, 0.7]).num_values == 2
    assert spread_of([math.inf, math.inf]).mean == math.inf


def test_a_group_is_the_rows_that_differ_by_seed(study):
    groups = groups_of(study.rows)
    assert len(groups) == 4 + 3 * 4
    assert {len(group.rows) for group in groups} == {3}
    local = next(group for group in groups if (group.placement, group.held, group.level) == ("local", "epsilon", 1.0))
    wanted = [float(row["auc"]) for row in rows_of(study.folder) if row["run"].startswith("record-local-epsilon-1-")]
    assert local.spread("auc").mean == pytest.approx(statistics.fmean(wanted))


def test_what_a_hospital_pays_is_against_the_federated_model_of_its_seed(study):
    item = next(
        item
        for item in hospital_groups(study)
        if (item.hospital, item.group.placement, item.group.level) == ("Cleveland", "local", 0.5)
    )
    # In the made-up study the seed moves both alike, so that the difference is exact.
    assert item.costs == pytest.approx((-2 * LOSS["local"],) * 3)
    switzerland = [item for item in hospital_groups(study) if item.hospital == "Switzerland"]
    assert all(item.costs == () for item in switzerland)
    assert all(math.isnan(item.spread("num_train").mean) for item in switzerland)


def test_every_point_of_a_chart_is_a_mean_of_rows(study):
    charts = {chart.name: chart for chart in charts_of_utility(study)}
    assert list(charts) == [
        *("auc-epsilon-record", "auc-change-epsilon-record", "auc-noise-record", "auc-change-noise-record"),
        "accuracy-epsilon-record",
    ]
    chart = charts["auc-epsilon-record"]
    assert [curve.label for curve in chart.curves] == ["local noise", "distributed noise", "central noise"]
    rows = rows_of(study.folder)
    for curve in chart.curves:
        for x, y, level in zip(curve.x, curve.y, (0.5, 1.0, 4.0), strict=True):
            placement = curve.label.split()[0]
            mine = [r for r in rows if (r["placement"], r["target_epsilon"]) == (placement, str(level))]
            assert y == pytest.approx(statistics.fmean(float(r["auc"]) for r in mine))
            # Marks stand a little apart, by less than a twentieth.
            assert x == pytest.approx(statistics.fmean(float(r["epsilon_max"]) for r in mine), rel=0.05)
    levels = {level.label: level for level in chart.levels}
    assert "most frequent class: 0.506 (below the figure)" in levels
    assert levels["federated, no privacy: 0.856"].is_drawn
    change = charts["auc-change-epsilon-record"].curves[0]
    assert change.y == pytest.approx([-LOSS["local"] / level for level in (0.5, 1.0, 4.0)])
    assert change.half_width == pytest.approx([0, 0, 0], abs=1e-12)


def test_records_and_hospitals_are_never_in_one_chart(tmp_path):
    study = read_study(write_study(tmp_path / "both", units=("record", "hospital")))
    for charts in (charts_of_utility(study), charts_of_noise(study), charts_of_hospitals(study)):
        names = [chart.name for chart in charts]
        assert len(names) == len(set(names))
        for chart in charts:
            assert chart.name.endswith(("-record", "-hospital"))
            unit = chart.name.rsplit("-", 1)[1]
            assert chart.title.endswith(f"unit: {unit}")
    assert len(charts_of_noise(study)) == 2
    assert any("never on one axis" in sentence for sentence in assumptions(study))


def test_the_noise_chart_has_marks_that_were_drawn_and_lines_of_theory(study):
    (chart,) = charts_of_noise(study)
    curves = {curve.label: curve for curve in chart.curves}
    assert list(curves) == ["local, drawn", "zC / sqrt(n)", "distributed, drawn", "central, drawn", "zC / n"]
    assert curves["zC / sqrt(n)"].y == pytest.approx([1 / math.sqrt(n) for n in (4, 10, 20, 100)])
    assert curves["zC / n"].y == pytest.approx([1 / n for n in (4, 10, 20, 100)])
    assert curves["local, drawn"].y == pytest.approx([1.01 / math.sqrt(n) for n in (4, 10, 20, 100)])
    assert "within 1.0 % of theory" in chart.caption or "within 1.1 % of theory" in chart.caption


def test_hospitals_without_a_score_are_named_and_small_counts_are_not_drawn(study):
    who_pays, epsilon = charts_of_hospitals(study)
    assert "Without a mark: Switzerland" in who_pays.caption
    assert all(len(curve.x) == 3 for curve in who_pays.curves)
    assert "noise multiplier 2" in epsilon.caption


def test_sentences(study):
    verdict, compared = headline(study)
    assert verdict == (
        "AUC 0.776 ± 0.011 with local noise, 0.816 ± 0.011 with distributed noise and 0.821 ± 0.011 with central "
        "noise, at target epsilon 1 for every record"
    )
    assert compared.startswith("48 runs, noise local, distributed and central, at equal epsilon (0.5, 1, 4), at")
    told = " ".join(findings(study))
    assert re.search(r"epsilon 0.5 for[^)]*\), central noise changes AUC by \+0.090 ± 0.000 against local noise", told)
    assert re.search(r"epsilon 1 for[^)]*\), central noise changes AUC by \+0.045 ± 0.000 against local noise", told)
    assert "price of not trusting the server" in told
    assert "Pooled, no privacy: AUC 0.866" in told
    assert any("t(0.975, n - 1)" in sentence for sentence in method(study))
    text = " ".join(assumptions(study))
    for wanted in ("many models on the same data", "min-survivors", "not covered by epsilon"):
        assert wanted in text


def test_what_an_epsilon_means_is_the_worst_of_its_runs_and_not_derived(tmp_path):
    folder = write_study(tmp_path / "study")
    page = write_study_page(folder).read_text()
    assert "guesses right at most 523 times in 1000" in page  # seeds 1, 2 and 3: 0.521, 0.522 and 0.523
    assert "finds at most 15 of 1000 records" in page
    table = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(re.sub(r"(record-local-epsilon-1-seed-2.*),0\.522,", r"\1,,", table))
    page = write_study_page(folder).read_text()
    assert "coin toss" not in page and "By common convention this is a strong guarantee" in page


def test_caveats_and_delta_stand_beside_the_claims(tmp_path):
    folder = write_study(tmp_path / "study")
    caveat = "whoever knows the seed can take it out"
    assert "at delta 1e-5" in printed(folder)
    assert caveat in headline(read_study(folder))[1] and caveat in " ".join(printed(folder).split())
    for path in folder.glob("runs/*/summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"noise": "system", "record_is": "patient"}))
    study = read_study(folder)
    assert caveat not in headline(study)[1] and caveat not in " ".join(printed(folder).split())
    assert headline(study)[0].endswith("for every patient")


def test_where_a_record_is_a_patient_no_chart_table_or_sentence_names_the_unit_a_record(tmp_path):
    folder = write_study(tmp_path / "study", units=("record", "hospital"), record_is="patient")
    study = read_study(folder)
    page = write_study_page(folder).read_text()
    for wrong in ("unit: record", "unit record", "record, local", "Training records", "training records", "of records"):
        assert wrong not in page
    for right in ("unit: patient", "unit patient", "patient, local noise", "Training patients", "Epsilons of patients"):
        assert right in page
    assert all("record" not in chart.x_label + chart.title for chart in charts_of_hospitals(study))
    assert len(re.findall(r"^patient (local|distributed|central) ", printed(folder), re.M)) == 3 * 4


def test_a_study_names_the_noise_that_its_runs_state_and_only_that_which_was_drawn_on_the_average(tmp_path):
    folder = write_study(tmp_path / "study", units=("hospital",))
    for path in folder.glob("runs/hospital-central-*/summary.json"):
        stated = json.loads(path.read_text()) | {"mechanism": cell_named("hospital-correlated").mechanism}
        path.write_text(json.dumps(stated))
    study = read_study(folder)
    (chart,) = charts_of_noise(study)
    assert "hospital, central correlated noise" in [name for name, *_ in reader_rows(study)]
    assert "central correlated noise changes AUC" in " ".join(findings(study))
    assert [curve.label for curve in charts_of_utility(study)[0].curves][-1] == "central correlated noise"
    assert "central, drawn" in [curve.label for curve in chart.curves]


def test_the_promises_of_one_unit_are_told_apart_where_they_differ(tmp_path):
    differing = read_study(write_study(tmp_path / "both", units=("hospital",), placements=("central", "local")))
    alike = read_study(write_study(tmp_path / "alike", placements=("central", "local")))
    assert (
        "A hospital's epsilon with local noise is about exchanging its update for any other, with central noise about "
        "leaving its contribution out: different promises, whatever the figures say."
    ) in assumptions(differing)
    assert not any("different promises" in sentence for sentence in assumptions(alike))


def test_no_difference_is_called_no_difference(tmp_path):
    folder = write_study(tmp_path / "same", placements=("local", "central"), seeds=(1, 2))
    text = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(re.sub(r"(central,record.*?),0\.\d+,0\.\d+,1\.25", r"\1,0.7,0.776,1.25", text))
    assert "show no clear difference" in " ".join(findings(read_study(folder)))


def test_readers_and_terms_are_those_of_the_runs(study):
    rows = {name: readers for name, _, readers, _ in reader_rows(study)}
    assert rows["record, central noise"] == {"server": math.inf, "hospital": 0.95, "recipient": 0.95}
    assert rows["record, distributed noise"]["hospital"] == pytest.approx(1.14)
    ((unit, terms),) = guarantees(study)
    assert unit == "record"
    assert dict(terms)["What is hidden"] == cell_in_words("record", "local").words().hidden
    assert dict(terms)["Delta"] == "1e-5 (1 in 100,000)"


def test_the_page_holds_the_tables_and_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = write_study(tmp_path / "study")
    page = write_study_report(folder).read_text()
    made = [(folder / name).read_bytes() for name in ("report.html", "comparison.svg", "comparison.png")]
    write_study_report(folder)
    assert [(folder / name).read_bytes() for name in ("report.html", "comparison.svg", "comparison.png")] == made
    for row in rows_of(folder):
        assert f'data-value="{row["run"]}"' in page
        assert f'data-value="{float(row["auc"])}"' in page
    assert "<code>results.csv</code>" in page
    assert re.findall(r'href="(?!data:|#)([^"]*)"', page) == []  # a page that is sent alone has no dead link
    assert "NIST SP 800-226" in page
    assert "src=" not in page
    assert made[2].startswith(b"\x89PNG")
    assert b"AUC against epsilon" in made[1]


def test_failed_and_stopped_runs_are_said(tmp_path):
    failed, stopped = "record-local-epsilon-1-seed-2", "record-local-epsilon-4-seed-1"
    folder = write_study(tmp_path / "study", failures={failed: "ran out of <memory>"}, stopped=stopped)
    page = write_study_page(folder).read_text()
    assert "1 run failed and is in no figure" in page
    assert f"<code>{failed}</code>: ran out of &lt;memory&gt;" in page
    assert "1 run stopped at the budget" in page
    assert f"{stopped} (stopped-at-budget)" in page
    text = printed(folder)
    assert f"Failed: {failed}: ran out of <memory>" in text
    assert "47 of 48 runs" in text


def test_regression_speaks_of_r2_alone(tmp_path):
    folder = write_study(tmp_path / "study", task="regression")
    page = write_study_page(folder).read_text()
    assert "r2 against epsilon" in page
    assert "AUC" not in page
    assert "AUC" not in printed(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"placements": (), "target_epsilons": (), "noise_multipliers": ()},
        {"seeds": (1,)},
        {"baselines": ()},
        {"noise_multipliers": ()},
        {"target_epsilons": ()},
        {"placements": ("central",), "target_epsilons": (1.0,), "noise_multipliers": ()},
    ],
)
def test_studies_of_every_make_have_a_page(tmp_path, changes):
    folder = write_study(tmp_path / "study", **changes)
    assert write_study_page(folder).is_file()
    assert printed(folder)


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(ProtocolError, match="not a study's folder"):
        write_study_report(tmp_path)
    folder = write_study(tmp_path / "study")
    text = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(text.replace("majority-seed-1", "majority-seed-1,again"))
    with pytest.raises(ProtocolError, match=r"results.csv line 2"):
        read_study(folder)
    (folder / "results.csv").write_text(text.replace("1.25", "soon", 1))
    with pytest.raises(ProtocolError, match="'soon' stands where a number belongs"):
        read_study(folder)


def printed(folder):
    console = Console(file=io.StringIO(), width=140)
    print_study(folder, console)
    return console.file.getvalue()


def test_the_table_in_the_terminal_has_a_line_per_placement_and_level(study):
    text = printed(study.folder)
    assert len(re.findall(r"^record (local|distributed|central) ", text, re.M)) == 3 * 4
    line = next(line for line in text.splitlines() if re.match(r"record local +epsilon 1 ", line))
    assert "0.776 ± " in line
    assert "0.95" in line


def test_progress_counts_runs_on_lines_where_there_is_no_terminal():
    now = iter(range(0, 1000, 2))
    console = Console(file=io.StringIO(), width=100)
    with Progress("run", console=console, clock=lambda: next(now)) as bar:
        for number in range(1, 8):
            bar.show(number * 10, 700, f"run-{number}")
        bar.show(700, 700, "run-8")
    lines = console.file.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["run 10/700", "run 40/700", "run 70/700", "run 700/700"]
    assert "left" in lines[1] and lines[-1] == "run 700/700  run-8"
    quiet = Console(file=io.StringIO())
    with Progress("run", quiet=True, console=quiet) as bar:
        bar.show(1, 2, "x")
    assert quiet.file.getvalue() == ""


def test_progress_is_a_bar_in_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress("run", console=console) as bar:
        bar.show(1, 2, "record-local")
        bar.show(2, 2, "record-central")
    assert "2/2" in console.file.getvalue()
