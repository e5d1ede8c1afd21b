"""Federated learning across hospitals under differential privacy, with an account of every hospital's epsilon.

`run(config)` trains and returns a `Run`; `load_config` reads the settings. Importing this package is cheap: torch,
Flower and Ray are imported by the first call that needs them.
"""

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

# Before Flower or Ray is imported anywhere: neither reports home nor looks for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from wardround.config import Config, config_from_dict, load_config

if TYPE_CHECKING:
    from wardround.door import resume, run
    from wardround.simulations import Run

__all__ = ["Config", "Run", "config_from_dict", "load_config", "resume", "run"]
__version__ = version("wardround")


def __getattr__(name: str) -> Any:
    if name in ("resume", "run"):
        from wardround import door

        return getattr(door, name)
    if name == "Run":
        from wardround.simulations import Run

        return Run
    raise AttributeError(f"module 'wardround' has no attribute '{name}'")
