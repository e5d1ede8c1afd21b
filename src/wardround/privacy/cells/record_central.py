"""Records, noise at the server: it adds up the hospitals' clipped gradient sums and adds Gaussian noise once.

The bill is that of one Poisson-subsampled Gaussian step, against whoever does not see the sum before its noise: the
other hospitals, and whoever receives the model.
"""

from dataclasses import dataclass

from wardround.privacy.cells.gradient_sums import GradientSums
from wardround.privacy.cells.server_noise import ServerNoise

__all__ = ["RecordCentral"]


@dataclass(frozen=True)
class RecordCentral(ServerNoise, GradientSums):
    """One gradient sum a round (`GradientSums`), with noise by the server (`ServerNoise`)."""

    name = "record-central"
    mechanism = "poisson-subsampled-gaussian"
    sent = "the sum of a Poisson batch's clipped gradients, one for each {unit}"
