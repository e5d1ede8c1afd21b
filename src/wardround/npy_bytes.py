"""Arrays from bytes that anyone may have sent: NumPy's own format, of the shape and type that were announced.

NumPy's readers evaluate a header and ask for as much memory as it says. Here the header must be, letter by letter, what
NumPy writes for the announced shape, and the bytes that are there must be those of such an array; nothing is copied.
What is left out on purpose: writing, which is NumPy's.

Source: NumPy enhancement proposal 1, "A simple file format for NumPy arrays".
"""

import math
import re

import numpy as np
from numpy.typing import NDArray

from wardround.errors import ProtocolError

__all__ = ["array_from_bytes"]

_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>\|[biu]1|[<>][iu][248]|[<>]f[248])', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': (?P<shape>\([0-9, ]{0,1000}\)), \} *\n",
    re.DOTALL,
)
"""Version 1.0, and real numbers only: no objects, texts, times, structures or complex numbers."""


def array_from_bytes(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return the array, a read-only view of the bytes.

    Args:
        data: what `np.save` writes for a real array.
        dtype: announced, such as "float32".
        shape: announced.

    Raises:
        ProtocolError: the bytes are anything else, or not as many as the shape needs.
    """
    header = _HEADER.match(data)
    if header is None or int.from_bytes(header["length"], "little") != header.end() - 10:
        raise ProtocolError("an array is refused: it must be a real array of NumPy's, serialised by numpy.save")
    kind = np.dtype(header["dtype"].decode())
    if str(kind) != dtype or header["shape"] != repr(shape).encode():
        raise ProtocolError("an array is refused: its bytes are of another type or shape than it says")
    if math.prod(shape) * kind.itemsize != len(data) - header.end():
        raise ProtocolError(
            f"an array is refused: its {len(data) - header.end()} bytes must be those of its shape and type"
        )
    flat = np.frombuffer(data, kind, offset=header.end()) if math.prod(shape) else np.zeros(0, kind)
    if kind == np.bool_ and flat.view(np.uint8).max(initial=0) > 1:
        raise ProtocolError("an array is refused: its bytes are no booleans")
    try:
        values = flat.reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    except ValueError:  # more dimensions than NumPy has, or an empty one with others too large for it
        raise ProtocolError(f"an array is refused: NumPy has none with {len(shape)} such dimensions") from None
    values.flags.writeable = False
    return values
