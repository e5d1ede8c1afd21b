"""Find a data file on this machine, or download it from its official address; nothing unverified is handed out.

Searched in this order: the folder named by data-dir, the folder named by the variable WARDROUND_DATA, the cache
`~/.cache/wardround`; each also below the data set's own folder. Only then the network.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wardround.disk import open_private
from wardround.errors import ConfigError, DataError
from wardround.parsing import sound

__all__ = ["RemoteFile", "fetch_file", "find_file"]

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 20
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file some data set needs.

    Attributes:
        dataset: the data set's name, for messages.
        name: file name.
        folders: folder names it may lie in below data-dir or WARDROUND_DATA; the first also names its cache folder.
        checksum: "sha256:" or "md5:" and the hex digest; None where the publisher's bytes are not known, and the
            loader checks the content instead.
        url: official address; None where a person has to fetch the file.
        accepts_manifest: whether a MANIFEST.json beside the file may state another sha256 (a subset, say).
        how_to_obtain: what to do where there is no address; one sentence.
        preferred: another file of the same content, which is taken wherever it is found; it is not downloaded.
    """

    dataset: str
    name: str
    folders: tuple[str, ...]
    checksum: str | None
    url: str | None
    accepts_manifest: bool = False
    how_to_obtain: str = ""
    preferred: "RemoteFile | None" = None


def fetch_file(remote: RemoteFile, data_dir: str | None) -> Path:
    """Return the path of the verified file, downloaded into the cache where no folder has it.

    Args:
        remote: which file.
        data_dir: [federation] data-dir; None looks in WARDROUND_DATA and the cache only.

    Raises:
        DataError: a folder is missing, a checksum is wrong, or the file is nowhere and cannot be downloaded.
    """
    if found := find_file(remote, data_dir):
        return found
    *_, cache = folders = _search_folders(remote, data_dir)
    missing = f"{remote.dataset} needs {remote.name}, which is not in {', '.join(map(str, folders))}"
    elsewhere = "point WARDROUND_DATA (or data-dir) at a folder that has it"
    if remote.url is None:
        raise DataError(f"{missing}: {remote.how_to_obtain} or {elsewhere}")
    # The network modules take a tenth of a second to import, and most runs need none.
    from http.client import HTTPException

    failure, step = f"{missing} and cannot be downloaded from {remote.url}", f"connect to the network, or {elsewhere}"
    with sound(DataError, failure, step, HTTPException):
        return _download(remote, remote.url, cache)


def find_file(remote: RemoteFile, data_dir: str | None) -> Path | None:
    """Return the path of the verified file on this machine, or None where no folder has it.

    Args:
        remote: which file.
        data_dir: [federation] data-dir, or None.

    Raises:
        ConfigError: a named folder does not exist.
        DataError: the file found has the wrong checksum.
    """
    if remote.preferred and (found := find_file(remote.preferred, data_dir)):
        return found
    for folder in _search_folders(remote, data_dir):
        path = folder / remote.name
        if path.is_file():
            _verify(remote, path, shown=str(path), step="delete the file so that it is fetched again")
            return path
    return None


def _search_folders(remote: RemoteFile, data_dir: str | None) -> list[Path]:
    """Return the folders in the order in which they are searched, the cache last."""
    folders = []
    named = (("[federation] data-dir", data_dir), ("WARDROUND_DATA", os.environ.get("WARDROUND_DATA")))
    for setting, value in named:
        if value:
            root = Path(value).expanduser()
            if not root.is_dir():
                raise ConfigError(f"{setting} = {value} is not a folder: correct or remove it")
            folders += [*(root / name for name in remote.folders), root]
    return [*folders, Path("~/.cache/wardround").expanduser() / remote.folders[0]]


def _download(remote: RemoteFile, url: str, folder: Path) -> Path:
    """Write the file into a folder of its own and move it once it is complete and verified."""
    import urllib.request

    _logger.info("downloading %s", url)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as own:
        temporary = Path(own) / remote.name
        with (
            open(temporary, "wb", opener=open_private) as out,
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
        ):
            shutil.copyfileobj(response, out, _CHUNK_BYTES)
            expected_bytes = response.headers.get("Content-Length")
        num_bytes = temporary.stat().st_size
        if expected_bytes is not None and num_bytes != int(expected_bytes):
            raise DataError(
                f"{url} ended after {num_bytes} of {expected_bytes} bytes: try again (nothing was kept of it)"
            )
        _verify(remote, temporary, shown=url, step="try again, or get the file elsewhere")
        return temporary.replace(folder / remote.name)


def _verify(remote: RemoteFile, path: Path, *, shown: str, step: str) -> None:
    if remote.checksum is None:
        return
    algorithm, _, expected = remote.checksum.partition(":")
    actual = _hex_digest(path, algorithm)
    if actual == expected or (remote.accepts_manifest and _hex_digest(path, "sha256") == _manifest_sha256(path)):
        return
    manifest = " (and no MANIFEST.json beside it states its sha256)" if remote.accepts_manifest else ""
    raise DataError(
        f"{shown} has {algorithm} {actual}, but {remote.dataset} needs {expected}{manifest}: it is damaged or another "
        f"version; {step}"
    )


def _hex_digest(path: Path, algorithm: str) -> str:
    with sound(DataError, f"cannot read {path}", "check its permissions"), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _manifest_sha256(path: Path) -> str | None:
    manifest = path.with_name("MANIFEST.json")
    if not manifest.is_file():
        return None
    with sound(DataError, f"{manifest} is not a manifest of files with path and sha256", "mend it"):
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return next((str(item["sha256"]) for item in files if item["path"] == path.name), None)
