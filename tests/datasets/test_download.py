"""Finding and downloading files: a local server plays the official address, well and badly."""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wardround.datasets.download import RemoteFile, fetch_file, find_file
from wardround.datasets.sources.mnist import read_idx
from wardround.errors import ConfigError, DataError

CONTENT = b"the very bytes\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Address(BaseHTTPRequestHandler):
    requested: list[str]

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write({"/good": CONTENT, "/wrong": CONTENT[::-1], "/short": CONTENT[:100]}[self.path])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home of its own, no data folder and no proxy; return the cache folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WARDROUND_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home" / ".cache" / "wardround" / "things"


def _remote(url: str | None, **changes: object) -> RemoteFile:
    values: dict[str, object] = {"dataset": "things", "name": "things.bin", "folders": ("things", "things_small")}
    return RemoteFile(**(values | {"checksum": f"sha256:{SHA256}", "url": url} | changes))


def test_a_good_download_lands_in_the_cache_and_is_not_fetched_twice(address: str, cache: Path) -> None:
    path = fetch_file(_remote(f"{address}/good"), None)
    assert path == cache / "things.bin"
    assert path.read_bytes() == CONTENT and path.stat().st_mode & 0o777 == 0o600
    assert fetch_file(_remote(f"{address}/missing"), None) == path
    assert [item.name for item in cache.iterdir()] == ["things.bin"]


def test_an_md5_is_checked_too(address: str) -> None:
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert fetch_file(_remote(f"{address}/good", checksum=f"md5:{digest}"), None).is_file()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("missing", r"things needs things.bin.*cannot be downloaded.*HTTP Error 404.*WARDROUND_DATA"),
        ("wrong", rf"/wrong has sha256 [0-9a-f]+, but things needs {SHA256}.*try again"),
        ("short", r"/short ended after 100 of 15000 bytes: try again"),
    ],
)
def test_a_bad_download_is_an_error_and_leaves_nothing(address: str, cache: Path, page: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch_file(_remote(f"{address}/{page}"), None)
    assert list(cache.iterdir()) == []


def test_no_network_says_where_it_looked_and_what_to_set(tmp_path: Path) -> None:
    # Port 9 of this machine: nobody listens there.
    with pytest.raises(
        DataError, match=r"which is not in .*data/things.*\.cache/wardround/things.*point WARDROUND_DATA"
    ):
        (tmp_path / "data").mkdir()
        fetch_file(_remote("http://127.0.0.1:9/things.bin"), str(tmp_path / "data"))


def test_a_file_without_an_address_says_how_to_obtain_it() -> None:
    with pytest.raises(DataError, match=r"ask the publisher or point WARDROUND_DATA"):
        fetch_file(_remote(None, how_to_obtain="ask the publisher"), None)


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, address: str) -> None:
    (tmp_path / "home").write_text("a file where the home should be")
    with pytest.raises(DataError, match=r"cannot be downloaded .*Not a directory"):
        fetch_file(_remote(f"{address}/good"), None)


@pytest.mark.parametrize("place", ["", "things", "things_small"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_folder_is_searched_itself_and_by_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, by_variable: bool
) -> None:
    folder = tmp_path / "data" / place
    folder.mkdir(parents=True)
    (folder / "things.bin").write_bytes(CONTENT)
    if by_variable:
        monkeypatch.setenv("WARDROUND_DATA", str(tmp_path / "data"))
    data_dir = None if by_variable else str(tmp_path / "data")
    assert fetch_file(_remote(None), data_dir) == folder / "things.bin"


def test_data_dir_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "things.bin").write_bytes(CONTENT)
    monkeypatch.setenv("WARDROUND_DATA", str(tmp_path / "second"))
    assert find_file(_remote(None), str(tmp_path / "first")) == tmp_path / "first" / "things.bin"
    assert find_file(_remote(None), None) == tmp_path / "second" / "things.bin"


def test_a_preferred_file_is_taken_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = _remote(None, name="things.gz", preferred=None)
    remote = _remote(None, how_to_obtain="ask the publisher", preferred=packed)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("WARDROUND_DATA", str(tmp_path / "second"))
    (tmp_path / "first" / "things.bin").write_bytes(CONTENT)
    assert fetch_file(remote, str(tmp_path / "first")) == tmp_path / "first" / "things.bin"
    (tmp_path / "second" / "things.gz").write_bytes(CONTENT)
    assert fetch_file(remote, str(tmp_path / "first")) == tmp_path / "second" / "things.gz"


def test_a_data_dir_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[federation\] data-dir = .*nowhere is not a folder"):
        find_file(_remote(None), str(tmp_path / "nowhere"))


def test_a_local_file_with_the_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "things.bin").write_bytes(b"something else")
    with pytest.raises(DataError, match=rf"needs {SHA256}: it is damaged or another version; delete the file"):
        fetch_file(_remote(None), str(tmp_path))


def _with_manifest(folder: Path, digest: str) -> None:
    (folder / "things.bin").write_bytes(b"a subset")
    manifest = {"files": [{"path": "things.bin", "sha256": digest}]}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))


def test_a_manifest_is_believed_only_where_it_is_allowed_and_right(tmp_path: Path) -> None:
    _with_manifest(tmp_path, hashlib.sha256(b"a subset").hexdigest())
    assert find_file(_remote(None, accepts_manifest=True), str(tmp_path)) == tmp_path / "things.bin"
    with pytest.raises(DataError, match="another version"):
        find_file(_remote(None), str(tmp_path))
    _with_manifest(tmp_path, "0" * 64)
    with pytest.raises(DataError, match=r"no MANIFEST.json beside it states its sha256"):
        find_file(_remote(None, accepts_manifest=True), str(tmp_path))
    (tmp_path / "MANIFEST.json").write_text("{")
    with pytest.raises(DataError, match="is not a manifest"):
        find_file(_remote(None, accepts_manifest=True), str(tmp_path))


def _idx(shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape) + body


def test_an_idx_file_is_read_with_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(_idx((2, 1, 3), bytes(range(6)))))
    assert read_idx(path).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(_idx((200,), bytes(200)))[:-20], "cannot unpack"),
        (b"no gzip at all", "cannot unpack"),
        (gzip.compress(_idx((200,), bytes(100))), "not a whole idx file"),
        (gzip.compress(b"PNG"), "not a whole idx file"),
        (gzip.compress(b""), "not a whole idx file"),
        (gzip.compress(b"\0\0\x08\x05\0\0\0\x01"), "not a whole idx file"),
    ],
    ids=["cut off", "no gzip", "too short", "other file", "empty", "no sizes"],
)
def test_a_damaged_idx_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)
