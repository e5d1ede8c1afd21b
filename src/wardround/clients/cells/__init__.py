"""Torch's half of every cell, a file each; the other half, all that needs no torch, is in `privacy.cells`."""

from collections.abc import Mapping
from types import MappingProxyType

from wardround.clients.cells.half import TorchHalf
from wardround.clients.cells.hospital_central import HospitalCentral
from wardround.clients.cells.hospital_correlated import HospitalCorrelated
from wardround.clients.cells.hospital_distributed import HospitalDistributed
from wardround.clients.cells.hospital_local import HospitalLocal
from wardround.clients.cells.none import NoPrivacy
from wardround.clients.cells.record_central import RecordCentral
from wardround.clients.cells.record_distributed import RecordDistributed
from wardround.clients.cells.record_local import RecordLocal
from wardround.privacy.cells import cell_named

__all__ = ["TORCH_HALVES", "TorchHalf", "torch_half"]

TORCH_HALVES: Mapping[str, TorchHalf] = MappingProxyType(
    {
        "none": NoPrivacy(),
        "record-local": RecordLocal(),
        "record-distributed": RecordDistributed(),
        "record-central": RecordCentral(),
        "hospital-local": HospitalLocal(),
        "hospital-distributed": HospitalDistributed(),
        "hospital-central": HospitalCentral(),
        "hospital-correlated": HospitalCorrelated(),
        "record-local-microbatches": RecordLocal(),
        "record-central-microbatches": RecordCentral(),
    }
)
"""By the cell's name; `privacy.cells.CELLS` has the same names."""


def torch_half(name: str) -> TorchHalf:
    """Return torch's half of a cell.

    Raises:
        ProtocolError: there is no such cell.
    """
    return TORCH_HALVES[cell_named(name).name]
