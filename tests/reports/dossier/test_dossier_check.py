"""A dossier is held to its own ledger entries: whatever is changed is found, and named."""

import hashlib
import json
import shutil

import pytest
from small_runs import command_line, small_config

import wardround
from wardround.errors import ConfigError, ProtocolError
from wardround.reports.dossier.writing import write_dossier
from wardround.secagg import new_site_key
from wardround.secagg.sites import read_signing_key


def findings(folder, **options):
    return "\n".join(wardround.verify_dossier(folder, **options).findings)


def test_what_was_made_is_in_order_with_nothing_else_at_hand(folder, key):
    done = wardround.verify_dossier(folder)
    assert done, done.findings
    assert "every epsilon, rate and mu computed again" in done.sentence
    assert "signed by key" in done.sentence
    assert "may be anybody's" in done.sentence
    assert wardround.verify_dossier(folder, key=folder / "SHA256SUMS.pub")


def test_an_unsigned_dossier_says_so_and_is_refused_where_a_key_is_named(folder, reseal, key):
    reseal()
    assert "not signed" in wardround.verify_dossier(folder).sentence
    assert "it is not signed" in findings(folder, key="ab" * 32)


def test_another_ones_signature_is_named(folder, audited_run, tmp_path):
    other = new_site_key(tmp_path / "other.pem")
    assert f"signed by another key, {other.hex()}" not in findings(folder, key=other.hex())
    assert f"than {other.hex()}" in findings(folder, key=other.hex())
    shutil.copy(folder / "SHA256SUMS.pub", tmp_path / "asked.pem")
    from wardround.reports.dossier.seal import seal

    seal(folder, ["dossier.json", "dossier.html", "model-card.md"], read_signing_key(tmp_path / "other.pem"))
    assert wardround.verify_dossier(folder)
    assert f"signed by another key, {other.hex()}" in findings(folder, key=tmp_path / "asked.pem")


def test_a_signature_on_other_digests_is_found(folder, reseal):
    kept = [(folder / name).read_bytes() for name in ("SHA256SUMS.sig", "SHA256SUMS.pub")]
    (folder / "model-card.md").write_text("# The best model there is\n")
    reseal()
    for name, data in zip(("SHA256SUMS.sig", "SHA256SUMS.pub"), kept, strict=True):
        (folder / name).write_bytes(data)
    assert "the signature is not that of key" in findings(folder)
    (folder / "SHA256SUMS.pub").unlink()
    assert "the signature or its key can't be read" in findings(folder)


@pytest.mark.parametrize("name", ["dossier.json", "dossier.html", "model-card.md"])
def test_a_file_that_was_swapped_is_missing_or_was_added_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert f"{name} is not the file that SHA256SUMS has the digest of" in findings(folder)
    if name != "dossier.json":
        (folder / name).unlink()
        assert f"{name} is missing" in findings(folder)
    (folder / "more.txt").write_text("more")
    assert "more.txt was added" in findings(folder)


def test_without_its_data_or_its_digests_nothing_is_in_order(folder):
    (folder / "SHA256SUMS").unlink()
    assert "SHA256SUMS can't be read" in findings(folder)
    (folder / "dossier.json").unlink()
    assert "dossier.json can't be read" in findings(folder)
    (folder / "dossier.html").unlink()
    with pytest.raises(ConfigError, match="holds no dossier"):
        wardround.verify_dossier(folder)


def first_entry(table, kind="planned"):
    return next(row for row in table["rows"] if row["kind"] == kind)


def louder(table):
    first_entry(table)["entry"]["noise_multiplier"] = 3.0


def chained(table):
    """Change the noise of every entry, and every digest up to the next row that is not here, as a forger would."""
    before = "0" * 64
    for row in table["rows"]:
        if row["entry"] is not None:
            row["entry"]["noise_multiplier"] = 3.0
            stored = {"sequence": row["sequence"], "state": row["kind"], **row["entry"], "time": row["time"]}
            text = before + json.dumps(stored, sort_keys=True, separators=(",", ":"))
            row["digest"] = hashlib.sha256(text.encode()).hexdigest()
        before = row["digest"]


def without_entries_of(hospital):
    def change(table):
        table["rows"] = [row for row in table["rows"] if (row["entry"] or {}).get("hospital_id") != hospital]

    return change


