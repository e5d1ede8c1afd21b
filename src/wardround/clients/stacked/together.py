"""Which hospitals train in one program, and training them: as each would by itself, to the last bits of its sums.

Keys, samplers, what leaves and the check of what was executed are those of a hospital that trains by itself. A sum's
last bits depend on who is in the stack, since shapes do, so that a key holds a digest of all of them: two runs of which
one stacks a hospital and the other does not, or with others, draw from independent streams. What is left out on
purpose: everything that `apart_because` gives a reason for, which is trained one by one.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wardround.clients.cells import torch_half
from wardround.clients.closed_form.layers import floats_by_record, uncovered_because
from wardround.clients.closed_form.portions import numbers_at_a_time
from wardround.clients.float_products import products_in_float32
from wardround.clients.forwards import check_unwatched
from wardround.clients.hospital_sides import SideInRound
from wardround.clients.stacked.batches import block_rows
from wardround.clients.stacked.fixed_sums import add_weighted
from wardround.clients.stacked.programs import live_floats, unstacked_because
from wardround.clients.stacked.steps import STEPS_TOGETHER, Made
from wardround.clients.steps import Counts, LocalRound, Steps
from wardround.clients.tensors import HospitalTensors
from wardround.clients.training import LocalTrainer, Trained, trained_as_assigned
from wardround.digests import array_digest, digest_of
from wardround.errors import ConfigError, UpdateError
from wardround.exact_sums import Arrays, FixedSum, accumulate
from wardround.privacy.cells import cell_named
from wardround.rounds import Assignment

__all__ = ["Asked", "apart_because", "train_together"]

_AT_RANDOM = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_SMALL_BATCH = 8.0
_MOST_FLOATS = 2**22
"""Numbers of a stack that are worked on at a time: they stay in the processor's caches."""

_FEWEST_BY_PROGRAM = 4
"""Hospitals of which a program is run at a time; for fewer the records that fill up blocks cost more than is won."""
_SMALL_MODEL = 2**15
"""Parameters up to which a processor adds up many hospitals' in a few calls faster than one after the other."""

_CHEAP_FLOATS = 2**16
"""Numbers of padding that cost no more than a stack of one's own does, a millisecond of calls."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What one hospital is asked for.

    Attributes:
        tensors: its records.
        assignment: what it is assigned.
        proximal_mu: strength of FedProx' pull (>= 0).
        weight: with which what it sends enters a sum; None where it does not, or not with a weight.
        own: parameters that it begins from in place of those that all were sent.
    """

    tensors: HospitalTensors
    assignment: Assignment
    proximal_mu: float = 0.0
    weight: float | None = None
    own: Arrays = field(default_factory=dict)


def apart_because(
    trainer: LocalTrainer, tensors: HospitalTensors, assignment: Assignment, side: SideInRound | None
) -> str | None:
    """Return why a hospital has to train by itself, as a clause; None where it can train together with others."""
    half = torch_half(assignment.event.cell)
    if side is not None:
        return "the strategy has a part at the hospitals"
    if tensors.train_owners is not None:
        return "patients have several rows"
    if tensors.group_size > 1:
        return "records are clipped in groups"
    if trainer.device.type not in ("cpu", "cuda"):
        return f"training is on {trainer.device.type}"
    if half.steps is not Steps.PLAIN and trainer.training.grad_sample_mode != "auto":
        return f'the settings ask for grad-sample-mode = "{trainer.training.grad_sample_mode}"'
    if half.steps is not Steps.PLAIN and not (assignment.max_grad_norm or 0.0) > 0:
        return "there is no clip"
    if half.steps in (Steps.SUM, Steps.ROUNDED_SUM) and assignment.schedule.num_steps != 1:
        return "it is asked for another number of batches than one"
    if not (0 < assignment.schedule.sample_rate <= 1 and assignment.schedule.num_steps >= 1):
        return "its schedule is not one"
    return _odd_model(trainer, tensors, assignment)


