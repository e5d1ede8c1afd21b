"""Local training of one hospital for one round, as assigned, and what was really executed.

One `LocalTrainer` serves every hospital of a process; how its model carries nothing from one to the next is told in
`held_model`, and what is trained and sent is the cell's (`cells`). What is left out on purpose: any accounting, as the
server charges the assignment before it is sent.
"""

import time
from typing import NamedTuple

import torch

from wardround.clients.cells import torch_half
from wardround.clients.gradients import quiet_hooks
from wardround.clients.held_model import HeldModel
from wardround.clients.hospital_sides import SideInRound
from wardround.clients.steps import LocalRound
from wardround.clients.tensors import HospitalTensors
from wardround.exact_sums import Arrays
from wardround.privacy.cells import cell_named
from wardround.privacy.clipping import COUNT_NAME
from wardround.privacy.executions import check_execution
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment, Execution, TrainingMeasures
from wardround.streams import Draw

__all__ = ["HospitalTensors", "LocalTrainer", "Trained"]


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
    ) -> Trained:
        """Return what the hospital sends, as its cell says, the count of what was executed, and what was measured.

        Raises:
            UpdateError: the arrays don't fit the model.
            ProtocolError: what was executed is not what was assigned.
        """
        started = time.perf_counter()
        if assignment.adaptive_clipping:
            arrays = {name: array for name, array in arrays.items() if name != COUNT_NAME}
        local = self._local_round(arrays, tensors, assignment, proximal_mu, side)
        self.begin(arrays, tensors, whole_batches=not cell_named(assignment.event.cell).clips_records)
        with quiet_hooks(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout and the like in a user's model; never the noise.
            torch.manual_seed(int(local.key.generator(Draw.LAYERS).integers(2**63)))
            sent, counts = torch_half(assignment.event.cell).train(self, local)
        execution = Execution(
            hospital_id=assignment.hospital_id,
            round_number=assignment.round_number,
            sample_rate=local.sampler.sample_rate,
            num_steps=local.sampler.num_draws,
            num_noise_draws=counts.num_noise_draws,
            noise_multiplier=counts.noise_multiplier,
        )
        check_execution(assignment, execution)
        measures = TrainingMeasures(
            num_examples=tensors.num_train,
            num_scrubbed=counts.num_scrubbed,
            loss=counts.loss,
            seconds=time.perf_counter() - started,
        )
        return Trained(sent, execution, measures)

    def _local_round(
        self,
        arrays: Arrays,
        tensors: HospitalTensors,
        assignment: Assignment,
        proximal_mu: float,
        side: SideInRound | None,
    ) -> LocalRound:
        """Return what it trains with, whose streams are keyed by all that it was sent."""
        recorded = self.recorded_digest(tensors) if cell_named(assignment.event.cell).clips_records else b""
        side_digest = b"" if side is None else side.digest
        key = self.keys.key(arrays, tensors, assignment, proximal_mu, recorded, side_digest)
        rate, generator = assignment.schedule.sample_rate, key.generator(Draw.SAMPLING)
        return LocalRound(
            received=arrays,
            tensors=tensors,
            assignment=assignment,
            key=key,
            sampler=PoissonSampler(tensors.num_train, rate, generator),
            proximal_mu=proximal_mu,
            side=side,
        )
