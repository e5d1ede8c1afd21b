"""How many repetitions a tune on private data has, and of which candidates: drawn before anything is trained.

The draws hang on the seed and the settings of [tune] alone, or on the operating system, and on no data. What is left
out on purpose: what they cost (see `tune_bill`).
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.tune import EACH_ONCE, Candidate, Tune
from wardround.streams import SetUp, stream

__all__ = ["draw_repetitions", "repetition_runs"]


def draw_repetitions(tune: Tune, *, seed: int | None = None) -> tuple[int, ...]:
    """Return the candidate of each repetition, by its place: a random number of uniform draws, or each once.

    Where noise comes from a seed, so do they: by default from the job's.
    """
    num_candidates = len(tune.candidates())
    if tune.repetitions == EACH_ONCE:
        return tuple(range(num_candidates))
    system = tune.job.simulation.noise == "system"
    own = tune.job.federation.seed if seed is None else seed
    generator = np.random.default_rng(secrets.randbits(128)) if system else stream(own, SetUp.REPETITIONS)
    law = np.array(tune.law)
    number = int(generator.choice(len(law), p=law / law.sum())) + 1
    return tuple(generator.integers(num_candidates, size=number).tolist())


def repetition_runs(
    candidates: Sequence[Candidate], drawn: Sequence[int], *, epsilon_each: float
) -> tuple[StudyRun, ...]:
    """Return the runs, each of which draws batches and noise of its own, also where candidates are the same.

    Args:
        candidates: all of them.
        drawn: of each repetition, the place of its candidate.
        epsilon_each: target-epsilon of each (> 0).
    """
    runs = []
    for number, place in enumerate(drawn, start=1):
        candidate = candidates[place]
        config = candidate.config
        simulation = replace(config.simulation, engine="stacked", num_workers=None, repetition=number)
        privacy = replace(config.privacy, target_epsilon=epsilon_each)
        runs.append(
            StudyRun(
                name=f"repetition-{number:02d}-{candidate.name}",
                config=replace(config, privacy=privacy, simulation=simulation),
                varied=candidate.varied,
            )
        )
    return tuple(runs)
