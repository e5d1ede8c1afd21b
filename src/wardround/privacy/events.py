"""Events of a hospital added up, and what they are to an accountant: each asked of its cell.

Left out on purpose: what they cost together (see `accounting`).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from wardround.privacy.cells import cell_named
from wardround.step_events import StepEvent

__all__ = ["event_against", "merged"]


def merged(events: Iterable[StepEvent]) -> tuple[StepEvent, ...]:
    """Return the events of equal kind added up, those without steps left out, in a fixed order."""
    found = tuple(events)
    if len(found) == 1:  # of one hospital, which is asked for every hospital in every round
        return found if found[0].num_steps else ()
    steps: defaultdict[StepEvent, int] = defaultdict(int)
    for event in found:
        steps[event.kind] += event.num_steps
    return tuple(replace(kind, num_steps=count) for kind, count in sorted(steps.items()) if count)


def event_against(event: StepEvent, reader: str) -> StepEvent:
    """Return the steps as a reader sees them, who may know part of the noise or see the sum without it."""
    left = cell_named(event.cell).noise_against(reader, event.noise_multiplier, max(1, event.num_shares))
    return replace(event, noise_multiplier=left)
