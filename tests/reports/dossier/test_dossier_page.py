"""The dossier's page: every figure derived again by other code, and what people with other eyes need of it."""

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant

from wardround.leaves import SENTENCES
from wardround.reports.dossier.page import dossier_page
from wardround.reports.dossier.records import read_dossier

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page as a list of (tag, attributes, text inside), in the order of opening tags."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), "", [each[0] for each in self.open]]
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, *tags):
        return [element for element in self.elements if element[0] in tags]


@pytest.fixture
def page(folder):
    return Page((folder / "dossier.html").read_text())


@pytest.fixture
def figures(page):
    found = [(attrs["data-figure"], float(attrs["value"]), text.strip()) for _, attrs, text, _ in page.all("data")]
    return {name: (value, text) for name, value, text in found}


@pytest.fixture
def entries(folder):
    rows = json.loads((folder / "dossier.json").read_text())["rows"]
    return [row["entry"] for row in rows if row["kind"] == "planned"]


def composed(own):
    """Return the loss distribution of a hospital's entries, by dp-accounting alone."""
    accountant = PLDAccountant(value_discretization_interval=1e-4)
    for entry in own:
        gaussian = dp_event.GaussianDpEvent(entry["noise_multiplier"])
        accountant.compose(dp_event.PoissonSampledDpEvent(entry["sample_rate"], gaussian), entry["num_steps"])
    return accountant


def rates(accountant):
    """Return the coin toss and both true-positive rates from delta at many epsilons, by dp-accounting alone."""
    epsilons = np.linspace(0, 12, 2401)
    deltas = np.array(accountant._pld.get_delta_for_epsilon(epsilons))
    growth = np.exp(epsilons)
    found = [
        min((growth * share + deltas).min(), (1 - (1 - deltas - share) / growth).min(), 1.0) for share in (0.01, 0.001)
    ]
    return [(1 + deltas[0]) / 2, *found]


NAMES = ("coin toss", "found at 1 %", "found at 0.1 %")


def test_every_figure_of_the_page_follows_from_its_entries_by_code_that_shares_none_with_it(figures, entries):
    hospitals = sorted({entry["hospital_id"] for entry in entries})
    by_name = {name: [entry for entry in entries if entry["hospital_id"] == name] for name in hospitals}
    seen = set()

    def holds(name, value, tolerance=1e-9, digits=None):
        shown, text = figures[name]
        assert shown == pytest.approx(value, abs=tolerance), name
        if digits is not None:
            assert 0 <= float(text.replace(" %", "").replace(",", "")) - shown * digits[0] <= digits[1], name
        seen.add(name)

    accountants = {name: composed(own) for name, own in by_name.items()}
    epsilons = {name: accountant.get_epsilon(1e-4) for name, accountant in accountants.items()}
    for name, own in by_name.items():
        for reader in ("server", "hospital", "recipient"):
            holds(f"epsilon, {name}, {reader}", epsilons[name], 1e-3, (1, 0.01))
        holds(f"coin toss, {name}", rates(accountants[name])[0], 1e-3, (100, 0.1))
        holds(f"delta, {name}", 1e-4)
        holds(f"releases, {name}", len(own))
        holds(f"steps, {name}", sum(entry["num_steps"] for entry in own))
        for column in ("noise_multiplier", "sample_rate", "sensitivity"):
            holds(f"{column.replace('_', ' ')}, {name}", own[0][column], 1e-8)
    worst = max(epsilons, key=epsilons.get)
    holds("epsilon in total", epsilons[worst], 1e-3, (1, 0.01))
    holds("largest epsilon of a hospital", epsilons[worst], 1e-3, (1, 0.01))
    for reader in ("server", "hospital", "recipient"):
        holds(f"epsilon, {reader}", epsilons[worst], 1e-3, (1, 0.01))
        for name, rate in zip(NAMES, rates(accountants[worst]), strict=True):
            holds(f"{name}, {reader}", rate, 1e-3, (100, 0.1))
    holds("charges", len(entries))
    holds("committed rounds", 3)
    holds("rows of the ledger", 2 * len(entries) + 4 + 1)
    assert seen == set(figures)


