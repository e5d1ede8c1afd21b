"""Whether a hospital did what it was assigned, and so charged."""

from wardround.errors import ProtocolError
from wardround.privacy.cells import cell_named
from wardround.rounds import Assignment, Execution

__all__ = ["check_execution"]


def check_execution(assignment: Assignment, execution: Execution) -> None:
    """Compare what was executed with what was assigned, and so charged.

    Raises:
        ProtocolError: a figure differs; the message names it, and both values.
    """
    draws = cell_named(assignment.event.cell).num_noise_draws(assignment)
    wanted = {
        "hospital_id": assignment.hospital_id,
        "round_number": assignment.round_number,
        "num_steps": assignment.schedule.num_steps,
        "sample_rate": assignment.schedule.sample_rate,
        "num_noise_draws": draws,
        "noise_multiplier": assignment.event.noise_multiplier if draws else 0.0,
    }
    for name, value in wanted.items():
        done = getattr(execution, name)
        same = abs(done - value) <= 1e-9 * abs(value) if isinstance(value, float) else done == value
        if not same:
            raise ProtocolError(
                f"hospital {assignment.hospital_id} executed {name} = {done} in round {assignment.round_number}, "
                f"but {value} was planned and charged: its update is refused"
            )
