"""What a tune keeps in its folder, as records: what it was begun with, a row for each candidate, and its summary.

What is left out on purpose: files (see `tuning`), and what is said of them to people (see `reports`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.json_records import json_field
from wardround.server.record.summaries import EpsilonSummary
from wardround.simulations.studies.study_records import Varied

__all__ = ["CandidateRow", "TuneFacts", "TuneSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneFacts:
    """tune.json of a tune on private data: settings, and what was drawn before anything was trained.

    Attributes:
        runs: settings of the candidates, as TOML, by name.
        versions: by package, of what decides the bits of a model.
        law: probabilities of 1, 2, ... repetitions.
        score: by which is chosen.
        score_share: of each repetition, for the release of its score; None where scores cost nothing.
        drawn: the candidate of each repetition, by its place; whoever knows it is no mere recipient.
        epsilon_each: of each repetition, about, its score included.
    """

    name: str
    runs: Mapping[str, str]
    versions: Mapping[str, str]
    law: tuple[float, ...]
    score: str
    score_share: float | None
    drawn: tuple[int, ...]
    epsilon_each: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """A row of tuning.csv: one candidate.

    Attributes:
        candidate: its name.
        num_runs: with a score: seeds on a stand-in, repetitions on private data.
        score: mean over seeds, or that of the best repetition; nan where there is none.
        score_stddev: over the seeds, or of the noise on a score that was released; nan where there is none.
        score_name: what the score is.
        trained_on: "stand-in DATASET" or "private DATASET".
        scored_on: whose records the score is of.
        is_chosen: whether it is the one.
        run: folder of the chosen or best run, in runs/; "" on a stand-in.
        varied: value by setting, each with a column of its own behind the others.
    """

    candidate: str
    num_runs: int
    score: float
    score_stddev: float
    score_name: str
    trained_on: str
    scored_on: str
    is_chosen: bool
    run: str
    varied: Varied = json_field(default=None, is_left_out=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSummary:
    """summary.json of a tune.

    Attributes:
        name: of the tune.
        on: "stand-in" or "private".
        dataset: of the job.
        stand_in: data set that stood in; None on private data.
        score_name: by which was chosen, and `larger_is_better`.
        num_candidates: that there were.
        num_runs: with a score.
        chosen: value by varied setting.
        candidate: name of the chosen one.
        score: of the chosen one.
        run: folder of the released model's run, in runs/; "" on a stand-in.
        target_epsilon: of the job.
        unit: what is protected.
        relation: between neighbours.
        placement: where noise is added.
        epsilon: that the tune spent of the job's data; zero where nothing was read of them.
        epsilon_each: of each repetition, about; None on a stand-in.
        score_share: of it, for the release of its score; None where scores cost nothing.
        repetitions: the law; None on a stand-in.
        mean_repetitions: of it, as its parameter has it; None of each once.
        most_repetitions: that there can be.
        status: "done", or "above-target" where interruptions were charged beyond it.
        failures: why runs have no score, by run.
    """

    name: str
    on: str
    dataset: str
    stand_in: str | None
    score_name: str
    larger_is_better: bool
    num_candidates: int
    num_runs: int
    chosen: Mapping[str, str]
    candidate: str
    score: float
    run: str
    target_epsilon: float
    unit: str
    relation: str
    placement: str
    epsilon: EpsilonSummary
    epsilon_each: float | None
    score_share: float | None
    repetitions: str | None
    mean_repetitions: float | None
    most_repetitions: int | None
    status: str
    failures: Mapping[str, str]
