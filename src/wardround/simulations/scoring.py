"""Simulated hospitals as they release sums over their test records, once a run is over.

Each hospital's test records go through the run's model, and their vectors (see `score_sums`) are the records of a job
of one round, on the engine in this process, whatever engine the run is on. What is left out on purpose: the charge and
what is made of the sums (see `server.round.score_release`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wardround.agreed.statistics import scores_round
from wardround.clients.moment_model import moment_model
from wardround.clients.scored_records import scored_records
from wardround.clients.trainers import build_trainer
from wardround.clients.training import LocalTrainer
from wardround.config import Config
from wardround.datasets import FederatedData
from wardround.datasets.constants import Constants
from wardround.datasets.moments import federation_of_vectors
from wardround.exact_sums import Arrays
from wardround.score_sums import NUM_SUMS
from wardround.server.plan.plans import FederationPlan
from wardround.server.round.hospitals import HospitalLink
from wardround.server.round.introductions import connect
from wardround.server.round.score_release import Scoring
from wardround.simulations.engines.grid import SimulatedGrid

__all__ = ["scoring_of"]

OpenGrid = Callable[..., SimulatedGrid]


def scoring_of(config: Config, federation: FederatedData, trainer: LocalTrainer, open_grid: OpenGrid) -> Scoring:
    """Return what opens the hospitals of a run for the release of its test scores.

    Args:
        config: of the run.
        federation: its hospitals.
        trainer: what trains them, whose model is that of the run.
        open_grid: opens an engine (see `runs`).
    """

    @contextmanager
    def scoring(plan: FederationPlan, arrays: Arrays, constants: Constants) -> Iterator[HospitalLink]:
        tested = [
            scored_records(config, hospital, trainer, arrays, constants)
            for hospital in federation.hospitals
            if hospital.num_test
        ]
        averaged = federation_of_vectors(federation, tested, NUM_SUMS)
        own = build_trainer(plan.config, averaged, model=moment_model(NUM_SUMS))
        with open_grid(plan.config, averaged, "inline", None, own, first_round=scores_round(config)) as grid:
            yield connect(grid)

    return scoring
