"""Models of a user's own as they come, in runs with privacy and without."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_runs import small_config
from torch import nn

from wardround.simulations.runs import run


def net(input_shape, num_outputs):
    """A batch normalisation of rows: one value of each channel a record, which alone would be a constant."""
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_outputs))


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("is_private", [True, False], ids=["private", "plain"])
def test_a_batch_normalisation_of_rows_is_replaced_by_what_learns_and_one_short_note_says_so(
    is_private: bool, batch_size: int, tmp_path: Path
) -> None:
    privacy = {"noise-multiplier": 0.5} if is_private else {"placement": "none", "noise-multiplier": None}
    config = small_config(
        model={"name": f"{__name__}:net"},
        training={"num-rounds": 2, "sample-rate": None, "batch-size": batch_size, "local-steps": 20},
        privacy=privacy,
    )
    finished = run(config, out=tmp_path / "run")
    (note,) = (note for note in finished.summary["model_changes"] if "BatchNorm1d" in note)
    assert len(note) < 200
    assert "BatchNorm1d replaced by GroupNorm" in note
    # What it predicts is not the same for every patient.
    if batch_size > 1:
        assert finished.summary["auc"] > 0.9
    model = load_file(finished.folder / "model.safetensors")
    assert all(np.isfinite(array).all() for array in model.values())
