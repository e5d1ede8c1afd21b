"""A study's page in headless Chromium: what is demanded of a run's page, and its tables sorted."""

import pytest
import test_page_in_browser as run_page
from made_up_study import write_study

from wardround.reports.study import write_study_page

pytestmark = pytest.mark.browser
browser = run_page.browser

STUDIES = {
    "all": {"units": ("record", "hospital")},
    "many": {"sizes": {f"hospital-{number}": 20 + 7 * number for number in range(1, 61)}},
    "regression": {"task": "regression"},
    "long-names": {"sizes": {"St. Bartholomew's and the Royal London Hospital, Ward 17, East Wing": 90, "x" * 90: 50}},
    "failures": {"failures": {"record-local-epsilon-1-seed-2": "y" * 200}},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    written = {}
    for name, changes in STUDIES.items():
        with pytest.MonkeyPatch.context() as patch:
            if name != "all":  # comparison.svg and .png are not on the page, and drawing them is most of the work
                patch.setattr("wardround.reports.study.write_comparison", lambda *_: None)
            written[name] = write_study_page(write_study(folder / name, **changes))
    return written


@pytest.mark.parametrize("width", run_page.WIDTHS)
@pytest.mark.parametrize("name", STUDIES)
def test_nothing_is_cut_off_and_every_figure_is_drawn(browser, pages, name, width):
    run_page.test_nothing_is_cut_off_and_every_figure_is_drawn(browser, pages, name, width)


def test_it_asks_the_network_for_nothing_and_has_its_own_colours(browser, pages):
    run_page.test_the_page_asks_the_network_for_nothing(browser, {"four": pages["all"]})
    run_page.test_dark_and_paper_have_their_own_colours(browser, {"four": pages["all"]})


@pytest.mark.parametrize("table", ["setting", "noise", "hospital", "run"])
def test_every_heading_of_every_table_sorts(browser, pages, table):
    run_page.show(browser, pages["all"])
    cells = (
        f"return [...document.querySelectorAll('#{table}-table tbody tr')].map(row => row.cells[{{}}].dataset.value)"
    )
    for index, heading in enumerate(browser.find_elements("css selector", f"#{table}-table th button")):
        before = browser.execute_script(cells.format(index))
        heading.click()
        values = browser.execute_script(cells.format(index))
        assert sorted(before) == sorted(values)
        if "number" in heading.find_element("xpath", "..").get_attribute("class"):
            known = [float(value) for value in values if value != "nan"]
            assert known == sorted(known, reverse=True)
            assert values[len(known) :] == ["nan"] * (len(values) - len(known))
        else:
            assert values[0] == min(values, key=str.lower)


def test_a_page_that_is_sent_alone_has_no_link(browser, pages):
    run_page.show(browser, pages["all"])
    assert browser.execute_script("return document.querySelectorAll('a[href]').length") == 0


@pytest.mark.parametrize("name", STUDIES)
def test_on_a_phone_no_column_and_no_caption_is_out_of_sight(browser, pages, name):
    run_page.test_on_a_phone_no_column_and_no_caption_is_out_of_sight(browser, pages, name)


def test_a_name_that_is_a_script_stays_a_name(browser, tmp_path):
    nasty = "<script>document.title = 'taken over'</script>"
    folder = write_study(tmp_path / "nasty", sizes={nasty: 60, "& <b>north</b>": 90})
    run_page.show(browser, write_study_page(folder))
    assert "taken over" not in browser.title
    names = browser.execute_script(
        "return [...document.querySelectorAll('#hospital-table tbody th')].map(h => h.textContent)"
    )
    assert set(names) == {nasty, "& <b>north</b>"}
