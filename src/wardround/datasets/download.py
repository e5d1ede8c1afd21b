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

from wardround.errors import ConfigError, DataError

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
    """

    dataset: str
    name: str
    folders: tuple[str, ...]
    checksum: str | None
    url: str | None
    accepts_manifest: bool = False
    how_to_obtain: str = ""


def fetch_file(remote: RemoteFile, data_dir: str | None) -> Path:
    """Return the path of the verified file, downloaded into the cache where no folder has it.

    Args:
        remote: which file.
        data_dir: [federation] data-dir; None looks in WARDROUND_DATA and the cache only.

    Raises:
        DataError: a folder is missing, a checksum is wrong, or the file is nowhere and cannot be downloaded.
    """
    found = find_file(remote, data_dir)
    if found is not None:
        return found
    searched = ", ".join(str(folder) for folder in _search_folders(remote, data_dir))
    if remote.url is None:
        raise DataError(
            f"{remote.dataset} needs {remote.name}, which is not in {searched}: {remote.how_to_obtain} "
            "or point WARDROUND_DATA (or data-dir) at a folder that has it"
        )
    target = _cache_folder(remote) / remote.name
    # The network modules take a tenth of a second to import, and most runs need none.
    from http.client import HTTPException

    try:
        _download(remote, remote.url, target)
    except (OSError, HTTPException) as error:
        raise DataError(
            f"{remote.dataset} needs {remote.name}, which is not in {searched} and cannot be downloaded from "
            f"{remote.url} ({_reason(error)}): connect to the network, or point WARDROUND_DATA (or data-dir) at a "
            "folder that has it"
        ) from None
    return target


def find_file(remote: RemoteFile, data_dir: str | None) -> Path | None:
    """Return the path of the verified file on this machine, or None where no folder has it.

    Args:
        remote: which file.
        data_dir: [federation] data-dir, or None.

    Raises:
        ConfigError: a named folder does not exist.
        DataError: the file found has the wrong checksum.
    """
    for folder in _search_folders(remote, data_dir):
        path = folder / remote.name
        if path.is_file():
            _verify(remote, path)
            return path
    return None


def _search_folders(remote: RemoteFile, data_dir: str | None) -> list[Path]:
    folders = []
    named = (("[federation] data-dir", data_dir), ("WARDROUND_DATA", os.environ.get("WARDROUND_DATA")))
    for setting, value in named:
        if value:
            root = Path(value).expanduser()
            if not root.is_dir():
                raise ConfigError(f"{setting} = {value} is not a folder: correct or remove it")
            folders += [*(root / name for name in remote.folders), root]
    return [*folders, _cache_folder(remote)]


def _cache_folder(remote: RemoteFile) -> Path:
    return Path("~/.cache/wardround").expanduser() / remote.folders[0]


def _download(remote: RemoteFile, url: str, target: Path) -> None:
    """Write the file under a temporary name and rename it once it is complete and verified."""
    import urllib.request

    _logger.info("downloading %s", url)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            shutil.copyfileobj(response, out, _CHUNK_BYTES)
            expected_bytes = response.headers.get("Content-Length")
        num_bytes = temporary.stat().st_size
        if expected_bytes is not None and num_bytes != int(expected_bytes):
            raise DataError(
                f"{url} ended after {num_bytes} of {expected_bytes} bytes: try again (nothing was kept of it)"
            )
        _verify(remote, temporary, shown=url)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _verify(remote: RemoteFile, path: Path, shown: str | None = None) -> None:
    if remote.checksum is None:
        return
    algorithm, _, expected = remote.checksum.partition(":")
    actual = _hex_digest(path, algorithm)
    if actual == expected or (remote.accepts_manifest and _hex_digest(path, "sha256") == _manifest_sha256(path)):
        return
    manifest = " (and no MANIFEST.json beside it states its sha256)" if remote.accepts_manifest else ""
    next_step = "try again, or get the file elsewhere" if shown else "delete the file so that it is fetched again"
    raise DataError(
        f"{shown or path} has {algorithm} {actual}, but {remote.dataset} needs {expected}{manifest}: it is damaged or "
        f"another version; {next_step}"
    )


def _hex_digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path} ({_reason(error)}): check its permissions") from None


def _manifest_sha256(path: Path) -> str | None:
    manifest = path.with_name("MANIFEST.json")
    if not manifest.is_file():
        return None
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return next((str(item["sha256"]) for item in files if item["path"] == path.name), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{manifest} is not a manifest of files with path and sha256 ({error}): mend it") from None


def _reason(error: Exception) -> str:
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, URLError):
        return str(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
