"""Hospitals that take turns, noise at the server that cancels itself: the clipped update is sent as it is."""

from wardround.clients.cells.hospital_central import HospitalCentral

__all__ = ["HOSPITAL_CORRELATED"]

HOSPITAL_CORRELATED = HospitalCentral("hospital-correlated")
