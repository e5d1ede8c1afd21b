"""Federated learning across hospitals under differential privacy, with an account of every hospital's epsilon.

`run(config)` trains and returns a `Run`; `load_config` reads the settings. Importing this package is cheap: torch,
Flower and Ray are imported by the first call that needs them.
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

# Before Flower or Ray is imported anywhere: neither reports home nor looks for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from wardround.config import Config, config_from_dict, load_config

if TYPE_CHECKING:
    from wardround.door import resume, run
    from wardround.simulations.runs import Run

__all__ = ["Config", "Run", "config_from_dict", "load_config", "resume", "run"]
__version__ = version("wardround")

_ON_FIRST_USE = {"Run": "simulations.runs", "resume": "door", "run": "door"}


def __getattr__(name: str) -> Any:
    """Return what is loaded when it is first used, so that importing this package is cheap (PEP 562)."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
