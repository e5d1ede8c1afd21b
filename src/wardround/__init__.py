"""Federated learning across hospitals under differential privacy, with an account of every hospital's epsilon.

`run(config)` trains and returns a `Run`; `load_config` reads the settings. Importing this package is cheap: torch,
Flower and Ray are imported by the first call that needs them.
"""

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

# Before Flower or Ray is imported anywhere: neither reports home nor looks for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from wardround.config import Config, config_from_dict, load_config
from wardround.first_use import on_first_use

if TYPE_CHECKING:
    from wardround.door import resume, run
    from wardround.simulations.runs import Run

__all__ = ["Config", "Run", "config_from_dict", "load_config", "resume", "run"]
__version__ = version("wardround")

__getattr__ = on_first_use(__name__, {"Run": "simulations.runs", "resume": "door", "run": "door"})
