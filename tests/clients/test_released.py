"""Notes of what a site released: each once, whole, in a row, and nothing is released where the row is broken."""

import json
import math
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from wardround.clients.released import Released, note_release, read_releases
from wardround.errors import ProtocolError, Refusal
from wardround.privacy.cells import cell_named
from wardround.step_events import StepEvent

EVENT = StepEvent(noise_multiplier=1.1, sample_rate=1 / 3, num_steps=7)
ONE = Released(run_id="run-ä", round_number=1, settings="ab" * 32, data="cd" * 32, event=EVENT)


def accept(before: Sequence[Released]) -> None:
    """Let everything be released."""


def test_what_is_noted_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    folder = tmp_path / "site.key-released"
    assert read_releases(folder) == ()
    integers = replace(EVENT, cell="record-distributed", scaled_norm=math.pi * 1e4, dimension=62, num_shares=3)
    noted = [ONE, replace(ONE, round_number=2, event=None), replace(ONE, round_number=3, event=integers)]
    for number, released in enumerate(noted):
        note_release(folder, released, lambda before, so_far=number: pytest.fail() if len(before) != so_far else None)
    assert read_releases(folder) == tuple(noted)
    assert sorted(path.name for path in folder.iterdir()) == [f"00000000{number}.json" for number in (1, 2, 3)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert (stat.S_IMODE(folder.stat().st_mode), modes) == (0o700, {0o600})


@pytest.mark.parametrize(
    "event", [EVENT, replace(EVENT, cell="hospital-distributed", scaled_norm=500.0, dimension=3, num_shares=2), None]
)
def test_notes_from_before_events_named_their_cell_are_read(event: StepEvent | None, tmp_path: Path) -> None:
    note_release(tmp_path, replace(ONE, event=event), accept)
    (path,) = tmp_path.iterdir()
    table = json.loads(path.read_text())
    table["phase"] = noted = table.pop("event")
    if noted is not None:
        booked = cell_named(noted.pop("cell")).booked
        noted |= {"unit": booked.unit, "relation": booked.relation, "placement": booked.placement}
    path.write_text(json.dumps(table))
    assert read_releases(tmp_path) == (replace(ONE, event=event),)


def test_what_is_refused_leaves_no_note(tmp_path: Path) -> None:
    def refuse(before: Sequence[Released]) -> None:
        raise Refusal("too much")

    with pytest.raises(Refusal, match="too much"):
        note_release(tmp_path / "notes", ONE, refuse)
    assert list((tmp_path / "notes").iterdir()) == []


def test_two_at_once_never_share_a_number_and_each_sees_the_other(tmp_path: Path) -> None:
    """Sixteen ask at once for what eight may have."""
    refused: list[int] = []
    start = threading.Barrier(16)

    def ask(number: int) -> None:
        def at_most_eight(before: Sequence[Released]) -> None:
            if len(before) >= 8:
                raise Refusal("enough")

        start.wait()
        try:
            note_release(tmp_path / "notes", replace(ONE, round_number=number), at_most_eight)
        except Refusal:
            refused.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    noted = {released.round_number for released in read_releases(tmp_path / "notes")}
    assert len(noted) == len(refused) == 8
    assert noted | set(refused) == set(range(1, 17))


def test_a_crash_before_the_note_leaves_nothing_and_after_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "notes"

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        note_release(folder, ONE, accept)
    assert read_releases(folder) == ()
    # A draft that was left by `kill -9` is no note, and is in nobody's way.
    (folder / "draft-0123").write_text('{"run_id"')
    note_release(folder, ONE, accept)
    assert read_releases(folder) == (ONE,)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null", '{"run_id": 1}', "\x00", "[" * 100_000])
def test_a_note_that_can_not_be_read_stops_every_release(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    note_release(folder, ONE, accept)
    (folder / "000000001.json").write_text(content)
    for act in (lambda: read_releases(folder), lambda: note_release(folder, ONE, accept)):
        with pytest.raises(ProtocolError, match=r"can't read what was released from .*000000001\.json"):
            act()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"round_number": 1', '"round_number": true'),
        ('"num_steps": 7', '"num_steps": -7'),
        ('"noise_multiplier": 1.1', '"noise_multiplier": -1.1'),
        ('"scaled_norm": 0.0', '"scaled_norm": NaN'),
        ('"scaled_norm": 0.0', '"scaled_norm": Infinity'),
        ('"scaled_norm": 0.0', '"scaled_norm": -5.0'),
        ('"dimension": 0', '"dimension": -1'),
        ('"dimension": 0', f'"dimension": {10**400}'),
        ('"num_shares": 0', '"num_shares": -1'),
        ('"num_shares": 0', f'"num_shares": {10**400}'),
        ('"run_id"', '"name"'),
        ('"settings": "', '"settings": 1, "more": "'),
    ],
)
def test_a_note_of_other_values_stops_every_release(old: str, new: str, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    note_release(folder, ONE, accept)
    path = folder / "000000001.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ProtocolError, match=r"000000001\.json"):
        read_releases(folder)


def test_a_note_that_is_missing_in_the_row_stops_every_release(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    for number in (1, 2, 3):
        note_release(folder, replace(ONE, round_number=number), accept)
    (folder / "000000002.json").unlink()
    with pytest.raises(ProtocolError, match="and 2 others are there: restore it from a backup"):
        read_releases(folder)


def test_a_folder_that_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(ProtocolError, match="can't note what is released in"):
        note_release(tmp_path / "notes", ONE, accept)
