"""Federated learning across hospitals under differential privacy, with an account of every hospital's epsilon.

`run(config)` trains and returns a `Run`; `load_config` reads the settings. Importing this package imports nothing else:
what a name stands for is imported when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Before Flower or Ray is imported anywhere: neither reports home nor looks for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

if TYPE_CHECKING:
    from wardround.config import Config, config_from_dict, load_config
    from wardround.door import resume, run
    from wardround.simulations.runs import Run

__all__ = ["Config", "Run", "config_from_dict", "load_config", "resume", "run"]

_ON_FIRST_USE = {
    "Config": "config",
    "Run": "simulations.runs",
    "config_from_dict": "config",
    "load_config": "config",
    "resume": "door",
    "run": "door",
}


def __getattr__(name: str) -> Any:
    """Return what is loaded when it is first used (PEP 562): words come before libraries."""
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
