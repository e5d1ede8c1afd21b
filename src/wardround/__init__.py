"""Federated learning across hospitals under differential privacy, with an account of every hospital's epsilon.

`run` trains and returns a `Run`, `plan` says what it would spend, `compare` runs a study, `tune` chooses settings,
`resume` goes on with a run, `verify` holds its files to its ledger; `Config` has the settings and `Federation` the
data. Importing this package imports its errors alone: what another name stands for is imported when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Before Flower or Ray is imported anywhere: neither reports home nor looks for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from wardround.collector import paused
from wardround.errors import (
    BudgetError,
    CohortError,
    ConfigError,
    DataError,
    ProtocolError,
    UpdateError,
    WardroundError,
)

if TYPE_CHECKING:
    from wardround.config import Config, config_from_dict, load_config
    from wardround.datasets import Federation
    from wardround.door.audits import audit
    from wardround.door.data import catalogue, describe, describe_columns, fetch
    from wardround.door.dossiers import dossier, verify_dossier
    from wardround.door.folders import report, verify
    from wardround.door.plans import Plan, plan
    from wardround.door.runs import Run, resume, run
    from wardround.door.studies import Study, compare
    from wardround.door.tunes import Tuning, tune

__all__ = [
    "BudgetError",
    "CohortError",
    "Config",
    "ConfigError",
    "DataError",
    "Federation",
    "Plan",
    "ProtocolError",
    "Run",
    "Study",
    "Tuning",
    "UpdateError",
    "WardroundError",
    "audit",
    "catalogue",
    "compare",
    "config_from_dict",
    "describe",
    "describe_columns",
    "dossier",
    "fetch",
    "load_config",
    "plan",
    "report",
    "resume",
    "run",
    "tune",
    "verify",
    "verify_dossier",
]

_ON_FIRST_USE = {
    "Config": "config",
    "config_from_dict": "config",
    "load_config": "config",
    "Federation": "datasets",
    "audit": "door.audits",
    "catalogue": "door.data",
    "describe": "door.data",
    "describe_columns": "door.data",
    "fetch": "door.data",
    "dossier": "door.dossiers",
    "verify_dossier": "door.dossiers",
    "report": "door.folders",
    "verify": "door.folders",
    "Plan": "door.plans",
    "plan": "door.plans",
    "Run": "door.runs",
    "resume": "door.runs",
    "run": "door.runs",
    "Study": "door.studies",
    "compare": "door.studies",
    "Tuning": "door.tunes",
    "tune": "door.tunes",
}


def __getattr__(name: str) -> Any:
    """Return what is loaded when it is first used (PEP 562): words come before libraries."""
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with paused():
        return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", *(name for name in globals() if name.startswith("__"))])
