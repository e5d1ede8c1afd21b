"""What a module could remember: everything reachable from its attributes, so that two moments can be compared.

What is left out on purpose: globals, closures and class attributes, which are reachable from everywhere.
"""

import random
from collections import deque
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Memory", "memory_of"]


_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)


class Memory(NamedTuple):
    """What was found, by path, and the things themselves: as long as they live, nothing else has their identity."""

    found: dict[str, object]
    kept: list[Any]

    def differs_from(self, other: "Memory") -> str | None:
        """Return the path of the first thing that is not as it was; None where all is."""
        for path in (*self.found, *other.found):
            if self.found.get(path) != other.found.get(path):
                return path
        return None


def memory_of(module: Any) -> Memory:
    """Return everything reachable from an object's attributes: tensors by identity and version, the rest by value."""
    found: dict[str, object] = {}
    kept: list[Any] = []
    _collect(module, "", found, kept, set())
    return Memory(found, kept)


def _collect(value: Any, path: str, found: dict[str, object], kept: list[Any], seen: set[int]) -> None:
    name = path or "the model"
    kept.append(value)
    if isinstance(value, Tensor):
        found[name] = (id(value), -1 if value.is_inference() else value._version, value.requires_grad)
    elif isinstance(value, torch.Generator):
        found[name] = value.get_state().numpy().tobytes()
    elif isinstance(value, np.random.Generator):
        found[name] = repr(value.bit_generator.state)
    elif isinstance(value, np.random.RandomState | random.Random):
        found[name] = repr(value.get_state() if isinstance(value, np.random.RandomState) else value.getstate())
    elif isinstance(value, np.ndarray):
        found[name] = (id(value), value.tobytes())
    elif isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        found[name] = (type(value), repr(value))
    elif id(value) not in seen:
        seen.add(id(value))
        found[name] = (type(value), id(value))
        for key, part in _parts(value):
            _collect(part, f"{path}.{key}" if path else key, found, kept, seen)


def _parts(value: Any) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts += [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple | deque):
        parts += [(str(index), part) for index, part in enumerate(value)]
    elif isinstance(value, set | frozenset):
        # By value: a list made here would be another object at every look.
        parts += [("{}", repr(sorted(map(repr, value))))]
    if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType):
        # Recurrent layers list their weights anew at every call.
        own = ("_flat_weights", "_flat_weight_refs") if type(value) in _RECURRENT else ()
        parts += [(key, part) for key, part in vars(value).items() if key not in own]
    return parts
