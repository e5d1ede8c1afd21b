"""The files of a study's folder: written whole or not at all, with what to do where they can't be.

What is left out on purpose: what is in them (see `comparison`, `study_run`), and the folders of its runs.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wardround.code_digests import DECISIVE, version_of
from wardround.config import Config
from wardround.digests import digest_of
from wardround.disk import file_text, make_private_folder, write_whole
from wardround.errors import ConfigError
from wardround.parsing import from_json
from wardround.server.record.run_folder import make_new_folder, writing

__all__ = ["begin_or_check", "csv_text", "versions_of", "write_text"]


def begin_or_check(
    folder: Path, name: str, wanted: Mapping[str, Any], *, same: Sequence[str] = ("runs",)
) -> dict[str, Any]:
    """Begin the folder of a study, or refuse that of another, whose results would be mixed with this one's.

    Args:
        folder: new, empty, or of the same study before.
        name: of the file in it that says what the study is.
        wanted: what it is to say, with "versions".
        same: keys that it must have in common with what was begun.

    Returns:
        What the file says: as wanted, or as it was begun.

    Raises:
        ConfigError: it is another study's, or was begun with other versions.
        WardroundError: it can't be written.
    """
    path = folder / name
    if path.is_file():
        try:
            found = from_json(file_text(path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} can't be read ({error}): restore it, or name a new folder with --out") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{path} is no study's: restore it, or name a new folder with --out")
        told = from_json(json.dumps(wanted))
        if any(found.get(key) != told[key] for key in same):
            raise ConfigError(f"--out {folder} holds another study (its settings differ): name a new folder")
        if found.get("versions") != told["versions"]:
            raise ConfigError(
                f"--out {folder} was begun with other versions or objects than now ({found.get('versions')}): "
                "go on with those, or name a new folder"
            )
        return found
    make_new_folder(folder, "go on with the study that is in it")
    make_private_folder(folder / "runs")
    write_text(path, json.dumps(wanted, indent=1) + "\n")
    return dict(wanted)


def versions_of(base: Config) -> dict[str, str]:
    """Return what tells the versions and objects of a study from others, which its settings do not."""
    handed = {"data": base.federation.handed, "model": base.model.handed, "strategy": base.aggregation.handed}
    told = {what: repr(sorted(found.code.items())) for what, found in handed.items() if found is not None}
    objects = {what: digest_of(text.encode()).hex() for what, text in told.items()}
    return {name: version_of(name) for name in DECISIVE} | objects


def write_text(path: Path, text: str, *, is_synced: bool = True) -> None:
    """Write a text file whole or not at all, durable before it returns if synced.

    Raises:
        WardroundError: it can't be written.
    """
    with writing(path, "repeat the command with the same --out"):
        write_whole(path, text.encode(), is_synced=is_synced)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, header: bool = True) -> str:
    """Return a table as text; a column that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
