"""What a hospital refuses to do: anything but what its own settings say.

A server that clipped or sampled one hospital otherwise than the rest could tell its update from their sum; one that
asked for less noise would get less than was charged. So the whole assignment is computed from the hospital's own
settings and public numbers, and each field of the server's is compared with it; so are the bounds of a secure sum.
What is left out on purpose: what a real site has spent (see `site_rounds`), and refusing a model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from wardround.agreed.cohorts import draw_cohort
from wardround.agreed.contributions import assignment_for, sensitivity_in, shape_in
from wardround.agreed.schedules import schedule_of
from wardround.config import Config
from wardround.errors import ConfigError, Refusal
from wardround.privacy.cells import Cell, cell_of
from wardround.privacy.ranges import LARGEST_CLIP, LARGEST_NOISE, SMALLEST_CLIP
from wardround.rounds import Assignment
from wardround.secagg import Terms, is_weighted
from wardround.step_events import EventShape

__all__ = ["Part", "check_assignment", "check_sum"]


@dataclass(frozen=True, kw_only=True)  # without slots, which leave no room for what is computed once
class Part:
    """A hospital's part in the rounds, as it computes it for itself.

    Attributes:
        config: its own settings.
        num_train: its training records (>= 1).
        names: that cohorts are drawn from: of its roster, or of all simulated hospitals.
        num_parameters: of its own model (>= 1).
        num_records: training records of all hospitals, where [federation] max-records does not bound them.
        first_round: 1, or 0 of the release before it.
    """

    config: Config
    hospital_id: str
    num_train: int
    names: tuple[str, ...]
    num_parameters: int
    num_records: int = 0
    first_round: int = 1

    @cached_property
    def cell(self) -> Cell:
        """What is protected, and how."""
        return cell_of(self.config.privacy)

    @cached_property
    def shape(self) -> EventShape:
        """What a billed step of it is."""
        shape = shape_in(
            self.cell,
            self.config,
            num_hospitals=len(self.names),
            num_records=self.num_records,
            num_parameters=self.num_parameters,
            num_shares=self.config.aggregation.honest_survivors,
        )
        return shape.at_rate(self.cell.billed(schedule_of(self.config, self.num_train))[1])

    def of(self, hospital_id: str) -> "Part":
        """Return the part of another hospital with as many records; what was computed for this one is its, too."""
        other = replace(self, hospital_id=hospital_id)
        vars(other).update(vars(self) | vars(other))
        return other

    def takes_part_in(self, round_number: int) -> bool:
        """Return whether there is such a round, and the hospital is drawn for it."""
        is_planned = 0 <= round_number - self.first_round < self.config.training.num_rounds
        return is_planned and self.hospital_id in draw_cohort(self.config, self.names, round_number)


def check_assignment(assignment: Assignment, part: Part) -> None:
    """Refuse another hospital's assignment, which would draw that one's noise, and one that is not as the settings say.

    Raises:
        Refusal: naming the value that is wrong.
    """
    if assignment.hospital_id != part.hospital_id:
        raise Refusal(f"the assignment is hospital {assignment.hospital_id}'s, and this is {part.hospital_id}")
    for rule in _broken_rules(assignment, part):
        name = rule.split(" ", 1)[0]
        asked = dict(_values(assignment))[name]
        raise Refusal(f"the assignment's {rule}, not {asked}: nothing was trained")
    own = _own_assignment(assignment, part)
    if assignment == own:
        return
    for (name, asked), (_, value) in zip(_values(assignment), _values(own), strict=True):
        if name == "sensitivity" and asked is None:
            asked = assignment.max_grad_norm
        if not _same(asked, value):
            raise Refusal(
                f"the assignment's {name} = {asked}, and this hospital's settings say {value}: nothing was trained"
            )


def check_sum(config: Config, terms: Terms, assignment: Assignment | None, *, agreed: bytes) -> None:
    """Refuse a secure sum of other settings, payload or bounds than the hospital's own.

    Bounds that hang on the sizes of other hospitals are held where [federation] max-records is set, by which a hospital
    knows them: always between real sites.

    Args:
        config: the hospital's own settings.
        terms: that the server proposes.
        assignment: None before the hospital is asked to train.
        agreed: digest of the settings (`identity.agreed_digest`).

    Raises:
        Refusal: naming the value that is wrong; it depends on no record.
    """
    if terms.settings_digest != agreed:
        raise Refusal("the server's settings are not this hospital's: give both the same settings")
    cell, most_records = cell_of(config.privacy), config.federation.max_records
    wanted: dict[str, object] = {"payload": cell.payload}
    if not is_weighted(cell.payload):
        wanted |= {"max_update": 0.0, "max_weight": 0.0}
    elif most_records is not None:
        wanted["max_weight"] = cell.vector_weight(most_records)
        bound = _own_bound(config, most_records, assignment)
        if bound is not None:
            wanted["max_update"] = cell.bound_beside(bound, terms.max_update)
    for name, own in wanted.items():
        asked = getattr(terms, name)
        if not _same(asked, own):
            raise Refusal(f"the terms' {name} = {asked}, and this hospital's settings say {own}: nothing is sent")


def _own_bound(config: Config, most_records: int, assignment: Assignment | None) -> float | None:
    """Return the bound of what is sent; None where it hangs on a clip that is not known yet."""
    privacy, cell = config.privacy, cell_of(config.privacy)
    if assignment is None and privacy.adaptive_clipping:
        return None
    clip = privacy.max_grad_norm
    noise_multiplier = privacy.noise_multiplier or 0.0
    if assignment is not None:
        noise_multiplier = assignment.event.noise_multiplier
        clip = float(assignment.max_grad_norm or 0.0) if privacy.adaptive_clipping else clip
    by_clip = cell.update_bound(
        most_records=most_records,
        sensitivity=sensitivity_in(cell, config, clip),
        noise_multiplier=noise_multiplier,
    )
    return config.aggregation.max_update if by_clip is None else by_clip


def _own_assignment(asked: Assignment, part: Part) -> Assignment:
    """Return the assignment that the hospital's own settings make, where the server decides some of the noise alone."""
    config, cell, most_records = part.config, part.cell, part.config.federation.max_records
    # Without max-records it hangs on the sizes of the others in the round.
    largest = part.num_train / asked.contribution if most_records is None else most_records
    try:
        return assignment_for(
            config,
            part.shape,
            hospital_id=part.hospital_id,
            num_train=part.num_train,
            round_number=asked.round_number,
            noise_multiplier=asked.event.noise_multiplier if cell.is_private else 0.0,
            weight=asked.weight,
            contribution=cell.contribution(part.num_train, largest),
            # It follows the quantile, and the noise follows it.
            max_grad_norm=asked.max_grad_norm if config.privacy.adaptive_clipping else None,
            attempt=asked.attempt,
        )
    except ConfigError as error:
        raise Refusal(f"the assignment can't be carried out: {error}") from None


