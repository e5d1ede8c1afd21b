"""Hospitals, noise at the server: it adds up the clipped updates times their weights, and adds Gaussian noise once.

Zeroing a hospital out moves the sum by its weight times one clip, so by the largest weight of those who answered at
most. The bill is that of one Gaussian release, against whoever does not see the sum before its noise.
"""

from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.server_noise import ServerNoise, server_words
from wardround.privacy.cells.whole_updates import WholeUpdates
from wardround.privacy.cells.words import PlainWords

__all__ = ["HOSPITAL_CENTRAL", "HospitalCentral"]


@dataclass(frozen=True)
class HospitalCentral(ServerNoise, WholeUpdates):
    """A clipped update, with noise by the server."""

    __slots__ = ()
    name: ClassVar[str] = "hospital-central"
    mechanism: ClassVar[str] = "gaussian"
    adapts_clip: ClassVar[bool] = True
    plain_words: ClassVar[PlainWords] = server_words("the hospital's clipped update")


HOSPITAL_CENTRAL = HospitalCentral()
"""The one of its kind."""
