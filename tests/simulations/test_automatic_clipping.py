"""Automatic clipping: every record's gradient is scaled to nearly the clip, in every cell of records."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as some
from made_up import PRIVATE
from safetensors.numpy import load_file
from small_runs import draw_in_common, small_config
from torch import nn

from wardround.clients.gradients import ClippedSum, per_record_module, quiet_hooks, trained_parameters
from wardround.clients.losses import loss_per_record
from wardround.config import Config, config_from_dict, config_to_toml
from wardround.errors import ConfigError
from wardround.privacy.cells import AUTOMATIC
from wardround.server.record.verify import verify_run
from wardround.simulations.prepared import plan
from wardround.simulations.runs import run

CLIP, STABILITY, NUM_FEATURES = 0.7, 0.01, 5
CELLS = [cell for cell in PRIVATE if cell[0] == "record"]


def summed(features: np.ndarray, labels: np.ndarray, mode: str = "closed-form", *, is_automatic: bool = True) -> Any:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(NUM_FEATURES, 2, bias=False))
    made = ClippedSum(trained_parameters(model), CLIP, is_automatic=is_automatic)
    module = per_record_module(model, mode, CLIP)
    with quiet_hooks():
        made.add_batch(module, torch.tensor(features), torch.tensor(labels), loss_per_record("classification"))
    return made.values()[0].numpy(), model[1].weight.detach().double().numpy()


def data(seed: int, num_records: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scales = 10.0 ** generator.integers(-4, 4, (num_records, 1))
    features = (generator.normal(size=(num_records, NUM_FEATURES)) * scales).astype(np.float32)
    return features, generator.integers(0, 2, num_records)


@pytest.mark.parametrize("mode", ["closed-form", "hooks", "functorch", "ew"])
def test_the_sum_is_the_numpy_loops(mode: str) -> None:
    features, labels = data(0, 30)
    found, weight = summed(features, labels, mode)
    wanted = np.zeros_like(weight)
    for row, label in zip(features.astype(np.float64), labels, strict=True):
        logits = weight @ row - (weight @ row).max()
        gradient = np.outer(np.exp(logits) / np.exp(logits).sum() - np.eye(2)[label], row)
        wanted += gradient * CLIP / (np.linalg.norm(gradient) + STABILITY)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@examples(max_examples=60, deadline=None)
@given(seed=some.integers(0, 10_000), scale=some.sampled_from([1e-30, 1e-3, 1.0, 1e10, 1e30]))
def test_zeroing_a_record_out_moves_the_sum_by_at_most_the_clip(seed: int, scale: float) -> None:
    features, labels = data(seed, 12)
    features[-1] = features[-1] / np.abs(features[-1]).max() * np.float32(scale)
    emptied = features.copy()
    emptied[-1] = 0.0
    moved = np.linalg.norm(summed(features, labels)[0] - summed(emptied, labels)[0])
    assert moved <= CLIP
    if scale >= 1e10:
        assert moved == 0 or moved > 0.99 * CLIP  # a record that is told right has no gradient


def config_of(placement: str = "local", clipping: str | None = AUTOMATIC, **sections: Any) -> Config:
    training = {"num-rounds": 2} | ({} if placement == "local" else {"local-steps": None})
    return small_config(
        training=training | sections.pop("training", {}),
        privacy={"placement": placement, "clipping": clipping} | sections.pop("privacy", {}),
        aggregation={"protocol": "secure-sum", "min-survivors": 2},
        **sections,
    )


@pytest.mark.parametrize(("unit", "placement"), CELLS)
@pytest.mark.parametrize("size", [1, 3])
def test_a_run_costs_the_same_and_engines_agree(
    unit: str, placement: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size > 1 and placement == "distributed":
        pytest.skip("groups have no integer noise")
    draw_in_common(monkeypatch)
    groups = {"microbatch-size": size, "max-grad-norm": 5.0}
    done = {
        engine: run(config_of(placement, privacy=groups, simulation={"engine": engine}), out=tmp_path / engine)
        for engine in ("inline", "stacked")
    }
    flat = run(config_of(placement, None, privacy=groups), out=tmp_path / "flat")
    one, other, plain = (
        load_file(each.folder / "model.safetensors") for each in (done["inline"], done["stacked"], flat)
    )
    assert done["inline"].outcome.epsilon == done["stacked"].outcome.epsilon == flat.outcome.epsilon
    for name in one:
        # Roundings by factors draw as many numbers for a stack, and hang on last bits of what is rounded.
        np.testing.assert_allclose(one[name], other[name], atol=1e-3 if placement == "distributed" else 1e-5)
        assert not np.allclose(one[name], plain[name], atol=1e-3)
    assert all(verify_run(each.folder)[0] == [] for each in done.values())


def test_it_has_one_spelling_each() -> None:
    assert config_of(clipping="flat") == config_of(clipping=None)
    hospitals = {"unit": "hospital", "placement": "central", "target-delta": 1e-2}
    adaptive = small_config(privacy=hospitals | {"clipping": "adaptive"})
    assert adaptive == small_config(privacy=hospitals | {"adaptive-clipping": True})
    assert adaptive.privacy.target_quantile == 0.5 and adaptive.privacy.clipping is None
    again = config_from_dict({"privacy": {"clipping": AUTOMATIC}})
    assert f'clipping = "{AUTOMATIC}"' in config_to_toml(again)


def test_one_kind_gives_way_to_another() -> None:
    hospitals = {"unit": "hospital", "placement": "central", "target-delta": 1e-2, "clipping": "adaptive"}
    adaptive = small_config(privacy=hospitals | {"target-quantile": 0.3})
    flat = adaptive.change(privacy={"clipping": "flat"}).privacy
    assert (flat.adaptive_clipping, flat.target_quantile) == (False, None)
    records = adaptive.change(privacy={"unit": "record", "clipping": AUTOMATIC}).privacy
    assert (records.adaptive_clipping, records.clipping) == (False, AUTOMATIC)
    assert config_of().change(privacy={"placement": "none"}).privacy.clipping is None
    assert config_of().change(privacy={"unit": "hospital", "target_delta": 1e-2}).privacy.clipping is None


@pytest.mark.parametrize(
    ("privacy", "training", "message"),
    [
        ({"unit": "hospital"}, {}, r'clipping = "automatic" scales the gradient of every record.*\[privacy\] clipping'),
        ({"placement": "none", "noise-multiplier": None}, {}, r'clipping = "automatic" has no meaning without privacy'),
        ({"adaptive-clipping": True}, {}, r"exclude each other .*: remove one of them"),
        ({}, {"grad-sample-mode": "ghost"}, r'"ghost" has factors of its own.*: set "auto"'),
        ({"clipping": "sharp"}, {}, r'clipping = "sharp" must be one of flat, automatic, adaptive'),
        ({"clipping": "adaptive"}, {}, r"needs updates that are summed"),
    ],
)
def test_what_it_does_not_go_with_is_refused(privacy: dict[str, Any], training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(privacy=privacy, training=training)


def test_released_statistics_are_clipped_as_ever() -> None:
    """A vector that were scaled to the clip would be another mean."""
    statistics = plan(config_of(features={"standardise": "private"})).statistics
    assert statistics is not None and statistics.config.privacy.clipping is None
