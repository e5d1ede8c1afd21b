"""Whether a run that is taken up again is the one that was begun: settings, data, versions, and an untouched ledger.

A round that was charged but not committed is done again with the random numbers it had. With other settings, data
or versions the second release would differ from the first, and the two together would tell more than was charged.
"""

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wardround.config import Config, SimulationConfig, config_to_toml
from wardround.errors import ConfigError, DataError, ProtocolError
from wardround.privacy.ledger import Ledger
from wardround.server.plans import FederationPlan
from wardround.server.run_folder import RunFolder

__all__ = ["check_same_run", "check_untouched", "decisive", "identity_of", "settings_digest"]

_DECISIVE = ("wardround", "flwr", "numpy", "opacus", "torch")
"""The packages that decide the bits of a model."""


def identity_of(plan: FederationPlan) -> dict[str, Any]:
    """Return what must not change between the parts of one run; kept with round 0 in the ledger."""
    return {
        "settings": settings_digest(plan.config),
        "fingerprints": plan.fingerprints,
        "versions": {name: version(name) for name in _DECISIVE},
        "code": _code_digests(plan.config),
        "device": _device(plan.config),
    }


def _code_digests(config: Config) -> dict[str, str]:
    """Return the sha256 of the source file of every "package.module:factory" in the settings."""
    digests = {}
    for name in (config.model.name, config.aggregation.strategy):
        module_name, colon, _ = name.partition(":")
        source = inspect.getsourcefile(importlib.import_module(module_name)) if colon else None
        if source is not None:
            digests[name] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    return digests


def _device(config: Config) -> str:
    """Return what kind of device trains: streams of noise differ between them."""
    if config.training.device != "auto":
        return config.training.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_same_run(plan: FederationPlan, identity: Mapping[str, Any], folder: RunFolder) -> None:
    """Compare the run that is about to go on with the one that was begun.

    Args:
        plan: made from the settings and the data as they are now.
        identity: of the run when it was begun.
        folder: of the run, for the messages.

    Raises:
        ConfigError: the settings or the versions differ.
        DataError: a hospital's training data differs, or there are other hospitals.
    """
    now = identity_of(plan)
    if now["settings"] != identity["settings"]:
        raise ConfigError(
            f"{folder.path / 'config.toml'} was changed since the run began: put it back, or begin a new run with "
            f"wardround run {folder.path / 'config.toml'} --out DIR"
        )
    for name, then in identity["versions"].items():
        if now["versions"][name] != then:
            raise ConfigError(
                f"the run was begun with {name} {then}, and {now['versions'][name]} is installed, which may not end in "
                f"the same bits: install {name}=={then}, or begin a new run"
            )
    if now["code"] != identity["code"] or now["device"] != identity["device"]:
        raise ConfigError(
            f"the code of {' or '.join(now['code']) or 'the run'} was changed since the run began, or another device "
            "is used: a round that was charged would be released a second time; put it back, or begin a new run"
        )
    before, after = identity["fingerprints"], now["fingerprints"]
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if differing:
        raise DataError(
            f"the training data of {', '.join(differing[:3])}{' and others' if len(differing) > 3 else ''} is not what "
            "the run was begun with: put the data back, or begin a new run"
        )


def check_untouched(ledger: Ledger, folder: RunFolder) -> None:
    """Refuse a ledger that does not verify, or that knows less than the checkpoints beside it.

    Raises:
        ProtocolError: naming the first finding.
    """
    if findings := ledger.verify():
        raise ProtocolError(
            f"{folder.ledger} is not as it was written ({findings[0]}; {len(findings)} in all): restore it from a "
            f"backup; wardround ledger verify {folder.path} lists everything"
        )
    last = max((number for number, _ in ledger.rounds()), default=-1)
    newest = max(folder.checkpoint_rounds(), default=-1)
    # A crash may leave the checkpoint of the next round behind, never of a later one.
    if newest > last + 1:
        raise ProtocolError(
            f"{folder.ledger} ends at round {last}, but there is a checkpoint of round {newest}: the ledger was "
            "replaced or lost what was charged; restore it from a backup"
        )


def settings_digest(config: Config) -> str:
    """Return a digest of the decisive settings."""
    return hashlib.sha256(config_to_toml(decisive(config)).encode()).hexdigest()


def decisive(config: Config) -> Config:
    """Return the settings without those that can't change a bit: where the data is, and the engine."""
    return replace(
        config,
        federation=replace(config.federation, data_dir=None),
        simulation=SimulationConfig(dropout_rate=config.simulation.dropout_rate),
    )
