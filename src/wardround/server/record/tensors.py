"""Named arrays as the bytes of a safetensors file, and back: header and sizes are checked before anything is loaded.

What is left out on purpose: which arrays they are, and files (see `run_folder`).
"""

import math
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
_MOST_HEADER_BYTES = 2**26
_ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2} | {
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""By safetensors' name of a dtype: those that NumPy has."""


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file's bytes; metadata are texts that go along."""
    # In C order: safetensors writes the memory of any other as if it were in that order.
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data: bytes = save(rows, metadata=None if metadata is None else dict(metadata))
    return data


def read_tensors(data: bytes, what: str, step: str) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays, sorted as the file has them, and the metadata.

    No more memory is asked for than three times the bytes, whatever the header says.

    Args:
        data: of the file.
        what: it is, for the message.
        step: what to do where it can't be read.

    Raises:
        ProtocolError: it is no such file, or the sizes in its header are not those of the bytes.
    """
    with sound(ProtocolError, f"{what} can't be read", step, SafetensorError):
        metadata = _checked_header(data)
        arrays: Arrays = load(data)
    return arrays, metadata


def _checked_header(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MOST_HEADER_BYTES):
        raise ValueError(f"its header of {size} bytes does not fit the {len(data)} there are")
    header: dict[str, Any] = from_json(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts")
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if dtype not in _ITEM_BYTES or not all(isinstance(length, int) and 0 <= length < 2**62 for length in shape):
            raise ValueError(f"{name!r} of dtype {dtype} and shape {shape} is no array")
        if first != end or last - first != math.prod(shape) * _ITEM_BYTES[dtype]:
            raise ValueError(f"{name!r} of dtype {dtype} and shape {shape} is not the bytes {first} to {last}")
        end = last
    if end != len(data) - 8 - size:
        raise ValueError(f"its arrays have {end} bytes, and {len(data) - 8 - size} are there")
    return {str(key): value for key, value in metadata.items()}
