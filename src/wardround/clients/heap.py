"""The memory of a process that trains: freed blocks are kept for the next step, which needs the same ones again.

glibc gives large blocks back to the system as they are freed, and gets them anew, page by page, a moment later: with a
model of a million parameters that takes up to a fifth of a step's time. What is left out on purpose: other C libraries,
and tensors on a GPU, whose memory torch keeps itself.
"""

import ctypes
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_MOST_KEPT = 2**28
"""Bytes at the end of the heap: 256 MiB."""
_LARGEST = 2**25
"""Bytes of a block: 32 MiB, the most that glibc takes."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, within bounds, and return whether its C library can do so."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(set_option(_MMAP_THRESHOLD, _LARGEST)) and bool(set_option(_TRIM_THRESHOLD, _MOST_KEPT))
