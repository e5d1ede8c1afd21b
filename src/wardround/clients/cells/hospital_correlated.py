"""Hospitals that take turns, noise at the server that cancels itself: the clipped update is sent as it is."""

from dataclasses import dataclass
from typing import ClassVar

from wardround.clients.cells.hospital_central import HospitalCentral

__all__ = ["HOSPITAL_CORRELATED", "HospitalCorrelated"]


@dataclass(frozen=True)
class HospitalCorrelated(HospitalCentral):
    """A clipped update."""

    __slots__ = ()
    name: ClassVar[str] = "hospital-correlated"


HOSPITAL_CORRELATED = HospitalCorrelated()
"""The one of its kind."""
