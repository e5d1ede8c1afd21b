"""Records, noise at the server: it adds up the hospitals' clipped gradient sums and adds Gaussian noise once.

The bill is that of one Poisson-subsampled Gaussian step, against whoever does not see the sum before its noise: the
other hospitals, and whoever receives the model.
"""

from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.gradient_sums import GradientSums
from wardround.privacy.cells.server_noise import ServerNoise, server_words
from wardround.privacy.cells.words import PlainWords

__all__ = ["RECORD_CENTRAL", "RecordCentral"]


@dataclass(frozen=True)
class RecordCentral(ServerNoise, GradientSums):
    """One gradient sum a round, with noise by the server."""

    __slots__ = ()
    name: ClassVar[str] = "record-central"
    mechanism: ClassVar[str] = "poisson-subsampled-gaussian"
    plain_words: ClassVar[PlainWords] = server_words(
        "the sum of a Poisson batch's clipped gradients, one for each {unit}"
    )


RECORD_CENTRAL = RecordCentral()
"""The one of its kind."""
