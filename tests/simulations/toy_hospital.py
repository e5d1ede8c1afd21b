"""A tiny NumPy ClientApp that can be told to misbehave, and the federations of the engine tests."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.compat.common.parameter import ndarrays_to_parameters
from flwr.compat.common.recorddict_compat import parameters_to_arrayrecord

from wardround.simulations.engines.nodes import Node
from wardround.wire import array_record, arrays_of

NODE_IDS = (11, 3, 7, 20, 5)
_buffer = np.zeros(4, np.float32)


def federation(**behaviours: str) -> list[Node]:
    """Five hospitals in no order; `node_3="raise"` makes one of them misbehave."""
    return [
        Node(node_id=i, node_config={"behaviour": behaviours.get(f"node_{i}", "train")}, load=float(i % 4))
        for i in NODE_IDS
    ]


def initial_arrays() -> dict[str, np.ndarray]:
    return {"w": np.linspace(-1, 1, 4, dtype=np.float32), "b": np.asarray(0.25, np.float32)}


def older_record(arrays: dict[str, np.ndarray]) -> ArrayRecord:
    """The arrays as Flower's `NumPyClient` and its workflows send them: numbered, of no stated type or shape."""
    return parameters_to_arrayrecord(ndarrays_to_parameters(list(arrays.values())), keep_input=True)


def messages(
    arrays: ArrayRecord, weights: dict[int, float] | None = None, kind: str = "train", server_round: int = 1
) -> list[Message]:
    """One message to every hospital, from the last to the first; with weights, replies are to be summed."""
    result = []
    for node_id in sorted(NODE_IDS, reverse=True):
        config = ConfigRecord({"server-round": server_round})
        if weights is not None:
            config["sum-weight"] = weights[node_id]
        result.append(Message(RecordDict({"arrays": arrays, "config": config}), node_id, kind))
    return result


def make_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        behaviour = str(context.node_config["behaviour"])
        special = _SPECIAL.get(behaviour.split(":")[0])
        if special is not None:
            special(message, behaviour)
        reply = _trained(message, context, behaviour)
        if behaviour == "scribble":
            _scribble(message)
        return reply

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        loss = float(sum(np.abs(array).sum() for array in arrays_of(message.content["arrays"]).values()))
        metrics = MetricRecord({"loss": loss + context.node_id, "num-examples": context.node_id})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def _trained(message: Message, context: Context, behaviour: str) -> Message:
    seen = context.state.setdefault("seen", MetricRecord({"messages": 0}))
    seen["messages"] += 1
    arrays = arrays_of(message.content["arrays"])
    for name in arrays:
        step = np.sin(np.arange(arrays[name].size) + context.node_id).reshape(arrays[name].shape)
        arrays[name] = (arrays[name] * np.float32(0.9) + step * message.content["config"]["server-round"]).astype("f4")
    if behaviour == "nan":
        arrays["w"] = arrays["w"] * np.float32("nan")
    if behaviour == "shape":
        arrays["w"] = arrays["w"][:2]
    if behaviour == "reuse":
        _buffer[:] = arrays["w"]
        arrays["w"] = _buffer
    metrics = MetricRecord({"num-examples": context.node_id, "seen": seen["messages"], "pid": os.getpid()})
    record = older_record(arrays) if behaviour == "older" else array_record(arrays)
    return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)


def _raise(message: Message, behaviour: str) -> None:
    raise ValueError("no such\n   patient")


def _exit(message: Message, behaviour: str) -> None:
    raise SystemExit(4)


def _die(message: Message, behaviour: str) -> None:
    os._exit(1)


def _die_once(message: Message, behaviour: str) -> None:
    """Die at the first message of the second wave, unless that has happened."""
    if _first_time(message, behaviour):
        os._exit(1)


def _block_once(message: Message, behaviour: str) -> None:
    if _first_time(message, behaviour):
        threading.Event().wait(60)


def _first_time(message: Message, behaviour: str) -> bool:
    marker = Path(behaviour.partition(":")[2])
    first = message.content["config"]["server-round"] == 2 and not marker.exists()
    marker.touch() if first else None
    return first


def _scribble(message: Message) -> None:
    """Write over everything that was received, as a client of Flower's may."""
    message.content["config"]["server-round"] = 99
    for array in message.content["arrays"].values():
        array.numpy()[...] = 1e6


def _block(message: Message, behaviour: str) -> None:
    threading.Event().wait(60)


_SPECIAL: dict[str, Callable[[Message, str], None]] = {
    "raise": _raise,
    "exit": _exit,
    "die": _die,
    "die-once": _die_once,
    "block": _block,
    "block-once": _block_once,
}
