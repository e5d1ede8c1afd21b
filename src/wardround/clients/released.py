"""What a real site has released: one numbered file for every release, written before its training begins.

The files lie beside the site's key. Each is created whole and exclusively, under the next number, so that neither a
crash nor two messages at once leave half a note or two releases under one number; a file that is missing in the row or
can't be read stops all releases, as what was spent is not known then. What is left out on purpose: what may be
released (see `site_rounds`), and whoever deletes the last files, who can do anything at the site.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wardround.disk import file_text, make_private_folder, sync_folder, write_whole
from wardround.errors import ConfigError, ProtocolError
from wardround.json_records import read_json_record
from wardround.parsing import from_json, sound
from wardround.privacy.cells import cell_in_words
from wardround.step_events import StepEvent

__all__ = ["Released", "note_release", "read_releases"]

_SUFFIX = ".json"
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """One release of a site.

    Attributes:
        settings: hex digest of the agreed settings (`identity.agreed_digest`).
        data: hex digest of the training data, keyed by a secret of the site.
        event: what it costs; None where it was released without privacy.
    """

    run_id: str
    round_number: int
    settings: str
    data: str
    event: StepEvent | None


def read_releases(folder: Path) -> tuple[Released, ...]:
    """Return all that the site has released, in order; nothing where there is no folder yet.

    Raises:
        ProtocolError: a file can't be read, or a number is missing.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ProtocolError(f"can't read what was released from {folder}: {error.strerror}") from None
    if [path.name for path in paths] != [_name(number) for number in range(1, len(paths) + 1)]:
        raise ProtocolError(
            f"the files in {folder} must be {_name(1)} and those that follow, each once, and {len(paths)} others are "
            "there: restore it from a backup, as what was released is not known without it"
        )
    return tuple(_read(path) for path in paths)


def note_release(folder: Path, released: Released, check: Callable[[Sequence[Released]], None]) -> None:
    """Note a release for good, before anything of it exists.

    The check is given all that was released so far, and raises where this one may not follow.

    Raises:
        ProtocolError: it can't be noted.
    """
    draft = folder / f"draft-{secrets.token_hex(8)}"
    try:
        if not folder.is_dir():
            make_private_folder(folder)
            sync_folder(folder.parent)
        write_whole(draft, json.dumps(asdict(released), sort_keys=True).encode())
        while not _is_linked(draft, folder, check):
            pass
        sync_folder(folder)
    except OSError as error:
        raise ProtocolError(f"can't note what is released in {folder}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _is_linked(draft: Path, folder: Path, check: Callable[[Sequence[Released]], None]) -> bool:
    """Give the draft the next number, whole or not at all; return False where another has just taken it."""
    before = read_releases(folder)
    check(before)
    try:
        (folder / _name(len(before) + 1)).hardlink_to(draft)
    except FileExistsError:
        return False
    return True


def _name(number: int) -> str:
    return f"{number:09d}{_SUFFIX}"


def _read(path: Path) -> Released:
    step = "restore it from a backup, as what was released is not known without it"
    with sound(ProtocolError, f"can't read what was released from {path}", step, ConfigError):
        table = from_json(file_text(path, _MOST_BYTES))
        if "phase" in table:
            table["event"] = _renamed(table.pop("phase"))
        released = read_json_record(Released, table)
        if asdict(released) != table:
            raise ValueError("it has other keys or values than what was noted")
    return released


def _renamed(event: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return an event as it was noted before events named their cell, and were called so."""
    if event is None:
        return None
    cell = cell_in_words(event["unit"], event["placement"])
    return {name: value for name, value in event.items() if name not in cell.booked._fields} | {"cell": cell.name}