def set_in(*path, value):
    def change(table):
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (louder, "row 2 of the ledger was changed or moved"),
        (louder, "was released with other content than was planned"),
        (chained, "summary epsilon hospitals hospital-01 = "),
        (chained, "bills hospital-02 server epsilon = "),
        (chained, 'dossier.html shows "epsilon, hospital-03, recipient" = '),
        (chained, 'dossier.html shows "noise multiplier, hospital-01" = 1.5, and the ledger entries give 3'),
        (lambda table: table["rows"].pop(3), "the ledger's row 4 is missing"),
        (lambda table: table["rows"].pop(), "summary ledger_head count"),
        (set_in("rows", 0, "kind", value="planned"), "can't be computed again"),
        (set_in("summary", "epsilon", "total", value=0.5), "summary epsilon total = 0.5"),
        (set_in("summary", "epsilon", "hospitals", "hospital-02", value=0.5), "summary epsilon hospitals hospital-02"),
        (set_in("summary", "attackers", "server", "tpr_at_fpr_0.01", value=0.02), "attackers server tpr_at_fpr_0.01"),
        (set_in("summary", "attacker", "coin_toss_accuracy", value=0.51), "summary attacker coin_toss_accuracy = 0.51"),
        (set_in("summary", "target_delta", value=1e-2), "summary epsilon total"),
        (set_in("summary", "patient_overlap", value=2), "summary epsilon total"),
        (set_in("summary", "relation", value="add-or-remove-one-record"), "summary relation = add-or-remove"),
        (set_in("summary", "unit", value="hospital"), "summary unit = hospital"),
        (set_in("summary", "num_rounds", value=1), "summary num_rounds = 1"),
        (set_in("summary", "ledger_head", "digest", value="0" * 64), "summary ledger_head digest = 0000"),
        (set_in("summary", "gdp_mu", value=0.1), "summary gdp_mu = 0.1"),
        (set_in("bills", "hospital-01", "server", "epsilon", value=0.1), "bills hospital-01 server epsilon = 0.1"),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "epsilon", value=0.1),
            "audit hospitals hospital-01 readers server epsilon = 0.1",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "num_correct", value=1),
            "audit hospitals hospital-01 readers server coin_toss_accuracy",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "recipient", "mu_lower", value=0.9),
            "audit hospitals hospital-01 readers recipient mu_lower = 0.9",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "recipient", "epsilon_lower", value=0.9),
            "audit hospitals hospital-01 readers recipient epsilon_lower = 0.9",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "epsilon_lower_one_run", value=0.9),
            "audit hospitals hospital-01 readers server epsilon_lower_one_run = 0.9",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "auc", value=0.9),
            "audit hospitals hospital-01 readers server epsilon_lower",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "auc", value=1.2),
            "must be in [0, 1]",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "num_used", value=-7),
            "num_used and num_correct must be in",
        ),
        (without_entries_of("hospital-02"), "the ledger's row"),
        (set_in("audit", "epsilon_lower", value=0.9), "audit epsilon_lower = 0.9"),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "roc_most", 0, value=0.5),
            "audit hospitals hospital-01 readers server roc_most 1 = 0.5",
        ),
        (
            set_in("audit", "hospitals", "hospital-01", "readers", "server", "roc", 0, value=[-1, 0.5]),
            "shares in [0, 1]",
        ),
        (set_in("audit", "hospitals", "hospital-01", "readers", "server", "roc", 0, value=[0.5]), "two numbers"),
        (set_in("audit", "hospitals", "hospital-01", "readers", "server", "roc_most", value=[1.0]), "has 1 numbers"),
        (set_in("headings", 0, "answer", value="All is well."), "dossier.html is not the text that"),
        (set_in("form", value=9), "this version reads 1"),
        (lambda table: table.pop("bills"), "it lacks bills"),
    ],
)
def test_data_that_were_changed_are_found_though_all_digests_fit(folder, change_data, change, said):
    change_data(change)
    assert said in findings(folder)


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ('data-figure="epsilon in total" value="', 'data-figure="epsilon in total" value="1', "epsilon in total"),
        ('data-figure="coin toss, server"', 'data-figure="coin toss, nobody"', 'shows "coin toss, nobody"'),
        ('data-figure="coin toss, server"', 'data-figure="coin toss, nobody"', 'lacks "coin toss, server"'),
        ("In plain words", "In very plain words", "dossier.html is not the text that"),
        ("guesses right at most", "guesses right never, or at most", "dossier.html is not the text that"),
    ],
)
def test_a_page_that_was_changed_is_found_though_all_digests_fit(folder, reseal, there, instead, said):
    page = folder / "dossier.html"
    assert there in page.read_text()
    page.write_text(page.read_text().replace(there, instead))
    reseal()
    assert said in findings(folder)


