"""ROC curves as figures: which is drawn, where its points stand, and what is said of it."""

import math
from dataclasses import replace

import pytest
from jinja2 import Environment, PackageLoader

from wardround.audits.records import AttackResult, FoundRates, HospitalAudit, Membership, ReaderAudit
from wardround.reports.roc import member_curves, reader_curves

ROC = ((0.0, 0.0004), (0.001, 0.01), (0.01, 0.05), (0.1, 0.3), (1.0, 1.0))
MOST = (0.0001, 0.02, 0.06, 0.4, 1.0)


def hospital(lower: float, roc=ROC, attacks=None) -> HospitalAudit:
    server = ReaderAudit(epsilon=3.0, epsilon_lower=lower, roc=roc, roc_most=roc and MOST[-len(roc) :])
    nothing = ReaderAudit(epsilon=math.inf, epsilon_lower=None)
    members = attacks and Membership(num_models=4, num_attacked=2, num_records=30, attacks=attacks)
    return HospitalAudit(worst=server, readers={"hospital": nothing, "server": server}, membership=members)


def attack(auc: float, roc=ROC, most=MOST) -> AttackResult:
    return AttackResult(auc=auc, num_guesses=9, num_correct=5, epsilon_lower=0.0, roc=roc, roc_most=most)


def test_the_curve_is_of_the_hospital_and_reader_that_most_was_seen_of():
    (figure,) = reader_curves({"north": hospital(0.5), "south": hospital(1.5), "east": hospital(1.0)}, "patients", "F")
    assert figure.caption.startswith("south against the server that runs the training, where most was seen.")
    assert (
        "Of patients that were used, where 0.1 % are falsely accused, 1.0 % are found (allowed: 2.0 %); "
        "where 1.0 % are falsely accused, 5.0 % are found (allowed: 6.0 %); "
        "where 10.0 % are falsely accused, 30.0 % are found (allowed: 40.0 %)." in figure.caption
    )
    assert figure.caption.endswith("no interval.")
    assert [key.label for key in figure.keys] == ["seen", "what the bill allows", "guessing"]


def test_a_caption_says_where_the_interval_is_told():
    found = hospital(0.5)
    told = replace(found.readers["server"], found=FoundRates(tpr_at_fpr_1_percent=0.04))
    (figure,) = reader_curves({"north": replace(found, readers={"server": told})}, "records", "dossier.json")
    assert figure.caption.endswith("and dossier.json their 95 % intervals.")


def test_points_stand_where_logarithms_put_them_and_those_of_no_share_are_left_out():
    (figure,) = reader_curves({"north": hospital(0.5)}, "records", "audit.json")
    seen, allowed, guessing = figure.keys
    assert len(seen.marks) == 4
    assert (allowed.marks, guessing.marks) == ((), ())
    places = [tuple(map(float, point.split(","))) for point in seen.points.split()]
    (left, low), (right, high) = (tuple(map(float, point.split(","))) for point in guessing.points.split())
    decades = math.log10(1 / 5e-4)
    for (x, y), (accused, found) in zip(places, ROC[1:], strict=True):
        assert x == pytest.approx(right + (right - left) * math.log10(accused) / decades, abs=0.1)
        assert y == pytest.approx(high + (high - low) * math.log10(found) / decades, abs=0.1)
    assert {label: float(x) for x, label in figure.x_ticks}["1 %"] == pytest.approx(places[1][0], abs=0.1)


def test_an_audit_of_an_earlier_version_has_no_figure():
    without = {"north": hospital(0.5, roc=None, attacks={"lira": attack(0.6, roc=None, most=None)})}
    assert reader_curves(without, "records", "audit.json") == ()
    assert member_curves(without, "audit.json") == ()
    assert member_curves({"north": hospital(0.5)}, "audit.json") == ()


def test_attacks_on_real_records_are_one_figure_with_what_the_bill_allows_where_it_says():
    hospitals = {
        "north": hospital(0.5, attacks={"lira": attack(0.6), "rmia": attack(0.7)}),
        "south": hospital(0.5, attacks={"lira": attack(0.5), "rmia": attack(0.4)}),
    }
    (figure,) = member_curves(hospitals, "audit.json")
    assert figure.caption.startswith("north by RMIA, where most was seen. Of real records that were used, where 0.1 %")
    assert [key.label for key in figure.keys] == ["RMIA", "LiRA", "what the bill allows", "guessing"]
    (figure,) = member_curves({"north": hospital(0.5, attacks={"lira": attack(0.6, most=None)})}, "audit.json")
    assert [key.label for key in figure.keys] == ["LiRA", "guessing"]
    assert "allowed:" not in figure.caption


def test_few_canaries_have_a_curve_without_points_that_are_told():
    few = ((0.0, 0.5), (0.5, 0.5), (1.0, 1.0))
    (figure,) = reader_curves({"north": hospital(0.5, roc=few)}, "records", "audit.json")
    assert "were used" not in figure.caption
    assert len(figure.keys[0].marks) == 2


def test_a_drawing_stands_for_itself_where_it_is_not_seen():
    figures = reader_curves({"n & <b>": hospital(0.5)}, "records", "audit.json")
    environment = Environment(autoescape=True, loader=PackageLoader("wardround.reports", ""))
    environment.filters["svg"] = str  # of other charts
    parts = environment.get_template("parts.html")
    text = str(parts.module.roc_figures(figures))
    assert 'role="img" aria-label="Found canaries, over falsely accused: n &amp; &lt;b&gt; against' in text
    assert text.count("<polyline") == 3