def train_together(
    trainer: LocalTrainer, arrays: Arrays, asked: Sequence[Asked], total: FixedSum | None = None
) -> list[Trained]:
    """Return what each hospital sends, what it executed and what was measured, in the order in which they are asked.

    Each is as `LocalTrainer.train` makes it, to the rounding of float32; its seconds are its share of the steps' time.
    What goes into the total is sent by nobody: of who was added to it there are no arrays.

    Args:
        trainer: of all of them.
        arrays: parameters that all were sent.
        asked: hospitals that don't have to train by themselves (`apart_because`).
        total: the exact sum to which is added what hospitals with a weight send, where they leave nothing else; None
            where nothing is added up.

    Raises:
        UpdateError: the arrays don't fit the model.
        ProtocolError: what was executed is not what was assigned.
        ConfigError: something in the process looks on.
    """
    started = time.perf_counter()
    check_unwatched()
    stack = _digest(asked)
    locals_ = [
        trainer.local_round(
            arrays, each.tensors, each.assignment, proximal_mu=each.proximal_mu, own=each.own, stack=stack
        )
        for each in asked
    ]
    trained: dict[int, Trained] = {}
    for places, num_rows in _stacks(trainer, locals_):
        members = [locals_[place] for place in places]
        half = torch_half(members[0].assignment.event.cell)
        whole_batches = not cell_named(members[0].assignment.event.cell).clips_records
        trainer.begin(members[0].received, members[0].tensors, whole_batches=whole_batches)
        with torch.no_grad(), products_in_float32():
            made = STEPS_TOGETHER[half.steps](trainer, members, num_rows)
            weights = [asked[place].weight for place in places]
            left = _left(trainer, members, made, weights, total)
        seconds = (time.perf_counter() - started) / len(places)
        started = time.perf_counter()
        for place, local, (sent, counts) in zip(places, members, left, strict=True):
            trained[place] = trained_as_assigned(local, sent, counts, seconds)
    return [trained[place] for place in range(len(asked))]


def _left(
    trainer: LocalTrainer,
    members: Sequence[LocalRound],
    made: Made,
    weights: Sequence[float | None],
    total: FixedSum | None,
) -> list[tuple[Arrays, Counts]]:
    """Return what leaves each hospital, no arrays where these are in the total, and what it executed."""
    half = torch_half(members[0].assignment.event.cell)
    names = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    shares = [weight for weight in weights if weight is not None]
    pays = trainer.device.type != "cpu" or trainer.num_parameters <= _SMALL_MODEL
    if pays and total is not None and len(shares) == len(weights):
        together = half.leave_together([each.detach() for each in trainer.parameters], made[0], members, made[1])
        if together is not None:
            added = add_weighted(total, names, together[0], shares)
            rows = [{} if is_added else _of_one(names, together[0], place) for place, is_added in enumerate(added)]
            return list(zip(rows, together[1], strict=True))
    values, left = [value.cpu() for value in made[0]], list[tuple[Arrays, Counts]]()
    for place, (local, each, weight) in enumerate(zip(members, made[1], weights, strict=True)):
        sent, counts = half.leave(local, _of_one(names, values, place), each)
        # At once: else the updates of all hospitals are in memory together, and a large model's pages are got anew.
        is_added = total is not None and weight is not None and _is_added(total, sent, weight)
        left.append(({} if is_added else sent, counts))
    return left


def _is_added(total: FixedSum, sent: Arrays, weight: float) -> bool:
    """Add what a hospital sends to the total; not what is refused, as residues are, of which the engine says why."""
    try:
        accumulate(total, sent, weight)
    except UpdateError:
        return False
    return True


def _of_one(names: Sequence[str], values: Sequence[Tensor], place: int) -> Arrays:
    return {name: value[place].cpu().numpy() for name, value in zip(names, values, strict=True)}


def _odd_model(trainer: LocalTrainer, tensors: HospitalTensors, assignment: Assignment) -> str | None:
    unknown = trainer.unknown_because(tensors.record_shape)
    if torch_half(assignment.event.cell).steps is not Steps.PLAIN:
        if trainer.mode_for(tensors.record_shape).name == "per-record":
            return _odd_program(trainer, tensors, assignment, unknown)
    elif unknown:
        return f"the model's forward is not a known one: {unknown}"
    elif uncovered := uncovered_because(trainer.model):
        return uncovered
    for name, module in trainer.model.named_modules():
        if type(module) in _AT_RANDOM:
            return f"{name or 'the model'} ({type(module).__name__}) draws at random"
        if type(module) in _CONVOLUTIONS and trainer.device.type == "cpu":
            return f"{name or 'the model'} ({type(module).__name__}) is no faster for several hospitals at once"
    return None


