"""What an attack found out, measured: who refused what, and how far what the server has is from the truth."""

from dataclasses import dataclass

__all__ = ["MOST_ERROR", "Finding", "Learnt", "Refused"]

MOST_ERROR = 0.5
"""An error from which on nothing is said to be learnt; whoever knows nothing, and says 0, has an error of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A hospital that answered a stage with an error.

    Attributes:
        node_id: of the hospital.
        stage: that it was asked for.
        reason: as the server reads it.
    """

    node_id: int
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a server has in the end that it should not have.

    Attributes:
        what: in words, such as "the update of node 2 by itself".
        error: distance to the truth divided by the truth's length (L2), from 0; of what is right or wrong number by
            number, twice the share that is wrong.
        num_numbers: how many numbers it is (>= 1).
    """

    what: str
    error: float
    num_numbers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one attack.

    Attributes:
        attack: its name.
        protocol: that the app has, with the version of its library.
        tried: what the server did, in words.
        refused: every refusal, in their order.
        learnt: the most that the server has; None where it has nothing to compare with the truth.
        must_refuse: what a hospital has to refuse, so that the attack gets nothing.
    """

    attack: str
    protocol: str
    tried: str
    refused: tuple[Refused, ...]
    learnt: Learnt | None
    must_refuse: str

    @property
    def fell(self) -> bool:
        """Whether the server learnt something (an error below `MOST_ERROR`)."""
        return self.learnt is not None and self.learnt.error < MOST_ERROR

    @property
    def answered(self) -> bool:
        """Whether every hospital answered all that it was asked."""
        return not self.refused

    def __str__(self) -> str:
        """Return a few lines that say what was tried, what came of it, and what to do."""
        lines = [f"{self.attack} on {self.protocol}: {'FELL' if self.fell else 'stands'}", f"  tried: {self.tried}"]
        if self.learnt is not None:
            numbers = f"{self.learnt.num_numbers} numbers, relative error {self.learnt.error:.2g}"
            lines.append(f"  the server has: {self.learnt.what} ({numbers}; 1 is what knowing nothing gives)")
        if self.answered:
            lines.append("  refused: nothing; every hospital answered all that it was asked")
        else:
            first = self.refused[0]
            num = f"{len(self.refused)} message{'s' if len(self.refused) > 1 else ''}"
            lines.append(f'  refused: {num}; first node {first.node_id} at "{first.stage}":')
            lines.append(f"    {first.reason.strip()}")
        if self.fell:
            lines.append(f"  a hospital has to refuse: {self.must_refuse}")
        return "\n".join(lines)
