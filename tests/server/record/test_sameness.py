"""What a resumed run must have in common with the one that was begun."""

import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from small_runs import charges_of, interrupted_before_charging, small_config

from wardround.config import config_to_toml
from wardround.errors import ConfigError, DataError, ProtocolError
from wardround.server.record import run_folder
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.verify import verify_run
from wardround.simulations.runs import resume, run


@pytest.fixture
def half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run whose round 2 was charged and interrupted."""
    with monkeypatch.context() as patch:
        real = RunFolder.write_checkpoint

        def failing(self: RunFolder, number: int, *rest: Any) -> Any:
            if number == 2:
                raise KeyboardInterrupt
            return real(self, number, *rest)

        patch.setattr(RunFolder, "write_checkpoint", failing)
        with pytest.raises(KeyboardInterrupt):
            run(small_config(training={"num-rounds": 3}), out=tmp_path / "run")
    yield tmp_path / "run"


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"num-rounds": 3, "learning-rate": 0.01}},
        {"training": {"num-rounds": 4}},
        {"training": {"num-rounds": 3}, "federation": {"seed": 8}},
        {"training": {"num-rounds": 3}, "privacy": {"noise-multiplier": 9.0}},
        {"training": {"num-rounds": 3}, "privacy": {"patient-overlap": 3}},
        {"training": {"num-rounds": 3}, "model": {"name": "mlp"}},
        {"training": {"num-rounds": 3}, "simulation": {"dropout-rate": 0.5}},
    ],
)
def test_resume_refuses_changed_settings(half_done: Path, change: Any) -> None:
    # A second release with the first one's noise and another model would give the records away by subtraction.
    (half_done / "config.toml").write_text(
        config_to_toml(small_config(**change)).replace("[model]", 'partition = "iid"\n\n[model]', 1)
    )
    before = charges_of(half_done, "planned")
    with pytest.raises(ConfigError, match=r"config\.toml was changed since the run began: put it back, or begin"):
        resume(half_done)
    assert charges_of(half_done, "planned") == before
    assert "changed since the run began" in " ".join(verify_run(half_done)[0])


def test_resume_goes_on_with_another_engine_or_data_folder(half_done: Path, tmp_path: Path) -> None:
    text = (half_done / "config.toml").read_text()
    (half_done / "config.toml").write_text(
        text.replace('dataset = "breast-cancer"', f'dataset = "breast-cancer"\ndata-dir = "{tmp_path}"').replace(
            'engine = "inline"', 'engine = "inline"\nnum-workers = 3'
        )
    )
    assert resume(half_done).summary["status"] == "done"


def test_a_run_that_goes_on_with_other_versions_says_so_for_good(
    half_done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "version_of", lambda name: "9.9.9" if name == "numpy" else version(name))
        resume(half_done)
    summary = resume(half_done).summary
    assert "a part of the run was made with numpy 9.9.9" in summary["notes"]
    assert summary["versions"]["numpy"] == version("numpy")
    assert verify_run(half_done)[0] == []


def test_resume_refuses_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "patients.csv"
    lines = ["site,age,dose,sick"]
    lines += [f"{'ab'[i % 2]},{20 + i % 50},{i % 7},{int(i % 50 > 25)}" for i in range(80)]
    table.write_text("\n".join(lines))
    federation = {"dataset": "csv", "path": str(table), "target": "sick", "hospital-column": "site"}
    config = small_config(federation={**federation, "num-hospitals": None}, training={"num-rounds": 2})
    with interrupted_before_charging(monkeypatch, 2):
        run(config, out=tmp_path / "run")
    table.write_text("\n".join([*lines, "a,99,1,1"]))
    with pytest.raises(DataError, match=r"training data of a is not what the run was begun with: put the data back"):
        resume(tmp_path / "run")
    table.write_text("\n".join(lines).replace("\nb,", "\nc,"))
    with pytest.raises(DataError, match=r"training data of b, c is not what"):
        resume(tmp_path / "run")
    table.write_text("\n".join(lines))
    assert resume(tmp_path / "run").summary["status"] == "done"


def test_resume_refuses_a_changed_checkpoint(half_done: Path) -> None:
    path = half_done / "checkpoints" / "round-000001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ProtocolError, match=r"round-000001.safetensors is not the one that was committed"):
        resume(half_done)
    path.unlink()
    with pytest.raises(ProtocolError, match=r"round-000001.safetensors can't be read"):
        resume(half_done)


def test_resume_refuses_a_changed_ledger(half_done: Path) -> None:
    with sqlite3.connect(half_done / "ledger.sqlite") as connection:
        connection.execute("UPDATE entries SET noise_multiplier = 50.0 WHERE sequence = 2")
    connection.close()
    with pytest.raises(ProtocolError, match=r"ledger.sqlite is not as it was written \(row 2 was changed"):
        resume(half_done)


def test_resume_refuses_an_emptied_ledger(half_done: Path) -> None:
    # Starting over would forget what was charged.
    (half_done / "ledger.sqlite").write_bytes(b"")
    with pytest.raises(ProtocolError, match=r"ends at round -1, but there is a checkpoint of round 1"):
        resume(half_done)
