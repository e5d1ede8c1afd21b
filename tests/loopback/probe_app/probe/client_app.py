"""Says what it sees, counts its messages in `context.state`, and fails when told to."""

import os
import time

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def look(message: Message, context: Context) -> Message:
    """Return what the ClientApp sees; the order for this partition may be to fail."""
    received = time.time()
    state = context.state.config_records.setdefault("state", ConfigRecord({"count": 0, "secret": b""}))
    seen = {
        "count-before": state["count"],
        "secret-before": state["secret"],
        "process": os.getpid(),
        "context-node-id": context.node_id,
        "destination-node-id": message.metadata.dst_node_id,
        "run-id": context.run_id,
        "received": received,
        **{f"config-{name}": value for name, value in context.node_config.items()},
    }
    state["count"] = int(state["count"]) + 1
    state["secret"] = os.urandom(8)
    order = message.content["order"][str(context.node_config["partition-id"])]
    if order == "raise":
        raise ValueError("told to raise")
    if order == "exit":
        os._exit(1)
    return Message(RecordDict({"seen": ConfigRecord({**seen, "secret-after": state["secret"]})}), reply_to=message)