def test_every_figure_of_the_page_is_found_where_its_text_alone_is_changed(folder, reseal):
    import re

    page = folder / "dossier.html"
    whole = page.read_text()
    names = re.findall(r'<data data-figure="([^"]+)"', whole)
    assert len(names) > 40
    page.write_text(re.sub(r'(<data data-figure="[^"]+" value="[^"]+">)[^<]+', r"\g<1>0.01", whole))
    reseal()
    said = findings(folder)
    assert [name for name in names if f'shows "{name}" = 0.01' not in said] == []


def test_a_card_that_was_changed_is_found_though_all_digests_fit(folder, reseal):
    (folder / "model-card.md").write_text("# The best model there is\n")
    reseal()
    assert "model-card.md is not the text that" in findings(folder)


CELLS = {
    "central": {"placement": "central"},
    "distributed": {"placement": "distributed"},
    "hospital": {"unit": "hospital", "placement": "central", "target-delta": 1e-3},
    "overlap": {"patient-overlap": 2},
    "none": {"placement": "none", "noise-multiplier": None},
}


@pytest.mark.parametrize("name", [*CELLS, "statistics", "scores", "no-scores"])
def test_a_dossier_of_every_kind_of_run_is_in_order(name, tmp_path):
    steps = {"local-steps": 1} if name in ("central", "distributed") else {}
    sections = {"training": {"num-rounds": 2, **steps}, "privacy": CELLS.get(name, {})}
    if name == "hospital":
        sections["training"] |= {"sample-rate": None, "batch-size": 16}
    if name == "distributed":
        sections["aggregation"] = {"protocol": "secure-sum"}
    if name in ("scores", "no-scores"):
        sections["evaluation"] = {"release": "private" if name == "scores" else "none"}
    if name == "statistics":
        sections["features"] = {"standardise": "private"}
    run = wardround.run(small_config(**sections), out=tmp_path / "run")
    made = write_dossier(run.folder, browsers=())
    done = wardround.verify_dossier(made.folder)
    assert done, done.findings


def test_no_dossier_is_made_of_a_run_that_is_not_in_order_or_has_not_ended(audited_run, tmp_path):
    broken = shutil.copytree(audited_run, tmp_path / "broken")
    table = broken / "hospitals.csv"
    table.write_text(table.read_text().replace("hospital-01", "hospital-09", 1))
    with pytest.raises(ProtocolError, match=r"not in order, and no dossier is made of it: hospitals\.csv"):
        wardround.dossier(broken)
    (broken / "summary.json").unlink()
    with pytest.raises(ConfigError, match="has not come to an end"):
        wardround.dossier(broken)


def test_a_dossier_that_is_made_again_replaces_the_one_that_was_signed(audited_run, tmp_path):
    run = shutil.copytree(audited_run, tmp_path / "again")
    made = write_dossier(run, browsers=())
    assert not (made.folder / "SHA256SUMS.sig").exists()
    assert "not signed" in wardround.verify_dossier(made.folder).sentence
    assert wardround.verify(run)


def test_the_command_makes_signs_and_checks(audited_run, key, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(audited_run, tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))  # no browser
    assert command_line(monkeypatch, "dossier", str(run), "--sign", str(key)) == 0
    printed = capsys.readouterr().out
    assert "signed by key" in printed
    assert "no PDF was printed: none of chromium" in printed
    assert command_line(monkeypatch, "dossier", "--json", str(run)) == 0
    assert json.loads(capsys.readouterr().out)["key"] == ""
    folder = run / "dossier"
    assert command_line(monkeypatch, "dossier", "verify", str(folder)) == 0
    assert "in order" in capsys.readouterr().out
    (folder / "dossier.html").write_text("<p>epsilon is 0</p>")
    assert command_line(monkeypatch, "dossier", "verify", str(folder), "--json") == 1
    assert not json.loads(capsys.readouterr().out)["is_in_order"]


def test_a_key_that_is_none_is_refused(folder, audited_run, tmp_path):
    (tmp_path / "text").write_text("no key")
    with pytest.raises(ConfigError, match="is no Ed25519 public key"):
        wardround.verify_dossier(folder, key=tmp_path / "text")
    with pytest.raises(ConfigError, match="can't read the site key"):
        wardround.dossier(audited_run, sign=tmp_path / "none.pem")
