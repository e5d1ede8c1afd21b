"""What only the starter of a run can tell, for its ledger and its summary: where it is made, of what model and data."""

from dataclasses import dataclass

from wardround.json_records import json_field

__all__ = ["RunFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What only the starter of a run can tell, for its summary; what it can't tell either is None.

    Attributes:
        notes: sentences on the data and the model.
        class_names: of the data.
        dates: of the first and the last committed round, UTC.
        device: that hospitals train on.
        engine: that runs them.
        excluded: hospitals of the data that are not in the run, and why.
        grad_sample_mode: how gradients of single records are computed.
        grad_sample_reason: why so.
        model_changes: what was changed of the model that was asked for.
        noise: where it is drawn from: "seeded" or "system".
        num_parameters: the model's.
        num_workers: of the engine.
        partition: how the records were split.
        stopped_because: why the run stopped at its budget.
        task: "classification", "regression" or "survival".
    """

    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = json_field(default=None, is_left_out=True)
    dates: tuple[str, ...] | None = json_field(default=None, is_left_out=True)
    device: str | None = json_field(default=None, is_left_out=True)
    engine: str | None = json_field(default=None, is_left_out=True)
    excluded: tuple[str, ...] | None = json_field(default=None, is_left_out=True)
    grad_sample_mode: str | None = json_field(default=None, is_left_out=True)
    grad_sample_reason: str | None = json_field(default=None, is_left_out=True)
    model_changes: tuple[str, ...] | None = json_field(default=None, is_left_out=True)
    noise: str | None = json_field(default=None, is_left_out=True)
    num_parameters: int | None = json_field(default=None, is_left_out=True)
    num_workers: int | None = json_field(default=None, is_left_out=True)
    partition: str | None = json_field(default=None, is_left_out=True)
    stopped_because: str | None = json_field(default=None, is_left_out=True)
    task: str | None = json_field(default=None, is_left_out=True)