def test_the_page_has_a_language_one_title_and_headings_that_skip_no_level(page):
    (html,) = page.all("html")
    assert html[1]["lang"] == "en"
    assert page.all("title")[0][2].strip()
    levels = [int(tag[1]) for tag, *_ in page.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {tag for tag in ("header", "main", "footer", "nav") if page.all(tag)} == {"header", "main", "footer", "nav"}


def test_every_table_has_a_caption_and_every_heading_cell_a_scope(page):
    assert len(page.all("table")) == len(page.all("caption")) >= 9
    assert all(text.strip() for _, _, text, _ in page.all("caption"))
    for _, attrs, text, above in page.all("th"):
        assert attrs.get("scope") == ("col" if "thead" in above else "row"), text
        assert text.strip()


def test_regions_are_named_and_links_and_labels_lead_somewhere(page):
    ids = [attrs["id"] for _, attrs, _, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs, _, _ in page.elements:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
        if attrs.get("role") == "region":
            assert attrs["aria-label"]
            assert attrs["tabindex"] == "0"
    for _, attrs, text, _ in page.all("a"):
        assert attrs["href"].removeprefix("#") in ids
        assert text.strip()


def test_no_request_leaves_the_page(folder, page):
    for _, attrs, _, _ in page.elements:
        assert "src" not in attrs
        assert attrs.get("href", "#")[:1] == "#" or attrs["href"] == "data:,"
    text = (folder / "dossier.html").read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"https?://|url\(|@import", text) == []


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back"),
    [("ink", "paper"), ("muted", "paper"), ("accent", "paper"), ("warn", "paper"), ("ink", "warn-paper")],
)
def test_texts_stand_out_by_four_and_a_half_to_one(folder, scheme, front, back):
    text = (folder / "dossier.html").read_text()
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[scheme == "dark"]))
    lighter, darker = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_page_says_what_left_a_hospital_and_where_questions_are_answered(folder, page):
    text = " ".join("".join(each[2] for each in page.all("main")).split())
    table = json.loads((folder / "dossier.json").read_text())
    for name in set(table["summary"]["leaves_hospital"]) - {"arrays"}:
        assert SENTENCES[name] in text
    for row in table["headings"]:
        assert row["heading"] in text
        assert row["answer"] in text
    assert "not in this dossier" in text


def test_nothing_that_hospitals_measured_is_in_the_rows(folder):
    table = json.loads((folder / "dossier.json").read_text())
    assert {row["kind"] for row in table["rows"] if row["entry"] is None} == {"round", "closing"}
    assert all(not row["time"] for row in table["rows"] if row["entry"] is None)
    assert {"federation", "model"} & set(table["settings"]) == set()


def test_the_page_shows_no_sample_rate_that_tells_a_size_that_is_not_shown(folder):
    path = folder / "dossier.json"
    written = read_dossier(path.read_text(), path)
    first, *others = written.summary.hospitals
    summary = replace(written.summary, hospitals=(replace(first, num_train="<10"), *others))
    page = Page(dossier_page(replace(written, summary=summary)))
    shown = {attrs["data-figure"] for _, attrs, _, _ in page.all("data")}
    assert f"sample rate, {first.hospital}" not in shown
    assert f"sample rate, {others[0].hospital}" in shown
    assert [text for _, _, text, _ in page.all("td")].count("not shown") == 1


def test_the_card_lies_beside_the_model_and_tells_what_a_reader_asks_first(audited_run):
    card = (audited_run / "model-card.md").read_text()
    assert card == (audited_run / "dossier" / "model-card.md").read_text()
    seen = "What attackers were seen to get"
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == ["What it is", "Data", "Privacy", seen, "Scores", "Limits"]
    assert not math.isnan(float(re.search(r"Accuracy: ([0-9.]+)", card)[1]))


@pytest.mark.browser
def test_the_pdf_has_pages(audited_run, tmp_path):
    import shutil

    from wardround.reports.dossier.printing import BROWSERS, print_pdf

    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no browser: apt-get install chromium")
    assert print_pdf(audited_run / "dossier" / "dossier.html", tmp_path / "dossier.pdf") == ""
    data = (tmp_path / "dossier.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", data)) >= 3
    assert print_pdf(tmp_path / "page.html", tmp_path / "none.pdf", browsers=("false",)).startswith(
        "no PDF was printed"
    )


def test_the_page_is_drawn_by_no_library_whose_version_would_change_its_bytes(folder):
    made = (
        "import sys; from pathlib import Path; from wardround.reports.dossier.page import dossier_page;"
        "from wardround.reports.dossier.records import read_dossier; path = Path(sys.argv[1]) / 'dossier.json';"
        "page = dossier_page(read_dossier(path.read_text(), path)); assert page.count('<svg') == 1;"
        "assert page == path.with_name('dossier.html').read_text(); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", made, str(folder)], check=True)