def _broken_rules(assignment: Assignment, part: Part) -> Iterator[str]:
    privacy, clip, asked = part.config.privacy, assignment.max_grad_norm, assignment.event.noise_multiplier
    # Re-planning at the budget raises the noise; a target epsilon sets one for each hospital.
    least = privacy.noise_multiplier or 0.0
    is_clip = clip is not None and SMALLEST_CLIP <= clip <= LARGEST_CLIP
    first = part.first_round
    last = first + part.config.training.num_rounds - 1
    if not part.takes_part_in(assignment.round_number):
        yield f"round_number must be one of {first} to {last} that {part.hospital_id} is drawn for"
    if not assignment.attempt >= 1:
        yield "attempt must be >= 1"
    if not 0 < assignment.weight <= 1:
        yield "weight must be in (0, 1]"
    if not 0 < assignment.contribution <= 1:
        yield "contribution must be in (0, 1]"
    if not least <= asked <= LARGEST_NOISE:
        yield f"noise_multiplier must be >= {least} and <= {LARGEST_NOISE:g}"
    if asked == 0 and privacy.target_epsilon is not None:
        yield "noise_multiplier must be > 0 with a target epsilon"
    if privacy.adaptive_clipping and not is_clip:
        yield f"max_grad_norm must be >= {SMALLEST_CLIP:g} and <= {LARGEST_CLIP:g}"


def _values(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values of all fields, also of the records within."""
    for item in fields(record):
        value = getattr(record, item.name)
        if is_dataclass(value):
            yield from _values(value)
        else:
            yield item.name, value


def _same(asked: object, own: object) -> bool:
    if isinstance(asked, float) and isinstance(own, float):
        return math.isclose(asked, own, rel_tol=1e-9)
    return asked == own
