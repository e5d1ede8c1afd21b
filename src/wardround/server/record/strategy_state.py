"""What a strategy remembers between rounds, as named arrays and plain values, so that a resumed run goes on alike.

Flower's strategies keep momenta in attributes and have no way to save them. Attributes made of arrays, ArrayRecords,
numbers, text, lists, tuples, dicts and inner strategies are kept; anything else (locks, sets, objects of a class of
one's own) is left as the constructor made it and named, so that the summary can say so.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from wardround import wire
from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.parsing import from_json, sound

__all__ = ["read_strategy_state", "restore_strategy_state"]


def read_strategy_state(strategy: Strategy) -> tuple[Arrays, str, tuple[str, ...]]:
    """Return the arrays by name, the rest as JSON text, and the attributes that can't be kept."""
    arrays: Arrays = {}
    lost: list[str] = []
    values = _packed_attributes(strategy, "", arrays, lost)
    # Not sorted: strategies pair lists with the order of a record's names.
    return arrays, json.dumps(values), tuple(lost)


def restore_strategy_state(strategy: Strategy, arrays: Mapping[str, NDArray[Any]], values: str) -> None:
    """Put back what `read_strategy_state` returned, in place.

    Raises:
        ProtocolError: it is not what this strategy keeps.
    """
    with sound(
        ProtocolError, "what the strategy keeps between rounds can't be read", "use the strategy it was kept by"
    ):
        _put_back(strategy, from_json(values), arrays)


def _packed_attributes(strategy: Strategy, path: str, arrays: Arrays, lost: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in vars(strategy).items():
        where = f"{path}{name}"
        if isinstance(value, Strategy):
            values[name] = {"strategy": _packed_attributes(value, f"{where}/", arrays, lost)}
            continue
        kept: Arrays = {}
        try:
            values[name] = _packed(value, where, kept)
        except TypeError:
            if not callable(value):
                lost.append(where)
        else:
            arrays.update(kept)
    return values


def _put_back(strategy: Strategy, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, value in values.items():
        if not name.isidentifier() or name.startswith("__") or callable(getattr(type(strategy), name, None)):
            raise ValueError(f"{name!r} is nothing that is kept")
        if isinstance(value, dict) and "strategy" in value:
            _put_back(getattr(strategy, name), value["strategy"], arrays)
        else:
            setattr(strategy, name, _unpacked(value, arrays))


def _packed(value: Any, path: str, arrays: Arrays) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays[path] = np.asarray(value)
        return {"array": path}
    if isinstance(value, ArrayRecord):
        return {"record": {key: _packed(array.numpy(), f"{path}/{key}", arrays) for key, array in value.items()}}
    if isinstance(value, list):
        return {"list": [_packed(part, f"{path}/{index}", arrays) for index, part in enumerate(value)]}
    if type(value) is tuple:
        return {"tuple": [_packed(part, f"{path}/{index}", arrays) for index, part in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _packed(part, f"{path}/{key}", arrays) for key, part in value.items()}}
    raise TypeError(path)


def _unpacked(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind in ("list", "tuple"):
        several = [_unpacked(part, arrays) for part in content]
        return several if kind == "list" else tuple(several)
    parts = {key: _unpacked(part, arrays) for key, part in content.items()}
    return wire.array_record(parts) if kind == "record" else parts
