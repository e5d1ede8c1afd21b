"""The score of a trained model on the hospitals' training records, released with noise and billed.

It is the Brier score: the mean over records of half the squared distance between the classes' probabilities and the
class that it is, which is in [0, 1] for every record and lowest for true probabilities. It is released as a run of one
round (see `released_means`). What is left out on purpose: how much it may spend (see `tune_bill`).

Source: Brier 1950; Gneiting, Raftery 2007 (strictly proper scores).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config, FeaturesConfig, FederationConfig
from wardround.datasets import FederatedData, HospitalData, resolved
from wardround.datasets.moments import averaged_federation
from wardround.disk import make_private_folder
from wardround.errors import ConfigError
from wardround.privacy.spending import Account
from wardround.server.plan.alternatives import own_stddev_on_average
from wardround.server.record.run_folder import open_run_folder
from wardround.simulations.prepared import plan_of
from wardround.simulations.released_means import mean_config, release_mean
from wardround.simulations.runs import trained_module

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
        CohortError: it was charged and not released, and there is no score.
        WardroundError: see `errors`.
    """
    federation = load(config.federation, config.features)
    config = resolved(config, federation)
    module = trained_module(open_run_folder(trained), config)
    _check_classes(federation)
    averaged = averaged_federation(federation, lambda one: _scores(module, one), 1)
    settings = _settings(config, epsilon)
    is_begun = (folder / "ledger.sqlite").is_file()
    if not is_begun:
        make_private_folder(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
    return float(release_mean(settings, averaged, folder, is_begun=is_begun).values[0])


def _settings(config: Config, epsilon: float) -> Config:
    privacy = replace(config.privacy, noise_multiplier=None, target_epsilon=epsilon)
    config = replace(config, simulation=replace(config.simulation, engine="inline"))
    return mean_config(config, privacy, most_norm=_MOST_NORM, num_values=1)


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
