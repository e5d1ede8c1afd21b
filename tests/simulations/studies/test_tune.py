"""What a tune is: its candidates, what it takes for granted, and what it refuses, each with a way out."""

import re
from dataclasses import replace

import pytest
import torch
from tunes import BASE, NOISY, VARY, small_tune

from wardround.errors import ConfigError
from wardround.objects import hand_over
from wardround.simulations.studies.study_toml import load_study
from wardround.simulations.studies.tune_toml import load_tune, tune_of

STAND_IN = {"on": "stand-in"}
DIGITS = {"federation": {"dataset": "digits", "num-hospitals": 2}}
PRIVATE_TABLE = """
[federation]
dataset = "csv"
path = "/nowhere/patients.csv"
target = "died"
seed = 3

[training]
num-rounds = 2

[privacy]
target-epsilon = 2.0
"""


def test_on_a_stand_in_every_run_is_on_its_data_at_the_jobs_privacy(tmp_path):
    tune = small_tune(tmp_path, STAND_IN, base=PRIVATE_TABLE, stand_in=DIGITS, study={"seeds": [1, 2]})
    runs = tune.study.runs()
    assert len(runs) == 4
    for item in runs:
        assert (item.config.federation.dataset, item.config.federation.path) == ("digits", None)
        assert item.config.privacy == tune.job.privacy
    assert [one.config.federation.path for one in tune.candidates()] == ["/nowhere/patients.csv"] * 2
    assert [one.config.training.learning_rate for one in tune.candidates()] == [0.1, 2.0]
    assert [one.varied for one in tune.candidates()] == [runs[0].varied, runs[2].varied]
    assert tune.score == "auto" and tune.repetitions is None


def test_public_records_of_the_job_are_not_tried_on_the_stand_ins_models(tmp_path):
    base = PRIVATE_TABLE + '\n[evaluation]\npublic = "tunes:public_records"\n'
    tune = small_tune(tmp_path, STAND_IN, base=base, stand_in=DIGITS)
    assert tune.study.base.evaluation.public is None
    assert tune.job.evaluation.public == "tunes:public_records"
    own = small_tune(tmp_path, STAND_IN, base=base, stand_in=DIGITS | {"evaluation": {"public": "tunes:others"}})
    assert own.study.base.evaluation.public == "tunes:others"


def test_on_private_data_there_are_about_as_many_repetitions_as_candidates(tmp_path):
    tune = small_tune(tmp_path, {"on": "private", "score": "noisy-brier"})
    told = tune.repetitions, tune.mean_repetitions, tune.shape, tune.most_repetitions, tune.score_share
    assert told == ("truncated-negative-binomial", 2.0, 1.0, 4, 0.1)
    assert len(tune.law) == 4
    poisson = small_tune(tmp_path, {"on": "private", "score": "noisy-brier", "repetitions": "poisson"})
    assert (poisson.mean_repetitions, poisson.shape, poisson.most_repetitions) == (2.0, None, 4)
    public = small_tune(tmp_path, {"on": "private"}, set={"evaluation": {"public": "tunes:public_records"}})
    assert (public.score, public.score_share) == ("public-loss", None)


def test_a_model_from_python_is_the_jobs_and_the_stand_ins(tmp_path):
    (tmp_path / "base.toml").write_text(PRIVATE_TABLE)
    tables = {"tune": STAND_IN, "study": {"base": "base.toml", "vary": VARY}, "stand-in": DIGITS}
    model = hand_over(torch.nn.Linear(64, 10), "model")
    tune = tune_of(tables, tmp_path, "given", given=lambda config: config.with_object("model", model))
    assert all(one.config.model.handed is model for one in (*tune.candidates(), *tune.study.runs()))


