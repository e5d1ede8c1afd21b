"""Hospitals that take turns, noise at the server that cancels itself: the clipped update is sent as it is."""

from wardround.clients.cells.hospital_central import HospitalCentral

__all__ = ["HospitalCorrelated"]


class HospitalCorrelated(HospitalCentral):
    """A clipped update."""
