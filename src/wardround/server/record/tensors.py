"""Named arrays as the bytes of a safetensors file, and back.

What is left out on purpose: which arrays they are, and how files are written (see `run_folder`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround.disk import file_bytes
from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.parsing import from_json, sound

__all__ = ["part_of", "read_tensors", "tensor_bytes"]

_MOST_BYTES = 2**34
"""Of a file: 16 GiB, four billion parameters with their momenta."""


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file's bytes; metadata are texts that go along."""
    # In C order: safetensors writes the memory of any other as if it were in that order.
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data: bytes = save(rows, metadata=None if metadata is None else dict(metadata))
    return data


def read_tensors(path: Path, what: str, step: str, sha256: str | None = None) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file, sorted as it has them, and the metadata; None takes a file of any sha256.

    No more memory is asked for than a few times the bytes, whatever the header says: safetensors holds its sizes to
    them before it makes an array.

    Raises:
        ProtocolError: it is no such file, or the sizes in its header are not those of the bytes, or it is not the one
            that was committed; the message says `what` it is, and which `step` to take.
    """
    with sound(ProtocolError, f"{what} can't be read", step, SafetensorError):
        data = file_bytes(path, _MOST_BYTES)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ProtocolError(f"{what} is not the one that was committed: {step}")
        arrays: Arrays = load(data)
        if any(np.iscomplexobj(array) for array in arrays.values()):
            raise ValueError("it has complex numbers")
        header: dict[str, dict[str, str]] = from_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__", {})


def part_of(tensors: Mapping[str, NDArray[Any]], name: str) -> Arrays:
    """Return the arrays of a checkpoint below a name: "model" or "strategy"."""
    return {key.removeprefix(f"{name}/"): array for key, array in tensors.items() if key.startswith(f"{name}/")}
