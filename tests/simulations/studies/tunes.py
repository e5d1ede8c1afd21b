"""Small tunes that several tests run: breast cancer at three hospitals, two learning rates."""

from pathlib import Path
from typing import Any

import numpy as np

from wardround.simulations.studies.tune import Tune
from wardround.simulations.studies.tune_toml import tune_of

BASE = """
[federation]
dataset = "breast-cancer"
num-hospitals = 3
seed = 7

[training]
num-rounds = 2
local-steps = 1
sample-rate = 0.2

[privacy]
target-epsilon = 4.0
target-delta = 1e-4
"""
VARY = {"training.learning-rate": [0.1, 2.0]}
NOISY = {"on": "private", "score": "noisy-brier", "mean-repetitions": 2.0, "most-repetitions": 3}


def public_records() -> tuple[Any, Any]:
    """Return sixty records that stand for public ones."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return ((features - features.mean(0)) / features.std(0))[:60].astype(np.float32), labels[:60]


def small_tune(folder: Path, tune: dict[str, Any], *, base: str = BASE, **tables: Any) -> Tune:
    """Return a tune of the small base, which is written to the folder; of [study] what is given beside it."""
    (folder / "base.toml").write_text(base)
    study = {"base": "base.toml", "vary": VARY} | tables.pop("study", {})
    given = {"tune": tune, "study": study} | {name.replace("_", "-"): table for name, table in tables.items()}
    return tune_of(given, folder, "small")
