"""Hospitals, noise at the server: it adds up the clipped updates times their weights, and adds Gaussian noise once.

Zeroing a hospital out moves the sum by its weight times one clip, so by the largest weight of those who answered at
most. The bill is that of one Gaussian release, against whoever does not see the sum before its noise.
"""

from dataclasses import dataclass

from wardround.privacy.cells.server_noise import ServerNoise
from wardround.privacy.cells.whole_updates import WholeUpdates

__all__ = ["HospitalCentral"]


@dataclass(frozen=True)
class HospitalCentral(ServerNoise, WholeUpdates):
    """A clipped update (`WholeUpdates`), with noise by the server (`ServerNoise`)."""

    name = "hospital-central"
    mechanism = "gaussian"
    adapts_clip = True
    sent = "the hospital's clipped update"
