"""Charts keep what a reader relies on from one to the next: whose colour it is, and where a share can lie."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_study import write_study

from wardround.reports.drawing import chart_svg
from wardround.reports.figures import panels_by_hospital, panels_by_round
from wardround.reports.folder import read_run
from wardround.reports.study_figures import charts_of_utility
from wardround.reports.study_folder import read_study
from wardround.reports.study_statistics import groups_of, middle_group, place_of_level

MANY = {f"hospital-{number}": 20 + 7 * number for number in range(1, 41)}


def ticks_of(svg: str) -> list[float]:
    """Return the numbers at the vertical axis."""
    axis = svg[svg.index("matplotlib.axis_2") :]
    return [float(text.replace("−", "-")) for text in re.findall(r">\s*([−0-9.]+)\s*</text>", axis)]  # noqa: RUF001


@pytest.mark.parametrize("sizes", [{"Cleveland": 199, "Hungary": 172, "Basel": 30}, MANY])
def test_a_hospital_has_one_colour_in_all_charts(write_run: Callable[..., Path], sizes: dict[str, int]) -> None:
    panels = panels_by_hospital(read_run(write_run(hospitals=sizes)))
    assert len(panels) == 3
    keys = [{(key.label, key.series) for key in panel.keys if key.series} for panel in panels]
    assert keys[0] == keys[1] == keys[2]
    assert len({series for _, series in keys[0]}) == 3


def test_a_hospital_without_a_curve_leaves_its_colour_unused(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    table = (folder / "hospitals.csv").read_text()
    (folder / "hospitals.csv").write_text(re.sub(r"(?m)^(\d+,Cleveland,.*),[^,]*$", r"\1,", table))
    panels = panels_by_hospital(read_run(folder))
    assert [key.label for key in panels[2].keys] == ["Hungary", "Long Beach VA", "Switzerland"]
    assert [key.series for key in panels[2].keys] == [key.series for key in panels[0].keys[1:]]


def test_shares_stay_within_0_and_1(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_study(tmp_path / "study", seeds=(1, 2))
    table = (folder / "results.csv").read_text().splitlines()
    # Two seeds so far apart that their interval reaches from below 0 to above 1.
    spread = [re.sub(r",0\.\d+,0\.\d+,1\.25,", ",0.05,0.04,1.25," if "seed-1" in line else ",0.95,0.99,1.25,", line)
              for line in table]  # fmt: skip
    (folder / "results.csv").write_text("\n".join(spread) + "\n")
    for chart in charts_of_utility(read_study(folder)):
        if not chart.name.startswith(("auc-change", "accuracy-change")):
            ticks = ticks_of(chart_svg(chart))
            assert ticks and min(ticks) >= 0 and max(ticks) <= 1, chart.name
    for panel in panels_by_round(read_run(write_run(auc=1.0)))[:2]:
        assert max(ticks_of(chart_svg(panel))) <= 1


@pytest.mark.parametrize(
    ("epsilons", "noises", "level", "words"),
    [
        ((2.0,), (), 2.0, "the only level"),
        ((1.0, 4.0), (), 1.0, "the stricter of the two levels"),
        ((0.5, 1.0, 4.0), (), 1.0, "the middle level"),
        ((0.5, 1.0, 4.0, 8.0), (), 1.0, "the stricter of the two middle levels"),
        ((), (1.0, 4.0), 4.0, "the stricter of the two levels"),
    ],
)
def test_the_level_that_stands_for_all_is_named(
    tmp_path: Path, epsilons: tuple[float, ...], noises: tuple[float, ...], level: float, words: str
) -> None:
    study = read_study(write_study(tmp_path / "study", target_epsilons=epsilons, noise_multipliers=noises))
    groups = [group for group in groups_of(study.rows) if group.unit]
    chosen = middle_group(groups)
    assert chosen is not None
    assert chosen.level == level
    assert place_of_level(groups, chosen.held) == words
