"""Files that are their owner's alone, and files that are not read."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from wardround.disk import file_bytes, file_text, make_private_folder, open_private


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_umask_changes_nothing(umask: int, tmp_path: Path) -> None:
    make_private_folder(tmp_path / "run")
    with open(tmp_path / "run" / "a", "w", opener=open_private) as file:
        file.write("a")
    assert (mode_of(tmp_path / "run"), mode_of(tmp_path / "run" / "a")) == (0o700, 0o600)


def test_what_is_there_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / "run" / "a").write_text("before")
    (tmp_path / "run" / "a").chmod(0o644)
    make_private_folder(tmp_path / "run")
    with open(tmp_path / "run" / "a", "a", opener=open_private) as file:
        file.write(", after")
    assert (mode_of(tmp_path / "run"), mode_of(tmp_path / "run" / "a")) == (0o700, 0o600)
    assert file_text(tmp_path / "run" / "a") == "before, after"


def test_links_to_files_are_followed_and_nothing_else_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe-link").symlink_to(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    assert file_bytes(tmp_path / "link", 4) == b"text"
    refused = {"pipe": errno.EINVAL, "pipe-link": errno.EINVAL, "huge": errno.EFBIG, "loop": errno.ELOOP}
    for name, number in {**refused, ".": errno.EISDIR, "none": errno.ENOENT}.items():
        with pytest.raises(OSError) as caught:
            file_bytes(tmp_path / name, 100)
        assert caught.value.errno == number
    with pytest.raises(OSError, match=r"its 4 bytes are more than 3"):
        file_bytes(tmp_path / "file", 3)


def test_devices_without_end_are_not_read() -> None:
    with pytest.raises(OSError, match="it is a pipe or a device, and not a file"):
        file_bytes(Path("/dev/zero"), 100)
