"""The hospitals of a run by name, over a Flower grid.

Flower knows nodes by numbers that change from run to run; here everything has a hospital's name. What is left out on
purpose: who is there (see `introductions`), and what they are asked (see `strategy_steps`, `sums`).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

from wardround.errors import WardroundError
from wardround.exact_sums import FixedSum
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.secagg import Roster

__all__ = ["HospitalLink", "SummingGrid"]

_log = logging.getLogger(__name__)


@runtime_checkable
class SummingGrid(Protocol):
    """A grid whose workers add up the weighted arrays themselves."""

    def send_and_sum(self, messages: Sequence[Message]) -> tuple[list[Message], FixedSum]:
        """Return the replies without arrays, and the exact sum of their weighted arrays."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalLink:
    """A grid with the hospitals' names; made by `introductions.connect`.

    Attributes:
        grid: where they are.
        node_of: node ids by hospital.
        name_of: hospitals by node id.
        profiles: what each says of itself, in name order.
        measures: what was measured of simulated hospitals, by name.
        roster: of real sites, which measure nothing for others, and of which one that fails is left out; None of
            simulated hospitals.
        left_out: by site or node, why it is not in the run.
        timeout_seconds: that a site's reply is waited for; None waits for ever, as for simulated hospitals.
    """

    grid: Grid
    node_of: Mapping[str, int]
    name_of: Mapping[int, str]
    profiles: tuple[HospitalProfile, ...]
    measures: Mapping[str, ProfileMeasures] = field(default_factory=dict)
    roster: Roster | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None

    @property
    def are_sites(self) -> bool:
        """Whether they are sites of their own, with keys in a roster; else they simulate hospitals."""
        return self.roster is not None

    def sender_of(self, reply: Message) -> str:
        """Return whose reply it is."""
        return self.name_of[reply.metadata.src_node_id]

    def answered(self, replies: Iterable[Message]) -> list[Message]:
        """Return the replies in the order of names, none of which may be an error.

        Raises:
            WardroundError: a hospital's app failed; the message names it and gives its reason.
        """
        replies = sorted(replies, key=self.sender_of)
        for reply in replies:
            if reply.has_error():
                raise WardroundError(
                    f"hospital {self.sender_of(reply)} failed: {reply.error.reason} (committed rounds are kept: mend "
                    "it and resume, which charges this round again; other settings need a new run)"
                )
        return replies

    def named(self, drops: Mapping[int, str]) -> dict[str, str]:
        """Return by name which real sites dropped out and why, and log it; simulated ones vanish as they were told."""
        named = {self.name_of[node_id]: reason for node_id, reason in sorted(drops.items())} if self.are_sites else {}
        for name, reason in named.items():
            _log.warning("site %s drops out at %s", name, reason)
        return named
