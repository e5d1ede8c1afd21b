"""Sends orders in rounds, and writes every reply as it came."""

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Send one message per node and round; `orders` is a round per word, "raise:2" for partition 2 to raise."""
    while len(nodes := list(grid.get_node_ids())) < int(context.run_config["num-nodes"]):
        time.sleep(0.5)
    rounds = []
    for orders in str(context.run_config["orders"]).split():
        told = {str(partition): "reply" for partition in range(len(nodes))}
        order, _, partition = orders.partition(":")
        told |= {partition: order} if partition else {}
        content = RecordDict({"order": ConfigRecord(told)})
        messages = [Message(content, dst_node_id=node, message_type="query", group_id="7") for node in nodes]
        sent = time.time()
        replies = list(grid.send_and_receive(messages, timeout=float(context.run_config["seconds"])))
        rounds.append({"sent": sent, "seconds": time.time() - sent, "replies": [described(reply) for reply in replies]})
    Path(str(context.run_config["out"])).write_text(json.dumps({"nodes": nodes, "rounds": rounds}))


def described(reply: Message) -> dict[str, object]:
    """Return the parts of a reply that JSON can hold."""
    metadata = {"source": reply.metadata.src_node_id, "group": reply.metadata.group_id}
    if reply.has_error():
        return {**metadata, "error": reply.error.code, "reason": reply.error.reason}
    seen = reply.content["seen"].items()
    return {**metadata, **{name: value.hex() if isinstance(value, bytes) else value for name, value in seen}}
