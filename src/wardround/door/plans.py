"""Who would pay what, before any training."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wardround.datasets import Federation
from wardround.door.given import Settings, settings_of, with_objects
from wardround.door.html import shown_in_notebook
from wardround.json_records import json_values
from wardround.reports.terminal import print_plan
from wardround.server.plan.alternatives import PlacementRow, compare_placements, plan_notes
from wardround.server.plan.plans import FederationPlan
from wardround.simulations import prepared

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Plan:
    """What a run would spend.

    Attributes:
        planned: every hospital's part.
    """

    planned: FederationPlan

    @property
    def frame(self) -> "pd.DataFrame":
        """One row a hospital: its records, sample_rate, num_steps, num_rounds, noise_multiplier, delta and epsilon."""
        import pandas as pd

        return pd.DataFrame(self.planned.rows()).set_index("hospital")

    @property
    def placements(self) -> "pd.DataFrame":
        """One row a unit and placement: what it takes to spend the same epsilon there, and against whom it holds.

        Noise multipliers are the smallest and the largest of the hospitals'; `epsilon_server`, `epsilon_hospital` and
        `epsilon_recipient` are infinite for readers whom nothing is hidden from.
        """
        import pandas as pd

        rows = compare_placements(self.planned).items()
        return pd.DataFrame([{"unit": unit} | _flat(row) for unit, of in rows for row in of])

    @property
    def epsilon_max(self) -> float:
        """Largest epsilon of a hospital after all rounds; infinite without privacy."""
        return self.planned.epsilon_max

    @property
    def epsilon_total(self) -> float:
        """Epsilon of a patient in as many hospitals as [privacy] patient-overlap says."""
        return self.planned.epsilon_total

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on where the plan protects less, or learns less, than one may think."""
        return plan_notes(self.planned)

    def __repr__(self) -> str:
        """Return one line: how many hospitals, and what they spend."""
        of = f"{len(self.planned.hospitals)} hospitals, {self.planned.config.training.num_rounds} rounds"
        return f"Plan({of}, epsilon {self.epsilon_total:.4g})"

    def _repr_html_(self) -> str:
        return shown_in_notebook(lambda console: print_plan(self.planned, console))


def _flat(row: PlacementRow) -> dict[str, Any]:
    """Return a placement's figures in the cells of a table."""
    told = json_values(row)
    readers, (least, most) = told.pop("readers"), told.pop("noise_multiplier") or (math.nan, math.nan)
    epsilon, reason = told.pop("epsilon"), told.pop("reason")
    by_reader = {f"epsilon_{name}": math.inf if kind == "inf" else epsilon for name, kind in readers.items()}
    return told | by_reader | {"noise_multiplier_min": least, "noise_multiplier_max": most, "reason": reason}


def plan(
    config: Settings = None,
    *,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
) -> Plan:
    """Return noise and epsilon by hospital, before any training; arguments are those of `run`.

    Raises:
        WardroundError: whatever `run` would refuse before its first round.
    """
    settings = with_objects(settings_of(config), federation=federation, model=model, strategy=strategy)
    return Plan(prepared.plan(settings))
