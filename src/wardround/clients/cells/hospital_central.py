"""Hospitals, noise at the server: the clipped update is sent as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from wardround.clients.cells.whole_updates import WholeUpdates
from wardround.clients.closed_form.portions import numbers_at_a_time
from wardround.clients.steps import Counts, LocalRound
from wardround.exact_sums import Arrays
from wardround.privacy.clipping import clip_factors
from wardround.rounds import Assignment
from wardround.streams import Key

__all__ = ["HospitalCentral"]

_MOST_FLOATS = 2**17
"""Numbers that are shortened at a time, so that they stay in the processor's caches."""


@dataclass(frozen=True, slots=True)
class HospitalCentral(WholeUpdates):
    """A clipped update."""

    def send(self, before: Arrays, clipped: Arrays, assignment: Assignment, key: Key) -> tuple[Arrays, float | None]:
        """Return the update in float32."""
        return {name: array.astype(np.float32, copy=False) for name, array in clipped.items()}, None

    def leave_together(
        self,
        received: Sequence[Tensor],
        made: Sequence[Tensor],
        locals_: Sequence[LocalRound],
        counts: Sequence[Counts],
    ) -> tuple[Sequence[Tensor], Sequence[Counts]] | None:
        """Return the updates, each clipped as `privacy.clipping.clip_update` does it, with the same bound.

        Norms are in float64, of the float32 numbers that are shortened, and so are products, which are rounded once.
        """
        if any(local.assignment.adaptive_clipping for local in locals_):
            return None  # whose count travels along
        updates = [after - before for before, after in zip(received, made, strict=True)]
        flat = [update.view(len(update), -1) for update in updates]
        norms = torch.stack([torch.linalg.vector_norm(each, dim=1, dtype=torch.float64) for each in flat])
        clips = np.array([local.clip for local in locals_])
        factors, is_finite = clip_factors(torch.linalg.vector_norm(norms, dim=0).cpu().numpy(), clips)
        on_device = torch.from_numpy(factors).to(norms.device)
        for each in flat:
            if not is_finite.all():
                each[~torch.from_numpy(is_finite).to(norms.device)] = 0.0  # 0 * nan is nan
            _shorten(each, on_device)
        pairs = zip(counts, is_finite.tolist(), strict=True)
        return updates, [replace(each, num_scrubbed=each.num_scrubbed + (not kept)) for each, kept in pairs]


def _shorten(rows: Tensor, factors: Tensor) -> None:
    """Multiply rows (hospitals, p) by factors (hospitals,) in place."""
    size = max(1, numbers_at_a_time(rows.device, _MOST_FLOATS) // len(rows))
    for start in range(0, rows.shape[1], size):
        some = rows[:, start : start + size]
        some.copy_(some.double().mul_(factors[:, None]))
