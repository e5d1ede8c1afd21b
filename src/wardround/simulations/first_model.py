"""The model before round 1, built and checked, and what the summary says of where it is trained."""

import os
from dataclasses import replace
from typing import Any

import torch

from wardround.clients.profiles import hospital_profile
from wardround.clients.trainers import build_trainer
from wardround.clients.training import resolve_device
from wardround.config import Config
from wardround.datasets import Federation
from wardround.errors import ConfigError
from wardround.server.app import initial_model
from wardround.server.record.records import RunFacts

__all__ = ["first_model", "num_workers_of"]


def first_model(config: Config, federation: Federation) -> tuple[dict[str, Any], RunFacts]:
    """Return the parameters before round 1, and what the summary says of the run's place and data.

    Raises:
        ConfigError: the model or the mode can't be trusted with privacy, or there is no such device here.
    """
    device = resolve_device(config.training.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError('device = "cuda" but torch finds none here ([training] device): set "cpu" or "auto"')
    build_trainer(config, federation)  # refuses a model that can't be trusted
    arrays, facts = initial_model(config, hospital_profile(federation.hospitals[0], federation))
    return arrays, replace(
        facts,
        partition=federation.partition,
        engine=config.simulation.engine,
        num_workers=1 if config.simulation.engine == "inline" else num_workers_of(config, len(federation.hospitals)),
        device=device.type,
        class_names=tuple(federation.class_names),
        notes=(*federation.notes, *facts.notes),
        excluded=tuple(federation.excluded),
    )


def num_workers_of(config: Config, num_hospitals: int) -> int:
    """Return how many Ray workers the run uses: as many as the settings say, and never more than hospitals."""
    return min(config.simulation.num_workers or os.cpu_count() or 1, num_hospitals)
