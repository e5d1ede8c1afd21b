"""Torch's half of every cell, one file each; the other half, all that needs no torch, is in `privacy.cells`."""

from collections.abc import Mapping
from types import MappingProxyType

from wardround.clients.cells.half import TorchHalf
from wardround.clients.cells.hospital_central import HOSPITAL_CENTRAL
from wardround.clients.cells.hospital_correlated import HOSPITAL_CORRELATED
from wardround.clients.cells.hospital_distributed import HOSPITAL_DISTRIBUTED
from wardround.clients.cells.hospital_local import HOSPITAL_LOCAL
from wardround.clients.cells.none import NONE
from wardround.clients.cells.record_central import RECORD_CENTRAL
from wardround.clients.cells.record_distributed import RECORD_DISTRIBUTED
from wardround.clients.cells.record_local import RECORD_LOCAL
from wardround.privacy.cells import cell_named

__all__ = ["TORCH_HALVES", "TorchHalf", "torch_half"]

_HALVES = (
    NONE,
    RECORD_LOCAL,
    RECORD_DISTRIBUTED,
    RECORD_CENTRAL,
    HOSPITAL_LOCAL,
    HOSPITAL_DISTRIBUTED,
    HOSPITAL_CENTRAL,
    HOSPITAL_CORRELATED,
)
TORCH_HALVES: Mapping[str, TorchHalf] = MappingProxyType({half.name: half for half in _HALVES})
"""By the cell's name; `privacy.cells.CELLS` has the same names."""


def torch_half(name: str) -> TorchHalf:
    """Return torch's half of a cell.

    Raises:
        ProtocolError: there is no such cell.
    """
    return TORCH_HALVES[cell_named(name).name]
