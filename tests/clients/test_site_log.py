"""A site's own log: what a server says in it can't pass for the log's own lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from site_files import site_config, write_sites

from wardround import wire
from wardround.clients.app import app
from wardround.errors import ProtocolError
from wardround.identity import agreed_digest, agreed_text
from wardround.secagg import Terms
from wardround.simulations.engines.flower_internals import take_identity

FORGED = "\r\n2030-01-01 INFO site north is well\x1b[2J\u2028"


def terms(**changes: Any) -> dict[str, Any]:
    """Return the first message of a round, with what the server would have in it."""
    values = {
        "federation": "test",
        "run_id": "run",
        "round_number": 1,
        "min_survivors": 2,
        "max_colluding": 0,
        "payload": "parameters",
        "max_update": 64.0,
        "max_weight": 50.0,
        "model_digest": bytes(32),
        "settings_digest": agreed_digest(site_config()),
    }
    return {"stage": "advertise", **wire.record_values(Terms(**(values | changes)))}


ARRAY = Array(np.zeros(3))
ARRAY.stype = FORGED
MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "a stage": ("train", {wire.SECAGG: ConfigRecord({"stage": FORGED})}),
    "a federation": ("train", {wire.SECAGG: ConfigRecord(terms(federation=FORGED))}),
    "a payload": ("train", {wire.SECAGG: ConfigRecord(terms() | {"payload": FORGED})}),
    "settings": (
        "query.profile",
        {wire.CONFIG: ConfigRecord({"settings": agreed_text(site_config()) + FORGED, "settings-digest": b""})},
    ),
    "an array": (
        "train",
        {wire.ARRAYS: ArrayRecord({"w": ARRAY}), wire.SECAGG: ConfigRecord({"stage": "mask"})},
    ),
}


@pytest.mark.parametrize("which", MESSAGES)
def test_nothing_that_a_server_says_makes_a_line_of_its_own(
    which: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_identity()
    kind, content = MESSAGES[which]
    path = write_sites(tmp_path)["north"]
    context = Context(run_id=1, node_id=1, node_config={"site": str(path)}, state=RecordDict(), run_config={})
    if which in ("a stage", "an array"):  # they are looked at once a round is under way
        app(Message(RecordDict({wire.SECAGG: ConfigRecord(terms())}), dst_node_id=1, message_type="train"), context)
    with pytest.raises(ProtocolError) as caught:
        app(Message(RecordDict(content), dst_node_id=1, message_type=kind), context)
    assert str(caught.value).isprintable()
    for record in caplog.records:
        first, *others = record.getMessage().split("\n")
        assert first.isprintable()
        assert record.exc_info is None
        assert all(line.startswith("    | ") and line.isprintable() for line in others)
    assert "site north is well" in caplog.text
