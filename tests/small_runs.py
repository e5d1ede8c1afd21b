"""Small federations that many tests run: breast cancer at three hospitals, in this process."""

import csv
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import flat_assignment

from wardround.cli import main
from wardround.clients.training import LocalTrainer
from wardround.config import Config, config_from_dict
from wardround.privacy.ledger import Entry, Ledger, open_ledger
from wardround.rounds import HospitalProfile
from wardround.streams import Draw, SeededKey

_SMALL: dict[str, dict[str, Any]] = {
    "federation": {"dataset": "breast-cancer", "num-hospitals": 3, "seed": 7},
    "training": {"num-rounds": 8, "local-steps": 2, "sample-rate": 0.1},
    "privacy": {"noise-multiplier": 1.0, "target-delta": 1e-4},
    "simulation": {"engine": "inline"},
}
ASSIGNMENT = flat_assignment(
    hospital_id="hospital-01",
    round_number=3,
    sample_rate=0.1,
    expected_batch_size=15.2,
    num_steps=2,
    noise_multiplier=1.5,
    max_grad_norm=1.0,
    weight=0.25,
)


def small_config(**sections: Mapping[str, Any]) -> Config:
    """Return the small federation with keys replaced; a key that is None is removed."""
    return config_from_dict(replaced(_SMALL, sections))


def replaced(tables: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return tables with keys replaced; a key that is None is removed."""
    merged = {name: {**tables.get(name, {}), **sections.get(name, {})} for name in {**tables, **sections}}
    return {name: {key: value for key, value in table.items() if value is not None} for name, table in merged.items()}


class CommonKey(SeededKey):
    """A key whose noise does not depend on what it hides."""

    def about(self, digest: bytes) -> SeededKey:
        return self


@dataclass(frozen=True)
class CommonStreams:
    """A source for releases that are compared draw by draw: its streams don't depend on what is released."""

    seed: int

    def key(self, *inputs: bytes, round_number: int = 1, attempt: int = 1, hospital_id: str = "north") -> SeededKey:
        return CommonKey(
            seed=self.seed, round_number=round_number, attempt=attempt, hospital_id=hospital_id, inputs=b""
        )

    def drawn(self, draw: Draw, round_number: int = 1, hospital_id: str = "north") -> np.random.Generator:
        return self.key(round_number=round_number, hospital_id=hospital_id).generator(draw)


def draw_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs of other settings draw the same numbers, so that what they make of them can be compared."""
    for place in ("clients.trainers", "server.round.loop"):
        monkeypatch.setattr(f"wardround.{place}.source_of", lambda config, **_: CommonStreams(config.federation.seed))


def rows_of(path: Path, *without: str) -> list[dict[str, str]]:
    """Return a CSV's rows, some columns left out."""
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in without} for row in csv.DictReader(file)]


def results_of(folder: Path) -> tuple[bytes, bytes, list[dict[str, str]]]:
    """Return what two runs that ended alike have in common, bit for bit."""
    model = (folder / "model.safetensors").read_bytes()
    return model, (folder / "hospitals.csv").read_bytes(), rows_of(folder / "rounds.csv", "seconds")


def command_line(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process, and return its exit code."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["wardround", *arguments])
            patch.setattr(sys, "path", [*sys.path])
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return int(ended.value.code or 0)


def charges_of(folder: Path, state: str) -> list[tuple[int, str]]:
    """Return round and hospital of every ledger entry in a state."""
    with open_ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        frame = ledger.to_frame()
    frame = frame[frame["state"] == state]
    return list(zip(frame["round_number"].tolist(), frame["hospital_id"].tolist(), strict=True))


def profiles_of(sizes: Sequence[int], digits: int = 3) -> list[HospitalProfile]:
    """Return profiles of made-up hospitals, hospital-000 and so on, with so many training records."""
    return [
        HospitalProfile(
            hospital_id=f"hospital-{index:0{digits}d}",
            num_train=size,
            task="classification",
            input_shape=(30,),
            num_outputs=2,
        )
        for index, size in enumerate(sizes)
    ]


@contextmanager
def interrupted_before_charging(
    monkeypatch: pytest.MonkeyPatch, round_number: int, *, is_charged: bool = False
) -> Iterator[None]:
    """Press Ctrl-C before a round is charged, or as soon as it is, and expect it to come through."""
    real = Ledger.charge

    def failing(self: Ledger, entries: Sequence[Entry]) -> None:
        is_now = entries[0].round_number == round_number
        if is_charged or not is_now:
            real(self, entries)
        if is_now:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "charge", failing)
        yield


@contextmanager
def interrupted_in_training(monkeypatch: pytest.MonkeyPatch, round_number: int) -> Iterator[None]:
    """Press Ctrl-C once a hospital has trained in the round, and expect it to come through."""
    real = LocalTrainer.train

    def failing(self: Any, arrays: Any, tensors: Any, assignment: Any, **options: Any) -> Any:
        result = real(self, arrays, tensors, assignment, **options)
        if assignment.round_number == round_number:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalTrainer, "train", failing)
        yield
