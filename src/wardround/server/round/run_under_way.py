"""A run that is under way: what stays the same from round to round."""

from dataclasses import dataclass

from wardround.secagg import Roster
from wardround.server.record.commits import KeptRun
from wardround.server.round.evaluating import Measuring
from wardround.server.round.hospitals import HospitalLink
from wardround.streams import Source

__all__ = ["RunUnderWay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUnderWay(KeptRun):
    """What stays the same from round to round.

    Attributes:
        link: to the hospitals.
        measuring: what models are measured by.
        source: of the server's noise.
        roster: with whom rounds are summed by secure aggregation; None where another protocol is set.
    """

    link: HospitalLink
    measuring: Measuring
    source: Source
    roster: Roster | None
