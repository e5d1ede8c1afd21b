"""The page's words and bytes: true for every kind of run, and the same for the same folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wardround.errors import ProtocolError, WardroundError
from wardround.leaves import fields_sent
from wardround.reports.report import write_report

WriteRun = Callable[..., Path]


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    body = re.sub(r"<(script|style|svg).*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("&#39;", "'").replace("&lt;", "<")


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {},
            ["Epsilon is at most", "whether a record of yours was used or replaced", "noise already inside"],
        ),
        ({"placement": "none"}, ["Trained without privacy", "epsilon is infinite for every reader"]),
        (
            {"placement": "central"},
            ["not against the server", "every hospital's contribution before the noise is added"],
        ),
        ({"placement": "distributed"}, ["as long as secure aggregation does"]),
        ({"task": "regression"}, ["r2 on the hospitals' test records", "better than always answering the mean"]),
        ({"has_summary": False}, ["Not finished", "wardround resume run"]),
        (
            {
                "status": "stopped-at-budget",
                "num_rounds": 9,
                "num_rounds_planned": 15,
                "stopped_because": "Basel is out",
            },
            ["Stopped at the budget after 9 of 15 rounds: Basel is out."],
        ),
        ({"excluded": ["Bern has 1 patient"]}, ["Excluded: Bern has 1 patient"]),
        ({"left_out": ["Chur did not answer"]}, ["Chur did not answer"]),
        ({"patient_overlap": 2}, ["at each of up to 2 hospitals"]),
        ({"accuracy": 0.66, "majority_accuracy": 0.6602}, ["the same as the 0.660 of always answering"]),
        ({"accuracy": 0.5}, ["not above the 0.660"]),
    ],
)
def test_what_the_page_says(write_run: WriteRun, changes: dict[str, object], sentences: list[str]) -> None:
    text = text_of(write_report(write_run(**changes)))
    for sentence in sentences:
        assert sentence in text


def test_one_hospital_without_noise_takes_the_guarantee_away(write_run: WriteRun) -> None:
    folder = write_run()
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["epsilon"] |= {"max": "inf", "total": "inf"}
    summary["epsilon"]["hospitals"]["Hungary"] = "inf"
    path.write_text(json.dumps(summary))
    assert "No privacy guarantee: epsilon is infinite" in text_of(write_report(folder))


def test_everything_that_leaves_is_listed_under_its_ground(write_run: WriteRun) -> None:
    text = text_of(write_report(write_run()))
    assert "charged It sends the model after local steps. carries noise" in text
    assert "It sends how many records it trains on. It sends how strong the noise was. taken to be public" in text
    assert re.search(r"simulation only It sends the loss .* measured for research", text)
    bare = text_of(write_report(write_run("bare", placement="none")))
    assert "no noise It sends the model after local training. not protected" in bare
    folder = write_run("standardised")
    with (folder / "config.toml").open("a") as file:
        file.write('\n[features]\nstandardise = "private"\n')
    told = "the model after local steps and, once before round 1, the means of its features and of their squares."
    assert told in text_of(write_report(folder))


@pytest.mark.parametrize("protocol", ["plain", "secagg+"])
def test_no_wire_name_reaches_the_page_and_no_meaning_is_blank(write_run: WriteRun, protocol: str) -> None:
    sent = fields_sent(protocol=protocol, task="classification", failed=False) | {
        "of-an-older-version": "other grounds"
    }
    page = write_report(write_run(leaves_hospital=sent, protocol=protocol)).read_text()
    table = re.search(r"Everything that hospitals sent.*?</table>", page, re.DOTALL)
    assert table is not None
    for name in sent:
        assert name not in table[0].replace("public by decision", "") or "-" not in name
    assert '<td data-label="Which means"></td>' not in table[0]
    assert ("sealed so that only their receivers" in table[0]) == (protocol == "secagg+")


def test_the_same_folder_gives_the_same_bytes(write_run: WriteRun) -> None:
    folder = write_run()
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("key", ["hospitals", "notes", "versions", "accountant", "num_parameters", "engine"])
def test_a_missing_key_is_not_the_end(write_run: WriteRun, key: str) -> None:
    assert "Wardround" in write_report(write_run(**{key: None})).read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["epsilon", "target_delta", "leaves_hospital", "seconds", "relation"])
def test_a_summary_without_what_every_version_wrote_is_refused_in_a_sentence(write_run: WriteRun, key: str) -> None:
    lacking = rf"summary\.json is no summary of a run \(it lacks {key}\): `wardround resume .*` writes it anew"
    with pytest.raises(ProtocolError, match=lacking):
        write_report(write_run(**{key: None}))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"num_rounds_planned": "many"}, "num_rounds_planned is a str, and must be a whole number"),
        ({"epsilon": {"max": [1], "total": 1}}, "epsilon max is a list, and must be a number"),
        ({"status": 3}, "status is a int, and must be text"),
        ({"left_out": {"a": 1}}, "left_out is a dict, and must be a list"),
        ({"notes": "alone"}, "notes is a str, and must be a list"),
        ({"measured": "yes"}, "measured is a str, and must be true or false"),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_stands(
    write_run: WriteRun, changes: dict[str, object], fault: str
) -> None:
    with pytest.raises(ProtocolError, match=re.escape(fault)):
        write_report(write_run(**changes))


def test_what_is_no_run_folder_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    with pytest.raises(ProtocolError, match="run folder"):
        write_report(tmp_path)
    folder = write_run()
    (folder / "summary.json").write_text("{")
    with pytest.raises(ProtocolError, match=r"summary\.json"):
        write_report(folder)


def test_a_page_that_can_not_be_written(write_run: WriteRun) -> None:
    folder = write_run()
    (folder / "report.html.part").symlink_to("/dev/full")
    with pytest.raises(WardroundError, match=r"No space left on device.*free space"):
        write_report(folder)
