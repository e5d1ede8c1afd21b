"""What a strategy remembers between rounds, as named arrays and plain values, so that a resumed run goes on alike.

Flower's strategies keep momenta in attributes and have no way to save them. Attributes made of arrays, ArrayRecords,
numbers, text, lists and dicts are kept; anything else (functions, locks) is left as the constructor made it and named.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import wire

__all__ = ["read_strategy_state", "restore_strategy_state"]


def read_strategy_state(strategy: Strategy) -> tuple[dict[str, NDArray[Any]], str, tuple[str, ...]]:
    """Return the arrays by name, the rest as JSON text, and the attributes that can't be kept."""
    arrays: dict[str, NDArray[Any]] = {}
    values: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in vars(strategy).items():
        try:
            values[name] = _packed(value, name, arrays)
        except TypeError:
            if not callable(value):
                lost.append(name)
    return arrays, json.dumps(values, sort_keys=True), tuple(lost)


def restore_strategy_state(strategy: Strategy, arrays: Mapping[str, NDArray[Any]], values: str) -> None:
    """Put back what `read_strategy_state` returned, in place."""
    for name, value in json.loads(values).items():
        setattr(strategy, name, _unpacked(value, arrays))


def _packed(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        arrays[path] = np.asarray(value)
        return {"array": path}
    if isinstance(value, ArrayRecord):
        return {"record": {key: _packed(array.numpy(), f"{path}/{key}", arrays) for key, array in value.items()}}
    if isinstance(value, list):
        return {"list": [_packed(part, f"{path}/{index}", arrays) for index, part in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _packed(part, f"{path}/{key}", arrays) for key, part in value.items()}}
    raise TypeError(path)


def _unpacked(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "list":
        return [_unpacked(part, arrays) for part in content]
    parts = {key: _unpacked(part, arrays) for key, part in content.items()}
    return wire.array_record(parts) if kind == "record" else parts
