"""Files as everything here makes and reads them: what is written is its owner's alone, what is read is of bounded size.

A run folder tells of patients and a key lets others speak for a site, so that neither depends on the umask. Whoever
names a path may name a pipe, a device or a file larger than memory: none of these is read. What is left out on purpose:
what a file means.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

__all__ = [
    "MOST_TEXT_BYTES",
    "file_bytes",
    "file_text",
    "make_private_folder",
    "open_private",
    "open_regular",
    "start_of_machine",
    "sync_folder",
    "sync_whole",
    "write_parts",
    "write_whole",
]

_START = Path("/proc/sys/kernel/random/boot_id")

MOST_TEXT_BYTES = 2**26
"""Of settings, tables and summaries: 64 MiB."""


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, or make one that is there so; folders above it are made as usual.

    Raises:
        OSError: it can't be made, or something else is there.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != 0o700:
        path.chmod(0o700)


def open_private(path: str | Path, flags: int) -> int:
    """Return a descriptor of a file that only its owner may read and write, whatever the umask; for `open`'s opener."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)
    return descriptor


def file_bytes(path: Path, most_bytes: int) -> bytes:
    """Return what is in a regular file, links followed; its size is looked at before memory is asked for.

    Args:
        path: of the file.
        most_bytes: a larger file is refused.

    Raises:
        OSError: there is none, it can't be read, it is a folder, a pipe or a device, or it is too large.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"its {size:,} bytes are more than {most_bytes:,}", str(path))
        return file.read(size)  # asked for what is there: a reader takes room for all it is asked for


def open_regular(path: Path) -> BufferedReader:
    """Return a regular file, links followed, open to be read.

    Raises:
        OSError: there is none, it can't be read, or it is a folder, a pipe or a device.
    """
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    """Return a descriptor for `open`, which refuses folders itself; a pipe would keep a reader waiting for a writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a pipe or a device, and not a file", path)
    return descriptor


def file_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """Return the UTF-8 text of a regular file, line ends as they are.

    Raises:
        OSError: as `file_bytes`.
        UnicodeDecodeError: it is no UTF-8 text.
    """
    return file_bytes(path, most_bytes).decode("utf-8")


def write_whole(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a file whole or not at all, durable before it returns; see `write_parts`."""
    write_parts(path, [data], is_synced=is_synced)


def write_parts(path: Path, parts: Iterable[bytes], *, is_synced: bool = True) -> None:
    """Write a file whole or not at all, durable before it returns; its folder is made private where there is none.

    What comes in parts is never in memory as a whole.

    Not synced, the file outlives the process and not a power cut, and `sync_whole` is to follow.

    Raises:
        OSError: it can't be written; what was there before is as it was.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        make_private_folder(path.parent)
        with open(partial, "wb", opener=open_private) as file:
            file.writelines(parts)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        partial.replace(path)
        if is_synced:
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, without which a renamed file may be gone after a power cut.

    Raises:
        OSError: it can't be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_whole(path: Path) -> None:
    """Make a folder durable with all that is in it, as if each of its files had been written so.

    Raises:
        OSError: something in it can't be opened or written.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            sync_folder(Path(folder) / name)
        sync_folder(Path(folder))
    sync_folder(path.parent)


def start_of_machine() -> str:
    """Return a name for the time since this machine was started; empty where the system has none.

    While it stays the same, what a killed process wrote is as it wrote it, synced or not.
    """
    try:
        with open_regular(_START) as file:  # its size is said to be 0
            return file.read(64).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
