"""Named arrays as the bytes of a safetensors file, and back.

What is left out on purpose: which arrays they are, and files (see `run_folder`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.parsing import from_json, sound

__all__ = ["MOST_TENSOR_BYTES", "read_tensors", "tensor_bytes"]

MOST_TENSOR_BYTES = 2**34
"""Of a file: 16 GiB, four billion parameters with their momenta."""


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file's bytes; metadata are texts that go along."""
    # In C order: safetensors writes the memory of any other as if it were in that order.
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data: bytes = save(rows, metadata=None if metadata is None else dict(metadata))
    return data


def read_tensors(data: bytes, what: str, step: str) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays, sorted as the file has them, and the metadata.

    No more memory is asked for than a few times the bytes, whatever the header says: safetensors holds its sizes to
    them before it makes an array.

    Raises:
        ProtocolError: it is no such file, or the sizes in its header are not those of the bytes; the message says
            `what` it is, and which `step` to take.
    """
    with sound(ProtocolError, f"{what} can't be read", step, SafetensorError):
        arrays: Arrays = load(data)
        if any(np.iscomplexobj(array) for array in arrays.values()):
            raise ValueError("it has complex numbers")
        header: dict[str, dict[str, str]] = from_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__", {})
