"""The page as people see it: headless Chromium at a phone's and a desk's width, light, dark and on paper."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_classes import report_of

from wardround.reports.report import write_report

pytestmark = pytest.mark.browser
WIDTHS = (400, 1400)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
MANY = {f"hospital-{number}": 20 + 7 * number for number in range(1, 61)}
CLASSES_OF_TWO = {
    "status": "stopped-early",
    "kept_round": 3,
    **report_of([[80, 20], [15, 60]], ["no disease", "disease"]),
}
CLASSES_OF_TEN = report_of(
    [[90 if row == column else (row * column) % 14 for column in range(10)] for row in range(10)],
    [
        "t-shirt",
        "ankle boot",
        *("a class with a name as long as names get in a register " * 2 + str(n) for n in range(8)),
    ],
)
PAGES: dict[str, dict[str, Any]] = {
    "four": {},
    "many": {"hospitals": MANY, "num_rounds": 5},
    "regression": {"task": "regression"},
    "no-privacy": {"placement": "none"},
    "interrupted": {"has_summary": False},
    "sites": {"is_measured": False},
    "sites-interrupted": {"is_measured": False, "has_summary": False},
    "sites-regression": {"is_measured": False, "task": "regression", "hospitals": MANY, "num_rounds": 5},
    "two-classes": CLASSES_OF_TWO,
    "ten-classes": CLASSES_OF_TEN,
    "long-names": {
        "hospitals": {"St. Bartholomew's and the Royal London Hospital, Ward 17, East Wing": 90, "x" * 90: 50}
    },
}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium and chromedriver must be installed: apt-get install chromium chromium-driver")
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="session")
def pages(write_run_at: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_report(write_run_at(folder / name, **changes)) for name, changes in PAGES.items()}


def show(browser: Any, page: Path, width: int = 1400) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off_and_every_figure_is_drawn(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.get_log("browser")
    show(browser, pages[name], width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width
    charts = browser.execute_script(
        """return [...document.querySelectorAll("svg.chart")].map(svg => {
            const box = svg.getBoundingClientRect(), slack = 1.5;
            const inside = [...svg.querySelectorAll("text")].every(text => {
                const t = text.getBoundingClientRect();
                return t.left >= box.left - slack && t.right <= box.right + slack &&
                       t.top >= box.top - slack && t.bottom <= box.bottom + slack;
            });
            const paths = [...svg.querySelectorAll("path")].map(path => path.getAttribute("d") || "");
            return {width: box.width, height: box.height, right: box.right, texts: svg.querySelectorAll("text").length,
                    inside, drawn: paths.filter(d => d.length > 0).length,
                    bad: paths.filter(d => /nan|inf/i.test(d)).length};
        })"""
    )
    assert len(charts) >= 3
    for chart in charts:
        assert chart["width"] > 200
        assert chart["height"] > 100
        assert chart["right"] <= width
        assert chart["texts"] >= 3
        assert chart["inside"], f"text outside a figure at {width} px"
        assert chart["drawn"] > 3
        assert chart["bad"] == 0
    # Headings, paragraphs and cells end within the page, or within a container of their own that scrolls.
    cut = browser.execute_script(
        """return [...document.querySelectorAll("h1, h2, h3, p, li, th, td, pre, figcaption")].filter(element => {
            const box = element.closest(".scroll, pre") || document.body;
            return element.getBoundingClientRect().right > box.getBoundingClientRect().left + box.scrollWidth + 1;
        }).map(element => element.textContent.slice(0, 60))"""
    )
    assert cut == []
    if width == 1400:
        scrolling = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)"
            ".map(box => box.getAttribute('aria-label'))"
        )
        assert scrolling == []


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_no_column_and_no_caption_is_out_of_sight(browser: Any, pages: dict[str, Path], name: str) -> None:
    show(browser, pages[name], 400)
    hidden = browser.execute_script(
        """return [...document.querySelectorAll(".stack th, .stack td, .terms th, .terms td, caption span")].filter(
            item => item.getClientRects().length && item.getBoundingClientRect().right > innerWidth
        ).map(item => item.textContent.slice(0, 60))"""
    )
    assert hidden == []
    # What a heading said on a wide screen is said in every row.
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.stack td')].map(c => getComputedStyle(c, '::before').content)"
    )
    assert labels and "none" not in labels


def test_headings_are_repeated_on_every_printed_page(browser: Any, pages: dict[str, Path]) -> None:
    """Chromium repeats a table's heading unless it holds a box of its own, as a button is."""
    show(browser, pages["many"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = browser.execute_script(
        "return [...document.querySelectorAll('th button')].map(button => getComputedStyle(button).display)"
    )
    sticky = browser.execute_script(
        "return [...document.querySelectorAll('thead th')].map(heading => getComputedStyle(heading).position)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert set(shown) == {"contents"} and set(sticky) == {"static"}


def test_the_page_asks_the_network_for_nothing(browser: Any, pages: dict[str, Path]) -> None:
    browser.get_log("performance")
    show(browser, pages["four"])
    requests = [
        entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]
    ]
    assert requests
    assert all('"url":"file://' in message or '"url":"data:' in message for message in requests)
    text = pages["four"].read_text(encoding="utf-8")
    assert 'src="http' not in text
    assert "@import" not in text


def test_a_heading_sorts_the_table_and_a_second_press_turns_it_round(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["many"])
    rows = "return [...document.querySelectorAll('#hospital-table tbody tr')].map(row => row.cells[{}].dataset.value)"
    heading = browser.find_elements("css selector", "#hospital-table th button")
    heading[1].click()
    sizes = [float(value) for value in browser.execute_script(rows.format(1))]
    assert sizes == sorted(sizes, reverse=True)
    heading[1].click()
    sizes = [float(value) for value in browser.execute_script(rows.format(1))]
    assert sizes == sorted(sizes)
    heading[0].click()
    names = browser.execute_script(rows.format(0))
    assert names == [f"hospital-{number}" for number in range(1, 61)]
    state = "return document.querySelector('#hospital-table th').getAttribute('aria-sort')"
    assert browser.execute_script(state) == "ascending"


def test_dark_and_paper_have_their_own_colours(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["four"])
    colours = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    seen = {}
    for name, media in (
        ("light", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}),
        ("dark", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
        ("paper", {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    ):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen[name] = browser.execute_script(colours)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert seen["dark"][0] != seen["light"][0]
    assert seen["dark"][1] != seen["light"][1]
    assert seen["paper"] == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_a_name_that_is_a_script_stays_a_name(browser: Any, write_run_at: Callable[..., Path], tmp_path: Path) -> None:
    nasty = "<script>document.title = 'taken over'</script>"
    show(browser, write_report(write_run_at(tmp_path / "nasty", hospitals={nasty: 60, "& <b>north</b>": 90})))
    assert "taken over" not in browser.title
    names = browser.execute_script(
        "return [...document.querySelectorAll('#hospital-table tbody th')].map(h => h.textContent)"
    )
    assert sorted(names) == sorted([nasty, "& <b>north</b>"])
