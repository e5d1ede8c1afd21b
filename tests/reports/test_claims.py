"""Whatever changes a claim stands beside it: in the headline's paragraph, in the terminal, and on a study's page."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_report import text_of

from wardround.leaves import LEAVES_HOSPITAL
from wardround.privacy.cells import CELLS, READERS, Cell
from wardround.reports.folder import read_run
from wardround.reports.numbers import epsilon_text
from wardround.reports.report import write_report
from wardround.reports.terminal import print_summary
from wardround.reports.words import headline, privacy_sentence

WriteRun = Callable[..., Path]
ATTACKER = {
    "coin_toss_accuracy": 0.6913,
    "tpr_at_fpr_0.01": 0.0957,
    "tpr_at_fpr_0.001": 0.0151,
    "gdp_mu": 1.0477,
    "gdp_mu_error": 0.003,
    "by": "pld",
}


def printed(folder: Path, width: int = 400) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(folder, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def change(folder: Path, **changes: Any) -> Path:
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["epsilon"] |= changes.pop("epsilon", {})
    path.write_text(json.dumps(summary | changes))
    return folder


def test_the_delta_beside_an_epsilon_is_the_one_it_is_stated_at(write_run: WriteRun) -> None:
    own = {"Cleveland": 1e-3, "Hungary": 1e-4, "Long Beach VA": 1e-5, "Switzerland": 1e-6}
    folder = change(write_run(), target_delta=own, epsilon={"total": 1.96, "max": 1.96, "target_delta": 1e-6})
    assert "Epsilon is at most 1.96 for each record, at delta 1e-6" in (headline(read_run(folder))[1])
    assert "at epsilon <= 1.96 and delta 1e-6" in printed(folder)
    assert re.search(r"Cleveland 199 .* 1e-3 ", printed(folder)) and re.search(r"all 4 .* 1e-6 1\.96 ", printed(folder))
    rows = re.findall(r'<tr>\s*<th scope="row" data-value="([^"]+)">.*?</tr>', write_report(folder).read_text(), re.S)
    assert rows == sorted(own)
    assert {hospital.name: hospital.target_delta for hospital in read_run(folder).hospitals} == own


def test_a_delta_that_is_not_recorded_is_not_chosen(write_run: WriteRun) -> None:
    folder = change(write_run(), target_delta={"Cleveland": 1e-3, "Hungary": 1e-6}, epsilon={"total": 1.96})
    assert "delta not recorded" in privacy_sentence(read_run(folder))


@pytest.mark.parametrize(
    ("facts", "sentence", "is_said"),
    [
        ({"own_statistics": True}, "the means and deviations by which each hospital standardised", True),
        ({"own_statistics": False}, "the means and deviations by which each hospital standardised", False),
        ({"noise": "seeded"}, "whoever knows the seed can take it out", True),
        ({"noise": "system"}, "whoever knows the seed can take it out", False),
        ({"protocol": "secure-sum"}, "is acted out by the simulation", True),
        ({"protocol": "secagg+"}, "is acted out by the simulation", False),
        ({"record_is": "row"}, "A patient with several rows is protected less", True),
        ({"record_is": "patient"}, "A patient with several rows is protected less", False),
        ({"num_rounds_lost": 2}, "are 2 rounds whose result the model does not have", True),
        ({"num_rounds_lost": 1}, "is 1 round whose result the model does not have", True),
        ({"num_rounds_lost": 0}, "whose result the model does not have", False),
        ({"status": "stopped-at-budget"}, "The run stopped at its budget", True),
        ({"status": "interrupted"}, "a round under way is charged, and not in this figure", True),
    ],
)
def test_what_changes_the_claim_stands_in_its_paragraph(
    write_run: WriteRun, facts: dict[str, Any], sentence: str, is_said: bool
) -> None:
    folder = write_run(**facts)
    paragraph = re.search(r'<p class="lead">(.*?)</p>', write_report(folder).read_text(), re.DOTALL)
    assert paragraph is not None
    assert (sentence in paragraph[1]) == is_said
    assert (sentence in printed(folder)) == is_said


@pytest.mark.parametrize(("record_is", "unit"), [("patient", "one patient"), ("row", "one record")])
def test_the_unit_is_the_patient_where_it_is(write_run: WriteRun, record_is: str, unit: str) -> None:
    folder = write_run(record_is=record_is)
    assert f"Protected: {unit}" in printed(folder)
    assert headline(read_run(folder))[1].startswith(f"Protected is {unit}")
    assert f"Training {'patients' if record_is == 'patient' else 'records'}" in text_of(write_report(folder))


@pytest.mark.parametrize(
    ("record_is", "hidden"),
    [("patient", "the hospital has n patients is public"), ("row", "the hospital has n records is public")],
)
def test_what_is_public_is_counted_in_the_unit(write_run: WriteRun, record_is: str, hidden: str) -> None:
    folder = write_run(record_is=record_is)
    assert hidden in printed(folder) and hidden in text_of(write_report(folder))


def test_an_epsilon_that_was_higher_while_training_is_explained_where_it_is_seen(write_run: WriteRun) -> None:
    folder = write_run(epsilon={"max": 1.2, "total": 1.2})
    live = read_run(folder).rounds[-1]["epsilon_total"]
    assert live > 1.2
    sentence = (
        f"end at {epsilon_text(live)}. That is an upper bound of the same epsilon too, quicker to compute (Renyi)"
    )
    assert f"{sentence}; 1.20 is the closer one" in printed(folder)
    page = text_of(write_report(folder))
    assert page.count("the smaller of it and one that is computed at the end") == 2  # by round and by hospital
    assert "quicker to compute" not in printed(change(folder, epsilon={"max": live, "total": live}))


@pytest.mark.parametrize(
    ("record_is", "patient_overlap", "whom"),
    [
        ("row", 1, "for each record"),
        ("row", 2, "for a patient with one record at each of up to 2 hospitals"),
        ("patient", 1, "for a patient whose records lie in one hospital only"),
        ("patient", 2, "for a patient whose records lie in up to 2 hospitals"),
    ],
)
def test_no_patient_is_promised_what_holds_for_a_row(
    write_run: WriteRun, record_is: str, patient_overlap: int, whom: str
) -> None:
    folder = write_run(record_is=record_is, patient_overlap=patient_overlap)
    assert re.search(rf"Epsilon is at most [0-9.]+ {whom}, at delta", text_of(write_report(folder)))


def test_a_page_says_how_many_may_side_with_the_server(write_run: WriteRun) -> None:
    for colluding, said in ((0, "no hospital sides"), (1, "no more than 1 hospital sides"), (2, "2 hospitals side")):
        folder = write_run(protocol="secagg+", max_colluding=colluding)
        assert f"{said} with it. The" in text_of(write_report(folder))


@pytest.mark.parametrize("placement", ["local", "none"])
def test_no_name_of_a_field_is_on_the_page_outside_the_settings(write_run: WriteRun, placement: str) -> None:
    page = write_report(write_run(placement=placement, leaves_hospital=dict(LEAVES_HOSPITAL))).read_text()
    told = re.sub(r"<(pre|script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert len(told) < len(page) and "It sends " in told
    assert [name for name in LEAVES_HOSPITAL if "-" in name and re.search(rf"\b{name}\b", told)] == []


def test_an_infinite_epsilon_is_a_word(write_run: WriteRun) -> None:
    folder = write_run(placement="central")
    for text in (text_of(write_report(folder)), printed(write_run(placement="none"))):
        assert "infinite" in text and not re.search(r"\binf\b", text)


def test_attackers_are_quoted_for_every_reader(write_run: WriteRun) -> None:
    readers = {"server": ATTACKER, "hospital": ATTACKER | {"coin_toss_accuracy": 0.7041}, "recipient": ATTACKER}
    folder = write_run(attacker=ATTACKER, attackers=readers, gdp_mu=1.0477)
    text = text_of(write_report(folder))
    assert "guesses right at most 692 times in 1000" in text
    assert "70.5 %" in text and text.count("69.2 %") == 2
    assert "Gaussian-DP mu 1.05, error of the fit 0.003" in text
    assert "guesses right at most 692 times in 1000" in printed(folder)


def test_an_unfinished_run_says_what_is_hidden_and_which_caveat_is_not_known_yet(write_run: WriteRun) -> None:
    folder = write_run(has_summary=False)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace('dataset = "heart-disease"', 'dataset = "csv"'))
    said = printed(folder)
    assert "whether a record of yours was used or replaced by an empty one" in said
    assert "which the figure does not cover, is recorded when the run ends" in said


def test_a_bound_that_bounds_nothing_says_so(write_run: WriteRun) -> None:
    said = printed(write_run(attacker=ATTACKER | {"coin_toss_accuracy": 0.99999}))
    assert "may guess right every time: nothing is promised" in said and "1000 times" not in said


def test_no_figure_claims_to_hold_for_a_reader_who_does_better(write_run: WriteRun) -> None:
    readers = {"server": ATTACKER, "hospital": ATTACKER | {"coin_toss_accuracy": 0.7041}, "recipient": ATTACKER}
    folder = write_run(attacker=ATTACKER, attackers=readers)
    total = read_run(folder).epsilon.total
    change(folder, epsilon={"readers": {"server": total, "hospital": total + 1, "recipient": total}})
    assert "692 times in 1000 (blind guessing: 500); other hospitals: at most 705." in printed(folder)
    text = text_of(write_report(folder))
    assert "every attacker that this epsilon holds against" in text and "every attacker, whatever" not in text


def test_no_figure_of_an_attacker_is_derived_from_epsilon(write_run: WriteRun) -> None:
    folder = write_run(attacker={"coin_toss_accuracy": None, "by": "pld"}, gdp_mu=None, gdp_mu_reason="no one fits")
    text = text_of(write_report(folder))
    assert "coin toss" not in text and "Guesses right" not in text
    assert "Gaussian-DP mu no one fits" in text
    assert "coin toss" not in printed(folder)


def test_the_terms_have_trust_clip_dates_and_the_version_of_the_data(write_run: WriteRun) -> None:
    notes = ["source: Heart Disease, version 3, sha256 verified", "normalisation: constants"]
    dates = ["2026-11-25 09:00", "2026-11-25 10:30"]
    text = text_of(write_report(write_run(notes=notes, dates=dates, max_grad_norm=0.5)))
    for term in (
        "Trust model Nobody outside the hospital is trusted",
        "Clip each record's gradient to at most 0.5 (L2 norm)",
        "Date 2026-11-25 09:00 to 10:30 UTC",
        "Data Heart Disease, version 3, sha256 verified",
    ):
        assert re.sub(r"\s+", " ", term) in text


@pytest.mark.parametrize(("noise", "source"), [("seeded", "the seed"), ("system", "the operating system")])
def test_the_page_says_where_the_noise_was_drawn_from(write_run: WriteRun, noise: str, source: str) -> None:
    assert f"Noise is drawn from {source}" in text_of(write_report(write_run(noise=noise)))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("protocol", ["plain", "secure-sum", "secagg+"])
def test_every_cell_has_words_for_everything(cell: Cell, protocol: str) -> None:
    words = cell.words(record_is="patient", protocol=protocol)
    assert words.unit == ("patient" if cell.unit == "record" else "hospital") and words.units == f"{words.unit}s"
    missing = {name.name for name in fields(words) if not getattr(words, name.name)}
    assert missing <= {"chart_order", "price", "relies", "caveats", "formula"}
    assert set(words.sees) == set(READERS) and all(words.sees.values())
    assert not any("{" in str(getattr(words, name.name)) for name in fields(words) if name.name != "sees")
    if cell.is_private:
        learns_all = cell.noise_against("server", 1.0, 2) == 0
        assert ("not against the server" in words.trust) == learns_all
        assert bool(words.price) == cell.shares_noise and words.formula


def test_cells_of_one_unit_are_told_apart_by_noise_place_and_words() -> None:
    for unit in ("record", "hospital"):
        said = [cell.words() for cell in CELLS if cell.is_private and cell.unit == unit]
        for of in ("kind", "chart_order", "noise", "trust"):
            assert len({getattr(words, of) for words in said}) == len(said)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_where_a_record_is_a_patient_no_cell_speaks_of_records_but_the_patient_s_own(cell: Cell) -> None:
    words = cell.words(record_is="patient")
    texts = [*(str(getattr(words, name.name)) for name in fields(words)), *words.assumes]
    said = re.sub("zero-out-one-record|patient's records?|your record|patient (has|whose) records", "", " ".join(texts))
    assert "record" not in said
