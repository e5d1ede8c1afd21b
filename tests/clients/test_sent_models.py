"""What a real site does with whatever a server sends as the model."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_rounds import HostileServer
from planned_parts import CELLS, config_of
from site_files import write_sites

from wardround import wire
from wardround.clients.released import read_releases
from wardround.config import Config, config_to_toml
from wardround.privacy.clipping import COUNT_NAME


def server_of(folder: Path, config: Config) -> HostileServer:
    """Return a server of three real sites that agreed on the settings."""
    tables = {name: table for name, table in tomllib.loads(config_to_toml(config)).items() if name != "simulation"}
    return HostileServer(folder, config, write_sites(folder, tables))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize(("unit", "placement"), [("hospital", "local"), ("record", "central")])
def test_a_model_of_another_type_of_number_is_refused(unit: str, placement: str, dtype: str, tmp_path: Path) -> None:
    """Where its numbers are finer or coarser than the model's, sums are rounded otherwise than clipping is proved."""
    server = server_of(tmp_path, config_of(unit, placement))
    sent = server.round({name: array.astype(dtype) for name, array in server.model().items()})
    assert sent == {}
    assert len(server.errors) == 3
    assert all(f"has numbers of type {dtype}, and its own float32" in text for text in server.errors.values())
    assert [read_releases(path.parent / "site.key-released") for path in server.paths.values()] == [()] * 3


@pytest.mark.parametrize(
    ("adaptive", "more"),
    [
        (False, {COUNT_NAME: np.zeros(())}),
        (True, {}),
        (True, {COUNT_NAME: np.zeros(1000)}),
        (True, {COUNT_NAME: np.zeros((), np.uint8)}),
    ],
)
def test_a_count_that_no_clip_asks_for_is_refused_before_it_is_paid_for(
    adaptive: bool, more: dict[str, Any], tmp_path: Path
) -> None:
    server = server_of(tmp_path, config_of("hospital", "central", adaptive))
    assert server.round(server.model() | more) == {}
    assert all("the model is not the one that this site's settings name" in text for text in server.errors.values())
    assert [read_releases(path.parent / "site.key-released") for path in server.paths.values()] == [()] * 3


@pytest.mark.parametrize(("unit", "placement", "adaptive"), CELLS)
def test_no_parameter_makes_a_site_fail(unit: str, placement: str, adaptive: bool, tmp_path: Path) -> None:
    """A failure would tell the server what a record does to the numbers, which no noise covers."""
    fills: list[Any] = [np.nan, np.inf, -3.4e38, 1e20, 1e-45]
    config = config_of(unit, placement, adaptive, training={"num-rounds": len(fills)})
    server = server_of(tmp_path, config)
    for number, fill in enumerate(fills, 1):
        model = {name: np.full_like(array, fill) for name, array in server.model().items()}
        sent = server.round(model | ({COUNT_NAME: np.zeros(())} if adaptive else {}), number)
        assert (set(sent), server.errors) == (set(server.paths), {})
        arrays = [array for reply in sent.values() for array in wire.arrays_in(reply).values()]
        assert {array.dtype for array in arrays} == {np.dtype(np.uint32)}
