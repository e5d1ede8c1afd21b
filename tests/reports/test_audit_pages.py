"""What page, terminal and dossier say of an audit: in the words of what is protected, with the numbers that it has."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from small_runs import small_config
from test_report import text_of

import wardround
from wardround.audits.records import AttackResult, Audit, HospitalAudit, Membership, ReaderAudit
from wardround.privacy.cells import cell_in_words
from wardround.reports.audit_terminal import print_audit
from wardround.reports.audited import assumptions_of, canaries_text, member_lines
from wardround.reports.dossier.writing import write_dossier
from wardround.reports.files import read_audit

SETTINGS = {
    "record": {"training": {"num-rounds": 2}},
    "hospital": {
        "training": {"num-rounds": 2, "sample-rate": 0.5},
        "privacy": {"unit": "hospital", "placement": "central", "noise-multiplier": 2.0},
    },
}
USED = {"record": "whether a record was used", "hospital": "whether a hospital's contribution was used"}
OTHER = {"record": "hospital's contribution", "hospital": "a record was used"}


def printed(audit: Audit, folder: Path) -> str:
    file = io.StringIO()
    print_audit(audit, folder, Console(file=file, width=100))
    return " ".join(file.getvalue().split())


def audited(folder: Path, unit: str, canaries: int) -> Path:
    run = wardround.run(small_config(**SETTINGS[unit]), out=folder / "run")
    wardround.audit(run, canaries=canaries, shadow_models=4, reconstruct=True)
    write_dossier(run.folder, browsers=())
    return run.folder


@pytest.fixture(scope="module", params=["record", "hospital"])
def told(request, tmp_path_factory):
    """Return the unit, and the texts of page, dossier, card and terminal."""
    folder = audited(tmp_path_factory.mktemp(request.param), request.param, 60)
    texts = {
        "page": text_of(folder / "report.html"),
        "dossier": text_of(folder / "dossier" / "dossier.html"),
        "card": (folder / "model-card.md").read_text(),
        "terminal": printed(read_audit(folder), folder),
    }
    return request.param, texts


def test_an_audit_speaks_of_what_is_protected(told):
    unit, texts = told
    for name, text in texts.items():
        assert USED[unit] in text, name
        assert OTHER[unit] not in text, name
    for name in ("page", "dossier"):
        assert f"Found: of the {unit}s that were used" in texts[name]
    assert f"What an attacker could tell about one {unit}" in texts["dossier"]
    assert "about one patient" not in texts["dossier"]


def test_figures_are_told_with_the_canaries_that_there_were(told):
    _, texts = told
    for name in ("page", "dossier", "terminal"):
        (points,) = re.findall(
            r"60 canaries tell the share of right guesses to within ([0-9.]+) percentage", texts[name]
        )
        assert 10 < float(points) < 14
        assert "No share at 0.1 % is told: of 60 canaries no threshold accuses so few" in texts[name]
        assert not re.search("some hundred|few hundredths", texts[name])
    assert "It is measured on 60 canaries, and so is whom" in texts["dossier"]
    assert "audit.json" in texts["page"]
    assert "audit.json" not in texts["dossier"]


def test_real_records_and_reconstruction_are_on_every_page(told):
    _, texts = told
    for name in ("page", "dossier"):
        for said in ("Real records", "RMIA", "Records from gradients", "securely summed", "told among 100"):
            assert said in texts[name], (name, said)
    for said in (
        "## Records that hospitals really have",
        "by LiRA: AUC 0.",
        "## Records from gradients",
        "Unprotected.",
    ):
        assert said in texts["card"]


def test_enough_canaries_show_the_share_at_a_tenth_of_a_percent(tmp_path):
    run = wardround.run(small_config(**SETTINGS["record"]), out=tmp_path / "run")
    found = wardround.audit(run, canaries=4000)
    page, terminal = text_of(run.folder / "report.html"), printed(found, run.folder)
    assert "Found at 0.1" in page
    assert "Found by a threshold for 0.1 %, line by line: " in terminal
    assert re.search(r"to within 1\.[0-9] percentage points", page)
    for text in (page, terminal):
        assert "No share at 0.1" not in text


def reader(num_canaries: int) -> ReaderAudit:
    return ReaderAudit(epsilon=1.0, epsilon_lower=0.0, num_canaries=num_canaries)


def of_hospitals(**hospitals: HospitalAudit) -> Audit:
    return Audit(
        epsilon_lower=0.0,
        epsilon=1.0,
        confidence=0.95,
        num_canaries=20,
        seed=1,
        is_alarm=False,
        suspicions=(),
        seconds=1.0,
        hospitals=hospitals,
        unaudited={},
    )


def test_the_fewest_canaries_are_told_where_hospitals_did_not_do_the_same():
    one, other = (HospitalAudit(worst=reader(many), readers={"recipient": reader(many)}) for many in (20, 21))
    assert canaries_text(of_hospitals(north=one)) == "20 canaries"
    assert canaries_text(of_hospitals(north=other, south=one)) == "20 canaries or more"


def test_a_twin_of_other_versions_says_so():
    words = cell_in_words("record", "local").words()
    audit = of_hospitals(north=HospitalAudit(worst=reader(20), readers={"recipient": reader(20)}))
    assert "versions" not in " ".join(assumptions_of(audit, words, "audit.json"))
    said = assumptions_of(replace(audit, other_versions=("numpy 9.1", "torch 9.2")), words, "audit.json")
    assert said[0].endswith("with versions that the run did not begin with: numpy 9.1, torch 9.2.")


def test_hospitals_of_which_as_much_was_got_are_in_the_order_of_areas():
    """A set's order would be another in every program, and so a dossier's page."""

    def hospital(auc: float) -> HospitalAudit:
        attack = AttackResult(auc=auc, num_guesses=4, num_correct=2, epsilon_lower=0.0)
        members = Membership(num_models=4, num_attacked=2, num_records=9, attacks={"lira": attack})
        return HospitalAudit(worst=reader(20), readers={"recipient": reader(20)}, membership=members)

    audit = of_hospitals(**{f"h{number:02}": hospital(0.5 + number / 100) for number in range(30)})
    assert [line.hospital for line in member_lines(audit)] == [f"h{number:02}" for number in range(10, 30)]
    assert [line.hospital for line in member_lines(audit, 1)] == ["h29"]
    assert member_lines(replace(audit, hospitals={})) == []
