"""What the server's noise goes on from, in a file of its own beside a round's checkpoint.

With this file and the models the noise of the last rounds can be taken away. So it is deleted as soon as the next round
is committed or the run is over. Where it is gone, noise begins anew. What is left out on purpose: what is in it, which
is the cell's (see `privacy.cells`).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wardround.exact_sums import Arrays
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.tensors import read_tensors, tensor_bytes

__all__ = ["drop_noise", "noise_name", "read_noise", "write_noise"]


def write_noise(folder: RunFolder, round_number: int, memory: Mapping[str, NDArray[Any]]) -> str | None:
    """Write what the next round's noise goes on from, durable before it returns; return its sha256, or None."""
    if not memory:
        return None
    data = tensor_bytes(memory)
    folder.write_bytes(noise_name(round_number), data)
    return hashlib.sha256(data).hexdigest()


def read_noise(folder: RunFolder, round_number: int, sha256: str | None) -> Arrays:
    """Return what was written with the sha256 of the last committed round; {} where that is None, or the file is gone.

    Raises:
        ProtocolError: the file can't be read, or is not the one that was committed.
    """
    path = folder.path / noise_name(round_number)
    if sha256 is None or not path.exists():
        return {}
    return read_tensors(path, str(path), "delete it, and noise begins anew", sha256)[0]


def drop_noise(folder: RunFolder, *, but: int | None = None) -> None:
    """Delete what noise went on from, except for one round's, `but`."""
    for path in (folder.path / "checkpoints").glob("noise-*"):
        if but is None or path != folder.path / noise_name(but):
            path.unlink()


def noise_name(round_number: int) -> str:
    """Return the path of a round's file in its run's folder."""
    return f"checkpoints/noise-{round_number:06d}.safetensors"
