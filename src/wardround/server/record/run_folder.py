"""The folder of a run: settings, tables, checkpoints, model. Every file appears whole or not at all.

The committed rounds live in ledger.sqlite; the CSV files are views of them, written anew on resume.
"""

import errno
import fcntl
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from wardround.code_digests import version_of
from wardround.config import Config, config_to_toml, load_config
from wardround.disk import file_text, make_private_folder, open_private, open_regular, write_parts, write_whole
from wardround.errors import ConfigError, ProtocolError, WardroundError
from wardround.exact_sums import Arrays
from wardround.json_records import json_values
from wardround.json_text import json_text
from wardround.parsing import from_json, sound
from wardround.server.record.records import RoundRecord
from wardround.server.record.summaries import Summary
from wardround.server.record.tables import TABLES, HospitalLines, lines_after, next_lines, table_text, table_texts
from wardround.server.record.tensors import read_tensors, tensor_bytes

__all__ = [
    "MODEL",
    "PERSONAL",
    "RunFolder",
    "check_new_folder",
    "checkpoint_name",
    "create_run_folder",
    "default_run_path",
    "make_new_folder",
    "open_run_folder",
    "path_now",
    "writing",
]

MODEL = "model.safetensors"
PERSONAL = "personal.safetensors"
_LOCK_TRIES = 5
_PACKAGES = ("wardround", "flwr", "torch", "opacus", "ray", "numpy", "dp-accounting", "pandas", "scikit-learn")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run, and how to write them: durable each, or to be synced as a whole (`is_synced`)."""

    path: Path
    is_synced: bool = True

    @property
    def ledger(self) -> Path:
        """The SQLite file with charges and committed rounds."""
        return self.path / "ledger.sqlite"

    def config(self) -> Config:
        """Return the settings the run was started with."""
        return load_config(self.path / "config.toml")

    def is_untouched(self) -> bool:
        """Return whether no round was ever committed here, as far as files tell."""
        return not any((self.path / "checkpoints").glob("*.safetensors"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working on the same run.

        Raises:
            ProtocolError: another process does already.
        """
        with (self.path / "config.toml").open("rb") as file:
            for tries_left in reversed(range(_LOCK_TRIES)):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not tries_left:
                        raise ProtocolError(f"another process works on {self.path}: wait for it, or end it") from None
                    time.sleep(0.01)  # who only looks (`is_worked_on`) has it for a moment
            yield

    def is_worked_on(self) -> bool:
        """Return whether a process works on the run at this moment; no where the file system has no locks."""
        with (self.path / "config.toml").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def versions(self) -> list[str]:
        """Return the lines "package version" of versions.txt.

        Raises:
            ProtocolError: it can't be read.
        """
        with sound(ProtocolError, "versions.txt can't be read", f"put it back into {self.path}"):
            return file_text(self.path / "versions.txt").splitlines()

    def write_versions(self) -> None:
        """Write versions.txt anew: the lines "package version" of what is installed, for a run that begins."""
        self.write_text("versions.txt", "".join(f"{line}\n" for line in _installed()))

    def other_versions(self) -> tuple[str, ...]:
        """Return the lines "package version" of packages that are not what they were when the run began."""
        begun = self.versions()
        return tuple(line for line in _installed() if line not in begun)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        self.write_bytes(name, text.encode())

    def write_checkpoint(self, round_number: int, arrays: Mapping[str, NDArray[Any]], values: str) -> tuple[str, str]:
        """Write arrays and a JSON text whole and durably; return the file's name and sha256."""
        name = checkpoint_name(round_number)
        # The format sorts its arrays; strategies go by the order they were given.
        data = tensor_bytes(arrays, {"values": values, "order": json.dumps(list(arrays))})
        self.write_bytes(name, data)
        return name, hashlib.sha256(data).hexdigest()

    def read_checkpoint(self, name: str, sha256: str) -> tuple[Arrays, str]:
        """Return what `write_checkpoint` was given.

        Raises:
            ProtocolError: the file is missing or not the one that was committed.
        """
        what, step = f"checkpoint {self.path / name}", "restore the run from a backup"
        arrays, metadata = read_tensors(self.path / name, what, step, sha256)
        with sound(ProtocolError, f"{what} can't be read", step):
            return {key: arrays[key] for key in from_json(metadata["order"])}, metadata["values"]

    def checkpoint_rounds(self) -> list[int]:
        """Return the rounds that have a checkpoint, ascending."""
        numbers = (path.stem.removeprefix("round-") for path in (self.path / "checkpoints").glob("round-*.safetensors"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def is_as_committed(self, name: str, sha256: str | None) -> bool:
        """Return whether a file has the sha256 that was committed, or is gone."""
        try:
            with open_regular(self.path / name) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def drop_checkpoints_before(self, round_number: int, *, but: Collection[int] = ()) -> None:
        """Delete checkpoints older than the given round's, but those of some."""
        for number in self.checkpoint_rounds():
            if number < round_number and number not in but:
                (self.path / checkpoint_name(number)).unlink()

    def write_model(
        self, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None, name: str = MODEL
    ) -> None:
        """Write model.safetensors, the parameters by name; or `PERSONAL`, by hospital and name; and what goes along."""
        self.write_bytes(name, tensor_bytes(arrays, metadata))

    def read_model(self, name: str = MODEL) -> tuple[Arrays | None, dict[str, str]]:
        """Return the parameters in model.safetensors, or in `PERSONAL`, None without such a file, and what goes along.

        Raises:
            ProtocolError: it is something else.
        """
        path, step = self.path / name, "wardround resume writes it anew"
        with sound(ProtocolError, f"{path.name} can't be read", step):
            return read_tensors(path, path.name, step) if path.exists() else (None, {})

    def write_tables(self, records: Sequence[RoundRecord]) -> HospitalLines:
        """Write rounds.csv and hospitals.csv anew from committed round records; return what the next lines follow."""
        for name in TABLES:
            with self._writing(name):
                parts = (text.encode() for text in table_texts(records, name))
                write_parts(self.path / name, parts, is_synced=self.is_synced)
        return lines_after(records)

    def append_tables(self, record: RoundRecord, before: HospitalLines) -> HospitalLines:
        """Append one committed round to rounds.csv and hospitals.csv; return its lines of the second."""
        lines = next_lines(record, before)
        for name in TABLES:
            path, text = self.path / name, table_text(record, name, lines)
            with self._writing(name), open(path, "ab", opener=open_private) as file:
                file.write(text.encode())
        return lines

    def write_summary(self, summary: Summary) -> None:
        """Write summary.json; infinite is written as "inf", undefined as null."""
        self.write_text("summary.json", json_text(json_values(summary)) + "\n")

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, durable before it returns if synced, for the run's owner alone."""
        with self._writing(name):
            write_whole(self.path / name, data, is_synced=self.is_synced)

    def _writing(self, name: str) -> AbstractContextManager[None]:
        return writing(self.path / name, f"go on with: wardround resume {self.path}")


@contextmanager
def writing(path: Path, then: str) -> Iterator[None]:
    """Say why a file can't be written, and what to do, and then.

    Raises:
        WardroundError: it can't be written.
    """
    try:
        yield
    except OSError as error:
        step = "free some space" if error.errno == errno.ENOSPC else "see that it can be written"
        raise WardroundError(f"can't write {path}: {error.strerror}: {step}, then {then}") from error


def create_run_folder(path: Path, config: Config, *, is_synced: bool = True) -> RunFolder:
    """Return a new run folder with its settings and versions in it.

    Raises:
        ConfigError: the folder exists and is not empty, or can't be made.
    """
    make_new_folder(path, "resume that run")
    folder = RunFolder(path, is_synced)
    folder.write_versions()
    folder.write_tables([])
    # Last, as it makes the folder one of a run: nobody takes up half a one.
    folder.write_text("config.toml", config_to_toml(config))
    return folder


def check_new_folder(path: Path, or_else: str) -> None:
    """Refuse the folder of what is to begin before anything else takes time.

    Raises:
        ConfigError: it exists and is not empty, or can't be looked into.
    """
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"--out {path} must be a new or empty folder: name another, or {or_else}")
    except OSError as error:
        raise ConfigError(f"--out {path} can't be made: {error.strerror}") from error


def make_new_folder(path: Path, or_else: str) -> None:
    """Make the folder of what begins, for its owner alone.

    Raises:
        ConfigError: it exists and is not empty, or can't be made.
    """
    check_new_folder(path, or_else)
    try:
        make_private_folder(path)
    except OSError as error:
        raise ConfigError(f"--out {path} can't be made: {error.strerror}") from error


def open_run_folder(path: Path) -> RunFolder:
    """Return the folder of an earlier run.

    Raises:
        ConfigError: there is no run in it.
    """
    folder = RunFolder(path)
    # A run that was killed before its first commit has neither ledger nor checkpoints; it begins at round 0.
    if (path / "versions.txt").is_file() and not (path / "config.toml").exists() and folder.is_untouched():
        raise ConfigError(
            f"{path} is not a run folder yet: its run was killed before it began, and nothing was trained or charged; "
            "delete the folder and begin anew"
        )
    if not (path / "config.toml").is_file() or not (folder.ledger.exists() or folder.is_untouched()):
        raise ConfigError(f"{path} is not a run folder (no config.toml and ledger.sqlite in it): check the path")
    return folder


def default_run_path(config: Config) -> Path:
    """Return the path of a run without --out."""
    return path_now(config.federation.dataset.replace(":", "-"))


def path_now(name: str) -> Path:
    """Return runs/<name>-<time>, the time in UTC."""
    return Path("runs") / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S-%f')[:-3]}"


def _installed() -> tuple[str, ...]:
    return tuple(f"{name} {version_of(name)}" for name in _PACKAGES)


def checkpoint_name(round_number: int) -> str:
    """Return the path of a round's checkpoint in its run's folder."""
    return f"checkpoints/round-{round_number:06d}.safetensors"
