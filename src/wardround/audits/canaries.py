"""Canaries: a twin of a run, in which every record is one whose trace an attacker knows exactly.

The twin is a run like any other, by the same code: same cell, clip, noise multiplier, sample rate, steps and rounds,
and so the same bill. Its data and its model are the attacker's worst case. The model is one number a canary, and the
loss of a canary pulls at its own number alone, so hard that its gradient is clipped however the number stands: whether
a canary was used moves its coordinate by one clip, in every batch that it is drawn into, and nothing else. A fair coin
decides for each whether it is used. What hides the coins is the noise that the run is billed for.

So this audits what is done to clipped gradients or updates: clips, batches, noise, sums, and what is billed. What is
left out on purpose: how a model's gradients come about, of which `membership` tests what shows in the model itself.

Source: canaries with a gradient of their own are of Nasr et al. 2021 (arXiv 2101.04535) and Steinke, Nasr, Jagielski
2023 (arXiv 2305.08846), section 6; that a federated release can be audited so in one run, of Andrew et al. 2023
(arXiv 2302.03098).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wardround.audits.watched_runs import Watching, made_up, watched_run
from wardround.config import Config, unaudited_because
from wardround.datasets import FederatedData
from wardround.datasets.records import REGRESSION
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.privacy.cells import Cell, cell_of
from wardround.server.record.summaries import Summary
from wardround.streams import SetUp, stream

__all__ = ["Mechanism", "Twin", "canary_model", "run_twin"]

_PULL = 1e6
"""A canary's label: so far off that no number of steps brings the model near it, in float32 without loss."""
_MOST_DELTA = 0.1
"""Of the twin's delta, times the records of a hospital: a twin may have more records in one than the run has."""

_ENGINES = {"auto": "stacked", "stacked": "stacked", "inline": "inline", "ray": "inline"}
"""Of the twin, by the run's: hospitals that train one by one in workers do so here, and those of one program in one."""

_FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """What was done to a hospital's data, round after round the same.

    Attributes:
        noise_multiplier: as settings have it (>= 0).
        sample_rate: of records, in (0, 1]; 1 where whole updates are released.
        num_steps: local steps of a round (>= 1).
        num_rounds: that the hospital took part in (>= 1).
    """

    noise_multiplier: float
    sample_rate: float
    num_steps: int
    num_rounds: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """What attackers saw of a twin, in clips that a canary moves its coordinate by whenever it is drawn.

    Attributes:
        coins: (canaries,) bool, whether each was used.
        own: (rounds, canaries) what the canary's hospital sent at its coordinate; None where the server sees sums only.
        released: (rounds, canaries) what came out of each round there.
        own_stddev: (rounds,) of the noise that is billed, in what a hospital sends.
        released_stddev: (rounds,) of the same in what comes out.
        unused: what the coordinate of a canary that is not used is moved by whenever it is drawn: 0 or -1.
        summary: of the twin, with a bill of its own.
    """

    coins: NDArray[np.bool_]
    own: _FloatArray | None
    released: _FloatArray
    own_stddev: _FloatArray
    released_stddev: _FloatArray
    unused: float
    summary: Summary


def canary_model(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return a model of one number a canary, all 0."""
    layer = nn.Linear(input_shape[0], num_outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(layer)


def run_twin(
    config: Config,
    mechanism: Mechanism,
    *,
    num_hospitals: int,
    num_canaries: int,
    seed: int,
    cohort_sizes: Sequence[int] = (),
) -> Twin:
    """Run a twin and return what attackers saw of it; nothing is left on the disk.

    Args:
        config: of the run.
        mechanism: what it did.
        num_hospitals: of the run (>= 1); where hospitals are what is protected, every canary is one.
        num_canaries: at least so many (>= 1).
        seed: of coins, batches and noise, in 0..2**63 - 1.
        cohort_sizes: by round of the twin, of how many hospitals' replies what comes out is the mean (1 to
            num_hospitals); () is all of them. Where hospitals share their noise it has no meaning.

    Raises:
        ConfigError: the run has settings whose mechanism has no twin.
    """
    cell = cell_of(config.privacy)
    num_sites = min(num_hospitals, num_canaries) if cell.clips_records else num_canaries
    of_each = math.ceil(num_canaries / num_sites)
    coins = stream(seed, SetUp.CANARIES).random(num_sites * of_each) < 0.5
    # A twin may have more of those who are protected than the run has. Bills are the run's, whatever its delta is.
    delta = _delta(config, of_each if cell.clips_records else num_sites)
    changes = {"federation": {"seed": seed}, "aggregation": {"min_survivors": num_sites if cell.shares_noise else 1}}
    settings = _settings(config, mechanism, cell).change(**changes, privacy={"target_delta": delta})
    data = _canaries(coins, num_sites, unused=_unused(cell))
    num_averaged = np.minimum(cohort_sizes or [num_hospitals] * mechanism.num_rounds, num_sites)
    seen = _Seen(of_each, () if cell.shares_noise else num_averaged.tolist())
    outcome = watched_run(settings, data, strategy=Watching(seen.add, needs_only_sum=cell.shares_noise))
    # How far a canary moves its coordinate in the mean that a hospital sends, or that comes out of all.
    clip = settings.privacy.max_grad_norm / (mechanism.sample_rate * of_each if cell.clips_records else 1.0)
    stddev = np.full(mechanism.num_rounds, mechanism.noise_multiplier * cell.clips_apart) * math.sqrt(
        mechanism.num_steps
    )
    return Twin(
        coins=coins,
        own=np.array(seen.own) / clip if seen.own and config.aggregation.protocol == "plain" else None,
        released=np.array(seen.released) / (clip / num_sites if cell.shares_noise else clip),
        own_stddev=stddev,
        released_stddev=stddev if cell.shares_noise else stddev * np.sqrt(num_averaged),
        unused=_unused(cell),
        summary=outcome,
    )


def _unused(cell: Cell) -> float:
    """Return where a canary that is not used pulls, which is as far off as the cell's neighbours may be."""
    return 1.0 - cell.clips_apart


