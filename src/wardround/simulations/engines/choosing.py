"""Which engine `engine = "auto"` means: by settings and sizes alone, so that a job has one answer on every machine.

This process trains the hospitals of a round in one program, or one by one where they can't be joined; workers of Ray
share out what is too much for one processor, and take seconds to start. Left out on purpose: the machine. Bits hang on
the engine, and a job is to end in the same ones wherever it runs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from wardround.config import Config
from wardround.server.plan.plans import FederationPlan

__all__ = ["Choice", "choose_engine", "estimated_seconds", "named_engine"]

_WORTH_WORKERS = 30.0
"""Seconds of one processor above which starting workers pays: two of them halve it, and take some 10 s to start."""

_OF_ROWS = ("logistic", "mlp")
"""Models that take a record as one row of numbers, whatever its shape."""
_JOINED_MODELS = (*_OF_ROWS, "lstm", "transformer")
_SECONDS_A_MESSAGE = {True: 5e-4, False: 4.0e-3}
_SECONDS_A_STEP = {True: 5e-5, False: 1.8e-3}
_SECONDS_A_NUMBER, _SECONDS_A_PLACE = 5e-9, 4e-6
_SECONDS_A_MULTIPLICATION = {"lstm": 1.7e-9, "transformer": 6e-10, "an image's": 2e-10, "another": 5e-10}
"""Of one processor of 2026, by rounds on `stacked`; a sequence's products are small, those of images are large."""


class Choice(NamedTuple):
    """An engine by name, and a clause that says why."""

    engine: str
    reason: str


def named_engine(config: Config) -> Choice | None:
    """Return the engine that the settings name, by what only Ray has, or by a GPU; None where sizes decide."""
    settings = config.simulation
    if settings.engine != "auto":
        return Choice(settings.engine, "it is named")
    if settings.num_workers is not None:
        return Choice("ray", f"num-workers = {settings.num_workers} is set")
    if settings.gpus_per_worker:
        return Choice("ray", f"gpus-per-worker = {settings.gpus_per_worker:g} is set")
    if config.training.device == "cuda":
        return Choice("stacked", "a GPU trains the hospitals of a round together")
    return None


def choose_engine(config: Config, planned: FederationPlan, input_shape: Sequence[int]) -> Choice:
    """Return the engine of a run: the one that is named, or what "auto" means for it.

    Args:
        config: all settings.
        planned: of the run: schedules, rounds and the size of the model.
        input_shape: shape of one record, (d,), (steps, features) or (channels, height, width).
    """
    if named := named_engine(config):
        return named
    seconds = estimated_seconds(config, planned, input_shape)
    taken = f"training takes {_rounded(seconds)} of one processor"
    if seconds <= _WORTH_WORKERS:
        return Choice("stacked", f"{taken}, too little for workers to pay")
    if len(planned.hospitals) == 1:
        return Choice("stacked", "workers have nothing to share out with one hospital")
    return Choice("ray", f"{taken}, which workers share out")


def estimated_seconds(config: Config, planned: FederationPlan, input_shape: Sequence[int]) -> float:
    """Return what training and testing takes one processor in this process, in seconds; within a factor of some two.

    A row costs by its numbers and a multiplication for each parameter. Any other record costs by its places, and a
    multiplication for each parameter at each: every step of a sequence, every sixteenth point of an image, whose size
    convolutional models halve as they go. Hospitals that train together fill up batches to three standard deviations.
    """
    is_joined, a_record = _is_joined(config), _seconds_a_record(config.model.name, planned.num_parameters, input_shape)
    seconds = 0.0
    for hospital in planned.hospitals:
        size = hospital.schedule.sample_rate * hospital.num_train
        num_records = size + 3 * math.sqrt(size) * is_joined
        a_step = _SECONDS_A_STEP[is_joined] + num_records * a_record
        seconds += hospital.num_participations * (_SECONDS_A_MESSAGE[is_joined] + hospital.schedule.num_steps * a_step)
    return seconds


def _seconds_a_record(model: str, num_parameters: int, input_shape: Sequence[int]) -> float:
    if len(input_shape) == 1 or model in _OF_ROWS:
        return math.prod(input_shape) * _SECONDS_A_NUMBER + num_parameters * _SECONDS_A_MULTIPLICATION["another"]
    is_image = len(input_shape) == 3
    places = max(1.0, math.prod(input_shape[1:]) / 16 if is_image else float(input_shape[0]))
    kind = model if model in _SECONDS_A_MULTIPLICATION else "an image's" if is_image else "another"
    return places * (_SECONDS_A_PLACE + num_parameters * _SECONDS_A_MULTIPLICATION[kind])


def _is_joined(config: Config) -> bool:
    """Return whether hospitals that train in one program save most of what a message and a step cost beside records."""
    is_plain = config.aggregation.protocol != "secagg+" and ":" not in config.aggregation.strategy
    return is_plain and config.privacy.microbatch_size == 1 and config.model.name in _JOINED_MODELS


def _rounded(seconds: float) -> str:
    if seconds < 1:
        return "under a second"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:,.0f} min"
