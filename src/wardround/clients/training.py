"""Local training of one hospital for one round, as assigned, and what was really executed.

One `LocalTrainer` serves every hospital of a process; how its model carries nothing from one to the next is told in
`held_model`, and what is trained and sent is the cell's (`cells`). What is left out on purpose: any accounting, as the
server charges the assignment before it is sent.
"""

import time
from functools import partial
from typing import NamedTuple

from wardround.clients.cells import torch_half
from wardround.clients.float_products import products_in_float32
from wardround.clients.gradients import quiet_hooks
from wardround.clients.held_model import HeldModel
from wardround.clients.hospital_sides import SideInRound
from wardround.clients.layer_streams import layers_draw_from
from wardround.clients.steps import Counts, LocalRound
from wardround.clients.tensors import HospitalTensors
from wardround.digests import array_digest
from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.executions import check_execution
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment, Execution, TrainingMeasures
from wardround.streams import Draw

__all__ = ["HospitalTensors", "LocalTrainer", "Trained", "trained_as_assigned"]


class Trained(NamedTuple):
    """What came of training: what is sent, what of it is public, and what is measured in simulation only."""

    arrays: Arrays
    execution: Execution
    measures: TrainingMeasures


class LocalTrainer(HeldModel):
    """A held model that trains one hospital after the other; everything else it is given is immutable."""

    def train(
        self,
        arrays: Arrays,
        tensors: HospitalTensors,
        assignment: Assignment,
        *,
        proximal_mu: float = 0.0,
        side: SideInRound | None = None,
        own: Arrays | None = None,
    ) -> Trained:
        """Return what the hospital sends, as its cell says, the count of what was executed, and what was measured.

        Its own parameters, where it has any, are what training begins from in place of those that all were sent.

        Raises:
            UpdateError: the arrays don't fit the model.
            ProtocolError: what was executed is not what was assigned.
        """
        started = time.perf_counter()
        local = self.local_round(arrays, tensors, assignment, proximal_mu=proximal_mu, side=side, own=own)
        self.begin(local.received, tensors, whole_batches=not cell_named(assignment.event.cell).clips_records)
        with quiet_hooks(), layers_draw_from(local.layers_seed, self.device), products_in_float32():
            sent, counts = torch_half(assignment.event.cell).train(self, local)
        return trained_as_assigned(local, sent, counts, time.perf_counter() - started)

    def local_round(
        self,
        arrays: Arrays,
        tensors: HospitalTensors,
        assignment: Assignment,
        *,
        proximal_mu: float = 0.0,
        side: SideInRound | None = None,
        own: Arrays | None = None,
        stack: bytes = b"",
    ) -> LocalRound:
        """Return what a hospital trains with, whose streams are keyed by all that it was sent.

        `stack` is the digest of all hospitals that it trains with in one program; empty where it trains by itself.
        """
        if assignment.adaptive_clipping:
            arrays = {name: array for name, array in arrays.items() if name != COUNT_NAME}
        clips_records = cell_named(assignment.event.cell).clips_records
        if clips_records:
            self._check_copies(assignment)
        recorded = self.recorded_digest(tensors) if clips_records else b""
        code = [recorded, b"" if side is None else side.digest, *([array_digest(own)] if own else [])]
        code += [self.balance_digest] if self.balance_digest else []
        key = self.keys.key(arrays, tensors, assignment, proximal_mu, *code, stack=stack)
        rate, batches_from = assignment.schedule.sample_rate, partial(key.generator, Draw.SAMPLING)
        return LocalRound(
            received=arrays,
            tensors=tensors,
            assignment=assignment,
            key=key,
            sampler=PoissonSampler(tensors.num_drawn, rate, batches_from),
            proximal_mu=proximal_mu,
            side=side,
            own=own or {},
        )

    def _check_copies(self, assignment: Assignment) -> None:
        """Refuse a sensitivity that is not for as often as a record may count."""
        most = 1.0 if self.copies is None else float(self.copies.max())
        moved, billed = most * float(assignment.max_grad_norm or 0.0), assignment.distance
        if not moved <= billed * (1 + 1e-9):
            raise ProtocolError(
                f"the assignment's sensitivity = {billed}, and a record that counts {most:g} times moves a sum by "
                f"{moved}: nothing was trained"
            )


def trained_as_assigned(local: LocalRound, sent: Arrays, counts: Counts, seconds: float) -> Trained:
    """Return what came of training, held against what was assigned.

    Raises:
        ProtocolError: what was executed is not what was assigned.
    """
    execution = Execution(
        hospital_id=local.assignment.hospital_id,
        round_number=local.assignment.round_number,
        sample_rate=local.sampler.sample_rate,
        num_steps=local.sampler.num_draws,
        num_noise_draws=counts.num_noise_draws,
        noise_multiplier=counts.noise_multiplier,
    )
    check_execution(local.assignment, execution)
    measures = TrainingMeasures(
        num_examples=local.tensors.num_train - local.tensors.num_synthetic,
        num_scrubbed=counts.num_scrubbed,
        loss=counts.loss,
        seconds=seconds,
    )
    return Trained(sent, execution, measures)