def _delta(config: Config, num_protected: int) -> float:
    given = config.privacy.target_delta
    return min(*(given.values() if isinstance(given, dict) else [given]), _MOST_DELTA / num_protected)


def _settings(config: Config, mechanism: Mechanism, cell: Cell) -> Config:
    """Return settings of the same mechanism, without what is made of released sums, which is post-processing.

    Raises:
        ConfigError: there is no twin for them.
    """
    privacy = config.privacy
    if reason := unaudited_because(privacy):
        raise ConfigError(reason)
    training = {
        "num_rounds": mechanism.num_rounds,
        "local_steps": mechanism.num_steps,
        "sample_rate": mechanism.sample_rate,
        "learning_rate": 1.0,
        "evaluate_every": mechanism.num_rounds,
        "grad_sample_mode": config.training.grad_sample_mode,
        "device": config.training.device,
    }
    kept: dict[str, Any] = {
        "unit": privacy.unit,
        "placement": privacy.placement,
        "max_grad_norm": privacy.max_grad_norm,
        "noise_multiplier": mechanism.noise_multiplier,
    }
    if privacy.clipping is not None:
        kept["clipping"] = privacy.clipping
    return Config.of(
        {
            "model": {"name": f"{__name__}:{canary_model.__name__}"},
            "training": training,
            "privacy": kept,
            "aggregation": {"protocol": "secure-sum" if cell.needs_secure_sum else "plain"},
            "simulation": {"engine": _ENGINES[config.simulation.engine], "noise": config.simulation.noise},
        }
    )


def _canaries(coins: NDArray[np.bool_], num_hospitals: int, *, unused: float) -> FederatedData:
    """Return hospitals whose records are canaries, each with a coordinate of its own."""
    of_each = len(coins) // num_hospitals
    records = []
    for place, used in enumerate(coins.reshape(num_hospitals, of_each)):
        features = np.zeros((of_each, len(coins)), np.float32)
        features[np.arange(of_each), place * of_each + np.arange(of_each)] = np.where(used, 1.0, unused)
        records.append((features, np.full(of_each, _PULL, np.float32)))
    return made_up("canaries", records, task=REGRESSION)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What a server saw, round by round.

    Attributes:
        of_each: canaries of a hospital.
        num_averaged: by round, over how many hospitals' replies what comes out is summed up: those of the canary's
            hospital and of the next ones; () where the sum of all replies is all that reaches a strategy.
        own: by round, by how much the reply of each canary's hospital moved the canary's coordinate.
        released: by round, by how much the sum of replies moved it there, or the model.
    """

    of_each: int
    num_averaged: Sequence[int]
    own: list[_FloatArray] = field(default_factory=list)
    released: list[_FloatArray] = field(default_factory=list)

    def add(self, before: Arrays, replies: Sequence[Arrays]) -> None:
        """Add a round."""
        moved = np.array([_flat(reply) - _flat(before) for reply in replies])
        if not self.num_averaged:
            self.released.append(moved[0])
            return
        number = self.num_averaged[len(self.own)]
        self.own.append(self._at_own_coordinates(moved))
        summed = np.cumsum(np.concatenate([np.zeros_like(moved[:1]), moved, moved[: number - 1]]), axis=0)
        self.released.append(self._at_own_coordinates(summed[number:] - summed[: len(moved)]))

    def _at_own_coordinates(self, by_hospital: _FloatArray) -> _FloatArray:
        """Return (canaries,) of (hospitals, canaries): what a hospital's row has at its own canaries."""
        places = np.arange(len(by_hospital))
        return by_hospital.reshape(len(by_hospital), len(by_hospital), self.of_each)[places, places].ravel()


def _flat(arrays: Arrays) -> _FloatArray:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays.values()])
