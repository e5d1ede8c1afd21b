"""The keys of a hospital's releases, over everything that a release is a function of.

What is left out on purpose: settings, code, versions and the data of other hospitals, which are in the source (see
`identity.source_of`).
"""

import json
import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from wardround.clients.tensors import HospitalTensors
from wardround.digests import array_digest, by_field
from wardround.exact_sums import Arrays
from wardround.rounds import Assignment
from wardround.streams import Key, Source

__all__ = ["ReleaseKeys"]

_CANONICAL = json.JSONEncoder(sort_keys=True)

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_KEYS = frozenset(
    {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"}  # of x86
    | {"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"}  # of ARM
)
_LIBRARIES = ("MKL_", "ONEDNN_", "DNNL_", "ATEN_", "OPENBLAS_")


class ReleaseKeys:
    """Makes the keys of one hospital after the other; a model that they share is hashed once a round."""

    def __init__(self, source: Source, device: torch.device) -> None:
        """Make keys from a source, for releases that are computed on a device."""
        self._source = source
        self._device = device
        self._hashed: tuple[Any, bytes, Any] | None = None

    def key(
        self,
        arrays: Arrays,
        tensors: HospitalTensors,
        assignment: Assignment,
        proximal_mu: float,
        *code: bytes,
        stack: bytes = b"",
    ) -> Key:
        """Return the key of what is about to be released, over all that the hospital received and has.

        `code` are digests of what was recorded of a user's code, of the model and of the strategy's hospital side, with
        what it was sent; b"" where there is none; and of the parameters that are a hospital's own, where it has any.
        `stack` is that of all hospitals which it trains with in one program (`stacked.together`), whose sums differ in
        their last bits from those of one alone and from other stacks'.
        """
        told = [by_field(assignment), proximal_mu, *_processor(self._device), *(digest.hex() for digest in code)]
        told += [{"stack": stack.hex()}] if stack else []
        return self._source.key(
            self._model_digest(arrays, assignment),
            tensors.train_digest,
            _CANONICAL.encode(told).encode(),
            round_number=assignment.round_number,
            attempt=assignment.attempt,
            hospital_id=assignment.hospital_id,
        )

    def _model_digest(self, arrays: Arrays, assignment: Assignment) -> bytes:
        """Return the digest of the model, taken once a round where hospitals are given the same read-only memory."""
        memory = [(name, array.__array_interface__, array.dtype.str) for name, array in sorted(arrays.items())]
        where = (assignment.round_number, assignment.attempt, memory)
        if self._hashed is None or self._hashed[0] != where or any(a.flags.writeable for a in arrays.values()):
            # The arrays are kept with it: their memory can't become another model's.
            self._hashed = (where, array_digest(arrays), dict(arrays))
        return self._hashed[1]


def _processor(device: torch.device) -> list[Any]:
    """Return what picks the kernels, whose sums differ in their last bits."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    return [device.type, name, capability, torch.get_num_threads(), *_kernels_are_picked_by()]


@lru_cache(maxsize=1)
def _kernels_are_picked_by() -> tuple[str, ...]:
    """Return what MKL and oneDNN go by: maker, generation and abilities of the processor, and their own variables."""
    try:
        of_first = _CPU_INFO.read_text().split("\n\n", 1)[0].splitlines()
    except OSError:  # no Linux
        of_first = [f"model name: {platform.processor()}"]
    described = (line.partition(":") for line in of_first)
    told = [f"{key.strip()}={value.strip()}" for key, _, value in described if key.strip() in _CPU_KEYS]
    # How many threads there are is told by torch, whoever set it.
    own = [name for name in os.environ if name.startswith(_LIBRARIES) and not name.endswith("_THREADS")]
    variables = [f"{name}={os.environ[name]}" for name in own]
    return (*told, *sorted(variables))
