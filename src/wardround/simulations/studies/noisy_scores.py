"""The score of a trained model on the hospitals' training records, released with noise and billed.

It is the Brier score: the mean over records of half the squared distance between the classes' probabilities and the
class that it is, which is in [0, 1] for every record and lowest for true probabilities. It is released as a run of one
round with a folder, a ledger and a bill of its own, in the cell and protocol of the job (see `agreed.statistics` for
why a mean is a round). What is left out on purpose: how much it may spend (see `tune_bill`).

Source: Brier 1950; Gneiting, Raftery 2007 (strictly proper scores).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.agreed.statistics import averaging_config
from wardround.config import Config, FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, HospitalData, resolved
from wardround.datasets.moments import averaged_federation
from wardround.disk import make_private_folder
from wardround.errors import BudgetError, ConfigError, ProtocolError
from wardround.objects import hand_over
from wardround.privacy.spending import Account
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.server.record.run_folder import open_run_folder
from wardround.simulations.prepared import plan_of
from wardround.simulations.runs import resume, run, trained_module

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Load", "PlannedScore", "planned_score", "release_score"]

Load = Callable[[FederationConfig, FeaturesConfig], FederatedData]
_MOST_NORM = 1.0
"""Of a record's score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScore:
    """What a release costs, and how sure a score is.

    Attributes:
        account: of one release.
        stddev: of the noise on the mean, where all answer.
    """

    account: Account
    stddev: float


def planned_score(config: Config, epsilon: float, load: Load) -> PlannedScore:
    """Return the plan of a release that spends so much.

    Raises:
        ConfigError: the labels are numbers.
    """
    federation = load(config.federation, config.features)
    _check_classes(federation)
    settings = _settings(resolved(config, federation), epsilon)
    averaged = averaged_federation(federation, lambda one: np.zeros((len(one.train_labels), 1), np.float32), 1)
    planned = plan_of(settings, averaged, 1)
    return PlannedScore(account=planned.account, stddev=own_stddev_on_average(planned))


def release_score(config: Config, trained: Path, folder: Path, epsilon: float, load: Load) -> float:
    """Return a model's Brier score on the training records, with noise; one that was released before is read again.

    Args:
        config: settings of the run, as it was begun.
        trained: folder of the run.
        folder: of the release.
        epsilon: that it may spend (> 0).
        load: reads the hospitals.

    Raises:
        BudgetError: it was charged and interrupted: the model it left is that of no round, and no score.
        WardroundError: see `errors`.
    """
    federation = load(config.federation, config.features)
    config = resolved(config, federation)
    module = trained_module(open_run_folder(trained), config)
    _check_classes(federation)
    averaged = averaged_federation(federation, lambda one: _scores(module, one), 1)
    settings = _settings(config, epsilon)

    def load_scores(_: FederationConfig, __: FeaturesConfig) -> FederatedData:
        return averaged

    if (folder / "ledger.sqlite").is_file():
        done = resume(folder, config=settings, load=load_scores)
    else:
        make_private_folder(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
        done = run(settings, out=folder, load=load_scores)
    if done.outcome.status != "done":
        raise BudgetError(
            f"its score was charged and interrupted, and epsilon {epsilon:g}, which is its share ([tune] score-share), "
            "allows no second release: it has no score, and will have none"
        )
    arrays = open_run_folder(done.folder).read_model()
    if arrays is None:
        raise ProtocolError(f"{folder} has no score, which a release that came to its end leaves: repeat the command")
    return float(arrays["weight"][0, 0])


def _settings(config: Config, epsilon: float) -> Config:
    from wardround.clients.moment_model import moment_model

    privacy = replace(config.privacy, noise_multiplier=None, target_epsilon=epsilon)
    settings = averaging_config(config, _MOST_NORM, privacy)
    settings = replace(settings, simulation=replace(settings.simulation, engine="inline"))
    return settings.with_object("model", hand_over(moment_model(1), "model"))


def _scores(module: "nn.Module", hospital: HospitalData) -> NDArray[np.float32]:
    """Return the score of each training row, (n, 1), in [0, 1]; the worst where an output is no number."""
    import torch

    from wardround.clients.evaluation import outputs_of

    chances = outputs_of(module, torch.tensor(hospital.train_features)).double().softmax(dim=1)
    labels = torch.nn.functional.one_hot(torch.tensor(hospital.train_labels), chances.shape[1])
    found = (chances - labels).square().sum(dim=1) / 2
    return torch.nan_to_num(found, nan=1.0).clamp(0.0, 1.0).float().numpy()[:, None]


def _check_classes(federation: FederatedData) -> None:
    if federation.task != "classification":
        raise ConfigError(
            'score = "noisy-brier" is of classes, and the labels are numbers, whose errors have no largest one ([tune] '
            'score): name public records and set score = "public-loss"'
        )