def _odd_program(
    trainer: LocalTrainer, tensors: HospitalTensors, assignment: Assignment, unknown: str | None
) -> str | None:
    try:
        program = trainer.program(tensors.record_shape, tensors.train_labels.dtype)
    except ConfigError:
        return f"the model's forward is not a known one, and can't be recorded: {unknown}"
    if reason := unstacked_because(program):
        return reason
    floats = _floats(trainer, tensors, assignment)
    num_rows = block_rows(assignment.schedule.expected_batch_size, floats)
    if _most(trainer, num_rows, floats) < _FEWEST_BY_PROGRAM:
        return f"a program of its model for {num_rows} records is no faster for several hospitals at once"
    return None


def _floats(trainer: LocalTrainer, tensors: HospitalTensors, assignment: Assignment) -> int:
    """Return about how many numbers a record takes on its way, its gradients included; of shapes alone."""
    clips_records = cell_named(assignment.event.cell).clips_records
    by_program = clips_records and trainer.mode_for(tensors.record_shape).name == "per-record"
    are_formed = torch_half(assignment.event.cell).steps is Steps.ROUNDED_SUM
    key = by_program, are_formed, tensors.record_shape
    if key not in trainer.record_floats:
        found = floats_by_record(trainer.model, tensors.record_shape) if not by_program else trainer.num_parameters
        if by_program:
            program = trainer.program(tensors.record_shape, tensors.train_labels.dtype)
            found += live_floats(program.gradient)
        found += 2 * trainer.num_parameters * are_formed
        trainer.record_floats[key] = found
    return trainer.record_floats[key]


def _most(trainer: LocalTrainer, num_rows: int, floats: int) -> int:
    """Return how many hospitals' blocks fit the caches."""
    most = 4 * numbers_at_a_time(trainer.device, _MOST_FLOATS // 4)
    return max(1, most // (trainer.num_parameters + num_rows * floats))


def _digest(asked: Sequence[Asked]) -> bytes:
    """Return the digest of all that a stack's sums depend on beside what every key has."""
    told = ((repr((each.assignment, each.proximal_mu)).encode(), each.tensors.train_digest) for each in asked)
    own = [array_digest(each.own) for each in asked] if any(each.own for each in asked) else []
    return digest_of(*(part for pair in told for part in pair), *own)


def _stacks(trainer: LocalTrainer, locals_: Sequence[LocalRound]) -> Iterator[tuple[list[int], int]]:
    """Yield the places of hospitals that are worked on at a time, each once, and how many records a block has.

    They are alike, and as many as fit the caches: by what they are assigned and the shape of what they have, and
    nothing else. Batches within one are of expected sizes within a factor of two, or small, or few enough to be padded;
    those with more steps come first.
    """
    kinds: dict[object, list[int]] = {}
    for place, local in enumerate(locals_):
        assigned, rows = local.assignment, local.tensors.train_labels.dtype
        shape = local.tensors.record_shape
        kind = assigned.event.cell, assigned.round_number, assigned.adaptive_clipping, local.proximal_mu, shape, rows
        kinds.setdefault(kind, []).append(place)
    for places in kinds.values():
        places.sort(key=lambda place: -_expected(locals_[place]))
        floats = _floats(trainer, locals_[places[0]].tensors, locals_[places[0]].assignment)
        while places:
            largest = _expected(locals_[places[0]])
            num_rows = block_rows(largest, floats)
            num_alike = sum(2 * _expected(locals_[place]) >= largest or largest <= _SMALL_BATCH for place in places)
            size = min(_most(trainer, num_rows, floats), num_alike + _CHEAP_FLOATS // (num_rows * floats))
            chosen, places = places[:size], places[size:]
            yield sorted(chosen, key=lambda place: -locals_[place].assignment.schedule.num_steps), num_rows


def _expected(local: LocalRound) -> float:
    return local.assignment.schedule.expected_batch_size
