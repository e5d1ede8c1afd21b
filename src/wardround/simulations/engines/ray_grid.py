"""The engine over Ray: hospitals on several processors or machines, behind Flower's `Grid`.

One Ray call per worker and wave carries all its messages; the model travels once, through Ray's object store; what is
to be summed is summed in the worker, exactly. Hospitals stay with their worker. A worker that dies is replaced, on
another machine where its own is lost, and its messages run again. That is one release: what a worker makes of a wave
leaves it whole, at the end, or not at all, so that nothing of the first time was seen or is in a sum, whatever noise it
had.

Left out on purpose: moving hospitals between workers (their data would load again), and partial waves.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.errors import WardroundError
from wardround.exact_sums import merge
from wardround.simulations.engines.envelopes import Envelope, pack
from wardround.simulations.engines.grid import SimulatedGrid, check_deadline, some
from wardround.simulations.engines.nodes import Node, Outcome
from wardround.simulations.engines.shares import share_out
from wardround.simulations.engines.start import check_gpus, start_ray
from wardround.simulations.engines.worker import Worker

__all__ = ["RayGrid"]

_MOST_DEATHS = 3
_POLL_SECONDS = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Seat:
    """A worker's place: its hospitals stay when the process behind it is replaced."""

    nodes: Sequence[Node]
    actor: Any = None
    # There once the actor is prepared, or holds the error that prevented it.
    ready: Any = None
    # For each node that keeps something, the reference to the latest states that include it.
    states: dict[int, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """What one worker has to do in a wave."""

    seat: _Seat
    envelopes: list[Envelope] = field(default_factory=list)
    deaths: int = 0
    states: Any = None

    def node_ids(self) -> list[int]:
        return [envelope.message.metadata.dst_node_id for envelope in self.envelopes]


class RayGrid(SimulatedGrid):
    """A Flower Grid that runs the ClientApp in Ray workers; use it as a context manager, or call `close`."""

    def __init__(
        self,
        make_app: Callable[[], ClientApp],
        nodes: Sequence[Node],
        *,
        num_workers: int,
        gpus_per_worker: float = 0.0,
    ) -> None:
        """Start or join Ray, and start the workers without waiting for them.

        Args:
            make_app: returns the ClientApp; sent once, called once in every worker. Arrays in it are shared.
            nodes: who is simulated.
            num_workers: processes (>= 1); no more than nodes are started.
            gpus_per_worker: share of a GPU each worker gets, a fraction or a whole number; 0.0 hides GPUs from them.

        Raises:
            ConfigError: more GPUs are needed than there are.
            WardroundError: Ray can't be started or reached.
        """
        super().__init__(nodes)
        num_workers = min(num_workers, len(nodes))
        self._started_here = start_ray(num_workers)
        import ray

        self._ray, self._gpus_per_worker = ray, gpus_per_worker
        # A worker that had to wait for a processor might wait for ever: it reserves none.
        self._new_worker = ray.remote(Worker).options(
            num_cpus=0, num_gpus=gpus_per_worker, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._seats = [_Seat(nodes=share) for share in share_out(list(self.nodes.values()), num_workers)]
        self._seat_of = {node.node_id: seat for seat in self._seats for node in seat.nodes}
        try:
            if gpus_per_worker:
                check_gpus(num_workers=num_workers, gpus_per_worker=gpus_per_worker)
            self._make_app = ray.put(make_app)
            for seat in self._seats:
                self._fill(seat)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here; closing twice is fine."""
        if not self._is_closed:
            super().close()
            for seat in self._seats:
                self._vacate(seat)
            self._make_app = None
            if self._started_here:
                self._ray.shutdown()

    def run_wave(self, messages: Sequence[Message], deadline: float | None) -> Outcome:
        """Run the apps in the workers, one call each."""
        envelopes, records = pack(messages)
        references = [self._ray.put(record) for record in records]
        pending = {self._start(job, references): job for job in self._jobs(envelopes)}
        outcome = Outcome()
        try:
            while pending:
                for reference in self._ray.wait(list(pending), timeout=_POLL_SECONDS)[0]:
                    job = pending.pop(reference)
                    part = self._outcome(reference, job)
                    if part is None:
                        pending[self._start(job, references)] = job
                        continue
                    outcome.replies += part.replies
                    merge(outcome.total, part.total)
                    outcome.tracebacks |= part.tracebacks
                check_deadline(deadline, [node_id for job in pending.values() for node_id in job.node_ids()])
        except BaseException:
            # What still runs belongs to a wave that nobody waits for any more.
            for job in pending.values():
                self._vacate(job.seat)
            raise
        return outcome

    def _jobs(self, envelopes: Sequence[Envelope]) -> list[_Job]:
        jobs: dict[int, _Job] = {}
        for envelope in envelopes:
            seat = self._seat_of[envelope.message.metadata.dst_node_id]
            jobs.setdefault(id(seat), _Job(seat=seat)).envelopes.append(envelope)
        return list(jobs.values())

    def _start(self, job: _Job, references: Sequence[Any]) -> Any:
        """Send the job to its worker, and return the reference of its outcome."""
        if job.seat.actor is None:
            self._fill(job.seat)
        indices = sorted({index for envelope in job.envelopes for index in envelope.array_indices})
        outcome, job.states = job.seat.actor.run.options(num_returns=2).remote(
            job.seat.ready, job.envelopes, indices, *(references[index] for index in indices)
        )
        return outcome

    def _outcome(self, reference: Any, job: _Job) -> Outcome | None:
        """Return what the worker made of the job, or None if it died and is to be tried again."""
        outcome: Outcome
        try:
            outcome, stateful = self._ray.get(reference)
            if stateful:
                # With this process's machine, too: another one may be lost with what it stores. Either both are here
                # or the job is done again, of which nothing was used.
                self._ray.get(job.states)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, self._ray.exceptions.ObjectLostError):
                raise WardroundError(
                    f"what nodes {some(job.node_ids())} kept between messages was lost with the machine that stored "
                    "it: resume the run, which charges the round that it was in again"
                ) from error
            if isinstance(error.cause, Exception):
                raise error.cause from error
            raise
        except self._ray.exceptions.RayError as error:
            self._vacate(job.seat)
            if self._gpus_per_worker:  # else the one in its place would wait for ever for those of a lost machine
                check_gpus(num_workers=len(self._seats), gpus_per_worker=self._gpus_per_worker)
            job.deaths += 1
            if job.deaths >= _MOST_DEATHS:
                raise WardroundError(
                    f"the worker of nodes {some(job.node_ids())} died {job.deaths} times in a row: it may need more "
                    f"memory than there is (lower [simulation] num-workers, or the batch size), or the ClientApp ends "
                    f"its process. Ray says: {str(error).strip().splitlines()[0]}"
                ) from error
            return None
        job.seat.states.update(dict.fromkeys(stateful, job.states))
        return outcome

    def _fill(self, seat: _Seat) -> None:
        """Put a new worker in the seat, which takes up what the nodes kept in their state."""
        seat.actor = self._new_worker.remote([*sys.path], self._gpus_per_worker)
        seat.ready = seat.actor.prepare.remote([self._make_app], seat.nodes, seat.states)

    def _vacate(self, seat: _Seat) -> None:
        actor, seat.actor, seat.ready = seat.actor, None, None
        if actor is not None:
            self._ray.kill(actor)
