"""Hold every file of a run folder to the run's ledger, and say what does not agree.

Tables, summary, settings, versions, model and checkpoints are compared with what the functions that wrote them make of
the ledger's rows, so that no column or key can be forgotten. What is left out on purpose: report.html, which is drawn
from these files and quotes them, and the arithmetic inside the ledger (see `books`).
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wardround.config import Config
from wardround.config.limits import kebab
from wardround.digests import array_digest
from wardround.disk import file_text, open_regular
from wardround.errors import ProtocolError, WardroundError
from wardround.identity import decisive, settings_digest
from wardround.json_records import json_values
from wardround.json_text import json_text
from wardround.leaves import FORMERLY_SENT
from wardround.parsing import from_json
from wardround.privacy.ledger import Entry, open_ledger
from wardround.server.record.books import Books, agree, books_of
from wardround.server.record.keeping import kept_record
from wardround.server.record.noise_files import noise_name
from wardround.server.record.records import RoundRecord, Saved
from wardround.server.record.run_folder import MODEL, PERSONAL, RunFolder, checkpoint_name, open_run_folder
from wardround.server.record.tables import TABLES, table_texts

__all__ = ["verify_run"]

_LOOKS = 5
"""How often a run that is under way is looked at again, since its files may be newer than what was read before."""
_KEYS = {"rounds.csv": 1, "hospitals.csv": 2}


def verify_run(path: Path) -> tuple[list[str], str]:
    """Return one sentence per finding, and one that says what was found to be in order.

    Checked are the ledger itself (chain of digests, tables, indexes), each committed round against the charges, and
    against all that every cell of rounds.csv and hospitals.csv, every key of summary.json, config.toml, versions.txt,
    and the bits of model.safetensors and the checkpoints. Of a run that is under way, or was killed, this is done up to
    its last commit, and its summary may be of an earlier end or missing.

    Raises:
        ConfigError: there is no run in the folder.
        ProtocolError: the ledger can't be read at all.
    """
    folder = open_run_folder(path)
    for _ in range(_LOOKS):
        is_under_way = folder.is_worked_on()
        findings, sentence = _look(folder, is_under_way=is_under_way)
        if not findings or not (is_under_way or folder.is_worked_on()):
            break
    return findings, "" if findings else sentence


def _look(folder: RunFolder, *, is_under_way: bool) -> tuple[list[str], str]:
    books, sentence = None, "in order: no round is committed yet, and nothing was charged"
    if folder.ledger.exists():
        with open_ledger(folder.ledger, read_only=True) as ledger:
            # What the rows say proves nothing once they are changed, so that nothing is recomputed from them.
            if findings := ledger.verify():
                return findings, ""
            rows, numbers = ledger.history(), [number for number, _ in ledger.rounds()]
        if numbers != list(range(len(numbers))):
            return [f"the ledger's rounds are {numbers}, and must be 0 and those that follow, each once"], ""
        books = books_of(rows)
        if books is None and any(not isinstance(row.content, Entry) or row.content.round_number for row in rows):
            return ["the ledger has charges and no committed round"], ""
        if books is None and rows:
            sentence = "in order: no round is committed yet, and what is released before round 1 is charged"
        if books is not None and (findings := books.findings()):
            return findings, ""
    found = _file_findings(folder, books, is_under_way=is_under_way)
    return found, sentence if books is None else _sentence(folder, books, is_under_way=is_under_way)


def _file_findings(folder: RunFolder, books: Books | None, *, is_under_way: bool) -> list[str]:
    found = []
    records = books.records if books else ()
    # Tables are written after the commit: a run that did not end may lack the last round's rows.
    is_open = is_under_way or books is None or not books.is_closed
    for name in TABLES:
        if not _holds(folder.path / name, table_texts(records, name)):
            text = "".join(table_texts(records, name))
            found += _table_findings(folder.path / name, text, len(records) - 1, is_open=is_open, is_ahead=is_under_way)
    if books is not None:
        found += _settings_findings(folder, books.plan.config, books.opening.settings)
        found += _versions_findings(folder, books.opening.packages)
    found += _summary_findings(folder, books)
    found += _model_findings(folder, books, MODEL, lambda saved: saved.model)
    found += _model_findings(folder, books, PERSONAL, lambda saved: saved.personal)
    checkpoints = folder.checkpoint_rounds()
    if records and not is_under_way and len(records) - 1 not in checkpoints:
        found.append(f"the checkpoint of round {len(records) - 1} is missing, and that round was committed with it")
    for number in checkpoints:
        found += _checkpoint_findings(folder, records, number, is_under_way=is_under_way)
    return found


def _sentence(folder: RunFolder, books: Books, *, is_under_way: bool) -> str:
    last, planned = len(books.records) - 1, books.plan.config.training.num_rounds
    state = ""
    if is_under_way:
        state = f" up to the last commit, of round {last} of {planned} (the run is under way)"
    elif not books.is_closed:
        state = f" up to the last commit, of round {last} of {planned} (the run was killed: wardround resume continues)"
    epsilon = books.account.epsilon_total(books.plan.config.privacy.patient_overlap)
    return (
        f"in order{state}: {len(books.entries)} charges, {last + 1} committed rounds, every epsilon recomputed (total "
        f"{epsilon:.6g} by Renyi divergences); {_of_test_scores(books)}tables, summary, settings, versions, model and "
        "checkpoints are the "
        f"ledger's, which ends with row {books.rows[-1].sequence}, digest {books.rows[-1].digest[:12]}. Not checked: "
        f"report.html, which wardround report {folder.path} draws anew from these"
    )


def _of_test_scores(books: Books) -> str:
    """Return what was released of the test records by the last end of the run, and for how much."""
    closing = books.closing
    released = None if closing is None else books.summary(closing).released_scores
    if released is None or not released.scores:
        return ""
    told = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f} ({low:.3f} to {high:.3f} at 95 %)"
        for name, value in released.scores.items()
        for low, high in (released.intervals[name],)
    )
    return f"of {released.num_records} test records was released, for epsilon {released.epsilon:.4g}, {told}; "


def _holds(path: Path, parts: Iterable[str]) -> bool:
    """Return whether a file can be read, and holds these texts and nothing else."""
    try:
        with open_regular(path) as file:
            is_alike = all(file.read(len(data)) == data for data in (part.encode() for part in parts))
            return is_alike and not file.read(1)
    except OSError:
        return False


def _table_findings(path: Path, wanted: str, last: int, *, is_open: bool, is_ahead: bool) -> list[str]:
    """Compare a table with its text by the ledger.

    The rows of the last committed round may be missing of one that is open; one that is ahead may have rows of later
    rounds, or half a row.
    """
    header, *rows = list(csv.reader(io.StringIO(wanted)))
    try:
        text = file_text(path, 2**30)
        there = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1] if is_open else text)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [f"{path.name} can't be read ({error}): wardround resume writes it anew"]
    if there[:1] != [header]:
        return [f"{path.name} has the columns {there[:1]}, and must have {header}"]
    there = there[1:]
    if is_ahead:
        there = [row for row in there if not (row and row[0].isdecimal() and int(row[0]) > last)]
    if is_open:
        written = {tuple(row) for row in there}
        rows = [row for row in rows if int(row[0]) < last or tuple(row) in written]
    return [] if there == rows else _row_findings(path.name, header, there, rows)


def _row_findings(name: str, header: Sequence[str], there: Sequence[list[str]], rows: Sequence[list[str]]) -> list[str]:
    def place(row: list[str]) -> str:
        return " ".join(["round", *row[: _KEYS[name]]])

    wide = len(header)
    if odd := [row for row in there if len(row) != wide]:
        return [f"{name} {place(row)} has {len(row)} cells instead of {wide}" for row in odd]
    twice = [f"{name} has {key} {count} times" for key, count in Counter(map(place, there)).items() if count > 1]
    written, wanted = ({place(row): dict(zip(header, row, strict=True)) for row in table} for table in (there, rows))
    found = twice + _differences(name, written, wanted)
    return found or [f"{name} has its rows in another order than they were committed in"]


def _settings_findings(folder: RunFolder, begun: Config, digest: str) -> list[str]:
    where = f"{folder.path / 'config.toml'} was changed since the run began"
    try:
        config = folder.config()
    except WardroundError as error:
        return [f"{where}: {error}"]
    if settings_digest(config) == digest:
        return []
    now, then = asdict(decisive(config)), asdict(decisive(begun))
    changed = [
        f"[{section}] {kebab(key)} = {value}, which was {then[section][key]}"
        for section, table in now.items()
        for key, value in table.items()
        if value != then[section][key]
    ]
    return [f"{where}: {'; '.join(changed)}"]


def _versions_findings(folder: RunFolder, packages: Sequence[str]) -> list[str]:
    try:
        lines = folder.versions()
    except ProtocolError as error:
        return [str(error)]
    if lines == list(packages):
        return []
    return [f"versions.txt says {', '.join(lines)}, and the run was begun with {', '.join(packages)}"]


def _summary_findings(folder: RunFolder, books: Books | None) -> list[str]:
    path, closing = folder.path / "summary.json", books.closing if books else None
    if books is None or closing is None:
        return ["summary.json is there, and the run never came to an end that it could tell of"] * path.exists()
    try:
        written = from_json(file_text(path))
    except FileNotFoundError:
        return ["summary.json is missing, and the run came to an end: wardround resume writes it anew"]
    except (OSError, ValueError) as error:
        return [f"summary.json can't be read ({error}): wardround resume writes it anew"]
    wanted = json.loads(json_text(json_values(books.summary(closing))))
    if any(record.round_row.loss is not None and record.hospital_errors is None for record in books.records):
        # An earlier version's, which made intervals of other figures.
        written, wanted = _without_intervals(written), _without_intervals(wanted)
    return _differences("summary.json", _of_now(written), wanted)


def _without_intervals(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_intervals(part) for part in value]
    if isinstance(value, dict):
        return {key: _without_intervals(part) for key, part in value.items() if key != "intervals"}
    return value


def _of_now(written: Any) -> Any:
    """Return a summary without the fields that only earlier versions sent: its run may have been one of theirs."""
    listed = written.get("leaves_hospital") if isinstance(written, dict) else None
    if not isinstance(listed, dict):
        return written
    kept = {name: ground for name, ground in listed.items() if FORMERLY_SENT.get(name) != ground}
    return written | {"leaves_hospital": kept}


def _differences(where: str, written: Any, wanted: Any) -> list[str]:
    """Return one sentence for each key that is missing, was added, or has another value, however deep."""
    if isinstance(written, Mapping) and isinstance(wanted, Mapping):
        found = [f"{where} lacks {key}" for key in wanted if key not in written]
        found += [f"{where} has {key}, which the ledger does not give" for key in written if key not in wanted]
        for key in wanted:
            found += _differences(f"{where} {key}", written[key], wanted[key]) if key in written else []
        return found
    if isinstance(written, list) and isinstance(wanted, list) and len(written) == len(wanted):
        parts = enumerate(zip(written, wanted, strict=True), start=1)
        return [text for number, (is_, must) in parts for text in _differences(f"{where} {number}", is_, must)]
    return [] if agree(written, wanted) else [f"{where} says {written}, the ledger gives {wanted}"]


def _model_findings(
    folder: RunFolder, books: Books | None, name: str, digest: Callable[[Saved], str | None]
) -> list[str]:
    """Hold a file of parameters to the digest that was committed of them; None stands for no such file."""
    try:
        arrays, told = folder.read_model(name)
    except ProtocolError as error:
        return [str(error)]
    closing = books.closing if books else None
    if books is None or (arrays is None and closing is None):
        return [f"{name} is there, and no round is committed"] * (arrays is not None)
    # It is written where a run ends, just before that is booked.
    ends = [books.records, *([books.until(closing).records] if closing is not None and not books.is_closed else [])]
    rounds = {kept_record(books.plan.config, records).round_row.round for records in ends}
    committed = {digest(books.records[number].saved) for number in rounds}
    if (None if arrays is None else array_digest(arrays).hex()) in committed:
        wrong = f"{name} has other constants of features than were released: wardround resume writes it anew"
        return [wrong] * (arrays is not None and told != (books.opening.model_metadata or {}))
    if arrays is None:
        return [f"{name} is missing, and the run came to an end: wardround resume writes it anew"]
    return [f"{name} is not the model of round {max(rounds)} that was committed"]


def _checkpoint_findings(
    folder: RunFolder, records: Sequence[RoundRecord], number: int, *, is_under_way: bool
) -> list[str]:
    if number < len(records):
        saved = records[number].saved
        changed = not folder.is_as_committed(checkpoint_name(number), saved.sha256)
        # It is deleted when the run ends, and noise begins anew without it.
        noise_changed = not folder.is_as_committed(noise_name(number), saved.noise_memory)
        return [
            *[f"the checkpoint of round {number} is not the one that was committed"] * changed,
            *[f"what the noise of round {number} left is not what was committed"] * noise_changed,
        ]
    # A crash may leave the checkpoint of the next round behind, never of a later one.
    lost = number > len(records) and not is_under_way
    return [f"there is a checkpoint of round {number}, and the ledger ends at round {len(records) - 1}"] * lost
