"""The ServerApp on Flower's own grid: what it refuses before it starts."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from site_files import tables_of, write_sites, write_toml

from wardround.errors import ConfigError
from wardround.server.app import serve


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "num-nodes must be the number of hospitals"),
        ({"num-nodes": "many"}, "num-nodes or timeout-seconds can't be read .*: give numbers"),
        (
            {"num-nodes": 2, "set": 'training.num-rounds="3'},
            "the overrides .* can't be told apart .No closing quotation",
        ),
        (
            {
                "num-nodes": 4,
                "set": "privacy.placement=distributed training.local-steps=1 aggregation.protocol=secure-sum",
            },
            "shows single contributions to the server on Flower's grid",
        ),
    ],
)
def test_what_flowers_grid_can_not_do_is_refused(settings: dict[str, object], message: str) -> None:
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=settings)
    with pytest.raises(ConfigError, match=message):
        serve(None, context)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"federation": {"max-records": None}}, "max-records is missing, and real sites need it"),
        ({"aggregation": {"protocol": "plain", "min-survivors": 1}}, 'protocol = "plain" would show'),
        ({"privacy": {"target-delta": {"north": 1e-3}}}, "target-delta must be one number for real sites"),
    ],
)
def test_with_a_roster_the_settings_must_be_what_real_sites_can_have(
    sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Before any site is asked: there is no grid to ask here."""
    write_sites(tmp_path)
    write_toml(tmp_path / "server.toml", tables_of(**sections))
    paths = {"config": str(tmp_path / "server.toml"), "roster": str(tmp_path / "roster.json"), "num-nodes": 3}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=paths)
    with pytest.raises(ConfigError, match=message):
        serve(None, context)
