"""Hospitals that take turns, noise at the server that cancels itself: the clipped update is sent as it is."""

from dataclasses import dataclass

from wardround.clients.cells.hospital_central import HospitalCentral

__all__ = ["HOSPITAL_CORRELATED", "HospitalCorrelated"]


@dataclass(frozen=True, slots=True)
class HospitalCorrelated(HospitalCentral):
    """A clipped update."""


HOSPITAL_CORRELATED = HospitalCorrelated("hospital-correlated")