@pytest.mark.parametrize(
    ("own", "tables", "message"),
    [
        ({}, {}, 'on = None must be "stand-in" or "private"'),
        ({"on": "cloud"}, {}, "on = 'cloud' must be"),
        (STAND_IN | {"scor": "auc"}, {}, r"unknown key scor in \[tune\]: did you mean score"),
        (STAND_IN, {}, "needs the public data that stand in"),
        (STAND_IN, {"stand_in": {"federation": {"dataset": "breast-cancer"}}}, "is the job's own data"),
        (STAND_IN, {"stand_in": DIGITS | {"privacy": {"target-epsilon": 9.0}}}, r"\[stand-in.privacy\] must be"),
        (STAND_IN, {"stand_in": DIGITS | {"training": {"num-rounds": 9}}}, r"\[stand-in.training\] must be"),
        (
            STAND_IN | {"mean-repetitions": 3.0},
            {"stand_in": DIGITS},
            "mean-repetitions = 3.0 is of runs that are billed",
        ),
        (STAND_IN | {"score-share": 0.5}, {"stand_in": DIGITS}, "score-share = 0.5 is of runs that are billed"),
        (STAND_IN | {"score": "public-loss"}, {"stand_in": DIGITS}, "must be one of auto, auc, auc-pooled, accuracy"),
        (NOISY, {"stand_in": DIGITS}, 'has no meaning with on = "private"'),
        ({"on": "private"}, {}, "needs public records to score models by .*in no epsilon.*noisy-brier"),
        ({"on": "private", "score": "public-loss"}, {}, "needs public records"),
        ({"on": "private", "score": "auc"}, {}, "own test records, which are in no epsilon, and can't choose"),
        (NOISY | {"score": "loss"}, {}, 'score = "loss" must be one of'),
        (NOISY, {"set": {"model": {"name": "models:factory"}}}, "is of one built-in model for all"),
        (NOISY | {"score-share": 1.0}, {}, "score-share = 1.0 must be .*below 1|score-share = 1.0 must be"),
        (NOISY | {"most-repetitions": 0}, {}, "most-repetitions = 0 must be >= 1"),
        (NOISY | {"mean-repetitions": 1.0}, {}, "one repetition chooses nothing"),
        (
            NOISY | {"repetitions": "poisson", "shape": 1.0},
            {},
            'shape = 1.0 has no meaning with repetitions = "poisson"',
        ),
        (NOISY | {"repetitions": "each-once"}, {}, "mean-repetitions = 2.0 has no meaning"),
        (NOISY | {"repetitions": "twice"}, {}, 'repetitions = "?.?twice.* must be'),
        (NOISY, {"study": {"seeds": [1]}}, "seeds is of a study"),
        (NOISY, {"study": {"placements": ["local"]}}, "placements is of a study"),
        (NOISY, {"baselines": {"training": {"num-rounds": 3}}}, r"unknown section \[baselines\]"),
        (NOISY, {"study": {"vary": {"training.learning-rate": [0.1]}}}, "two candidates or more"),
        (NOISY, {"study": {"vary": {}}}, "two candidates or more"),
        (NOISY, {"study": {"vary": {"privacy.target-delta": [1e-5, 1e-4]}}}, "part of what is promised"),
        (NOISY, {"study": {"vary": {"federation.num-hospitals": [3, 4]}}}, "says whose records they are"),
        (NOISY, {"study": {"vary": {"features.standardise": ["public", "private"]}}}, "whether they are billed"),
        (NOISY, {"study": {"vary": {"aggregation.min-survivors": [1, 2]}}}, "says who may be missing"),
        (NOISY, {"set": {"privacy": {"noise-multiplier": 2.0}}}, "target-epsilon must be set"),
        (NOISY, {"set": {"privacy": {"placement": "none"}}}, "target-epsilon must be set"),
        (NOISY, {"set": {"privacy": {"budget-epsilon": 9.0}}}, "budget-epsilon = 9 is of one run"),
    ],
)
def test_what_is_refused(tmp_path, own, tables, message):
    with pytest.raises(ConfigError, match=message):
        small_tune(tmp_path, own, **tables)


def test_what_is_billed_is_never_chosen_by_the_hospitals_test_records(tmp_path):
    """However a tune on private data is made, its score is public or noisy."""
    tune = small_tune(tmp_path, NOISY)
    for score in ("auto", "auc", "auc-pooled", "accuracy"):
        with pytest.raises(ConfigError, match="in no epsilon"):
            replace(tune, score=score)


def test_a_file_of_a_tune_is_none_of_a_study(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)
    text = '[tune]\non = "private"\nscore = "noisy-brier"\n[study]\nbase = "base.toml"\n[study.vary]\n'
    path = tmp_path / "tune.toml"
    path.write_text(text + '"training.learning-rate" = [0.1, 1.0]\n')
    assert load_tune(path).study.name == "tune"
    with pytest.raises(ConfigError, match=re.escape("a file with [tune] is for wardround tune")):
        load_study(path)
