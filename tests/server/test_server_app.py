"""The ServerApp on Flower's own grid: what it refuses before it starts."""

import pytest
from flwr.app import Context, RecordDict

from wardround.errors import ConfigError
from wardround.server.app import serve


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "num-nodes must be the number of hospitals"),
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
