"""The engine over Ray: hospitals on several processors or machines, behind Flower's `Grid`.

One Ray call per worker and wave carries all its messages; the model travels once, through Ray's object store; what is
to be summed is summed in the worker, exactly. Hospitals stay with their worker. A worker that dies is replaced, and its
messages run again. That is one release: what a worker makes of a wave leaves it whole, at the end, or not at all, so
that nothing of the first time was seen or is in a sum, whatever noise it had.

Left out on purpose: moving hospitals between workers (their data would load again), and partial waves.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.errors import WardroundError
from wardround.exact_sums import FixedSum, merge
from wardround.simulations.engines.cluster import Seat, join_cluster
from wardround.simulations.engines.envelopes import Envelope, pack
from wardround.simulations.engines.grid import SimulatedGrid, check_deadline, some
from wardround.simulations.engines.nodes import Node, Scalar, share_out
from wardround.simulations.engines.start import EarlyStart
from wardround.simulations.engines.worker import Outcome

__all__ = ["RayGrid"]

_MOST_DEATHS = 3
_POLL_SECONDS = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """What one worker has to do in a wave."""

    seat: Seat
    envelopes: list[Envelope]
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
        run_config: Mapping[str, Scalar],
        *,
        num_workers: int,
        gpus_per_worker: float = 0.0,
        num_threads: int = 1,
        early: EarlyStart | None = None,
    ) -> None:
        """Start or join Ray, and start the workers without waiting for them.

        Args:
            make_app: returns the ClientApp; sent once, called once in every worker. Arrays in it are shared.
            nodes: the hospitals.
            run_config: what the ClientApp reads from `context.run_config`.
            num_workers: processes (>= 1); no more than nodes are started.
            gpus_per_worker: share of a GPU each worker gets, a fraction or a whole number; 0.0 hides GPUs from them.
            num_threads: torch threads in each worker while the ClientApp runs.
            early: a Ray whose start has begun; it ends with that one, not with the grid.

        Raises:
            ConfigError: num_workers or gpus_per_worker is out of range, or more GPUs are needed than there are.
            WardroundError: Ray can't be started or reached.
        """
        super().__init__(nodes)
        self._run_config = dict(run_config)
        self._num_threads = num_threads
        self._cluster = join_cluster(min(num_workers, len(nodes)), gpus_per_worker, early)
        self._seats = [
            Seat(nodes=share, actor=None, ready=None, states={})
            for share in share_out(list(self.nodes.values()), num_workers)
        ]
        self._seat_of = {node.node_id: seat for seat in self._seats for node in seat.nodes}
        try:
            self._make_app = self._cluster.ray.put(make_app)
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
            self._cluster.leave()

    def run_wave(
        self, messages: Sequence[Message], deadline: float | None
    ) -> tuple[list[Message], FixedSum, dict[int, str]]:
        """Run the apps in the workers, one call each."""
        ray = self._cluster.ray
        envelopes, records = pack(messages)
        references = [ray.put(record) for record in records]
        pending = {self._start(job, references): job for job in self._jobs(envelopes)}
        replies: list[Message] = []
        total: FixedSum = {}
        tracebacks: dict[int, str] = {}
        try:
            while pending:
                for reference in ray.wait(list(pending), timeout=_POLL_SECONDS)[0]:
                    job = pending.pop(reference)
                    outcome = self._outcome(reference, job)
                    if outcome is None:
                        pending[self._start(job, references)] = job
                        continue
                    replies += outcome.replies
                    merge(total, outcome.total)
                    tracebacks |= outcome.tracebacks
                check_deadline(deadline, [node_id for job in pending.values() for node_id in job.node_ids()])
        except BaseException:
            # What still runs belongs to a wave that nobody waits for any more.
            for job in pending.values():
                self._vacate(job.seat)
            raise
        return replies, total, tracebacks

    def _jobs(self, envelopes: Sequence[Envelope]) -> list[_Job]:
        jobs: dict[int, _Job] = {}
        for envelope in envelopes:
            seat = self._seat_of[envelope.message.metadata.dst_node_id]
            jobs.setdefault(id(seat), _Job(seat=seat, envelopes=[])).envelopes.append(envelope)
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
        ray = self._cluster.ray
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            self._vacate(job.seat)
            job.deaths += 1
            if job.deaths >= _MOST_DEATHS:
                raise WardroundError(
                    f"the worker of nodes {some(job.node_ids())} died {job.deaths} times in a row: it may need more "
                    f"memory than there is (lower [simulation] num-workers, or the batch size), or the ClientApp ends "
                    f"its process. Ray says: {str(error).strip().splitlines()[0]}"
                ) from error
            return None
        job.deaths = 0
        job.seat.states.update(dict.fromkeys(outcome.stateful, job.states))
        return outcome

    def _fill(self, seat: Seat) -> None:
        """Put a new worker in the seat, which takes up what the nodes kept in their state."""
        seat.actor = self._cluster.new_worker(self._num_threads, [*sys.path])
        seat.ready = seat.actor.prepare.remote([self._make_app], seat.nodes, self._run_config, seat.states)

    def _vacate(self, seat: Seat) -> None:
        actor, seat.actor, seat.ready = seat.actor, None, None
        if actor is not None:
            self._cluster.ray.kill(actor)
