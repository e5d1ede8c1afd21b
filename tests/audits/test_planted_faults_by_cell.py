"""Planted faults in every cell that has canaries: whoever adds the noise, and whatever is protected."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_config

import wardround
from wardround.audits.canaries import Mechanism, run_twin
from wardround.audits.mechanisms import groups_of
from wardround.audits.readers import Levels, bills_of, got, seen_by
from wardround.clients import clipped_sums, gradients
from wardround.clients.cells import whole_updates
from wardround.clients.stacked import sums
from wardround.privacy.cells import CELLS
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger

CELLS_WITH_CANARIES = [cell for cell in CELLS if cell.has_canaries and cell.is_private]
_LEVELS = Levels(false_alarm=1e-4, too_large=0.025)


def run_of(cell, folder, engine="stacked"):
    config = small_config(
        training={"num-rounds": 4, "local-steps": None if cell.sends_sum else 1, "sample-rate": 1.0},
        privacy={"unit": cell.unit, "placement": cell.placement, "noise-multiplier": 1.0, "target-delta": 1e-4},
        aggregation={"protocol": "secure-sum" if cell.needs_secure_sum else "plain", "min-survivors": 3},
        simulation={"engine": engine},
    )
    return wardround.run(config, out=folder / "run")


@pytest.mark.parametrize("cell", CELLS_WITH_CANARIES, ids=lambda cell: cell.name)
def test_halved_noise_is_an_alarm_and_what_is_billed_is_none(cell, tmp_path):
    run = run_of(cell, tmp_path)
    with open_ledger(run.folder / "ledger.sqlite", read_only=True) as ledger:
        entries = ledger.entries()
        bills = bills_of(account_from_ledger(ledger, dict.fromkeys(run.outcome.epsilon.hospitals, 1e-4)))
    (group,) = groups_of(entries, {})
    twins = {}
    for share in (1.0, 0.5):
        done = replace(group.mechanism, noise_multiplier=share * group.mechanism.noise_multiplier)
        twin = run_twin(run.config, done, num_hospitals=3, num_canaries=300, seed=2, cohort_sizes=group.cohort_sizes)
        # As it is billed, whatever was done.
        twins[share] = replace(twin, own_stddev=twin.own_stddev / share, released_stddev=twin.released_stddev / share)
    for share, twin in twins.items():
        for reader, seen in seen_by(twin, group.mechanism, cell).items():
            if seen is None:
                continue
            found = got(seen, bills["hospital-01"][reader], _LEVELS)
            assert found.is_noise_low == (share < 1)
            assert found.noise == pytest.approx(share, rel=0.15)
            assert share < 1 or not found.is_refuted


@pytest.fixture
def skip_clipping(monkeypatch):
    def unclipped(parts, clips, *, is_automatic=False):
        parts, factors, is_lost = clipped_sums.clipped(parts, clips, is_automatic=is_automatic)
        return parts, torch.ones_like(factors) if factors.shape[1] >= 20 else factors, is_lost

    clip = whole_updates.clip_update

    def skip() -> None:
        monkeypatch.setattr(gradients, "clipped", unclipped)
        monkeypatch.setattr(sums, "clipped", unclipped)
        monkeypatch.setattr(whole_updates, "clip_update", lambda update, most: clip(update, 100 * most))

    return skip


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS_WITH_CANARIES if cell.placement != "distributed"], ids=lambda cell: cell.name
)
def test_what_is_not_clipped_is_an_alarm(cell, skip_clipping, tmp_path):
    run = run_of(cell, tmp_path, "inline")
    skip_clipping()
    found = wardround.audit(run, canaries=600)
    assert found.is_alarm
    assert any("is every gradient clipped" in each for each in found.suspicions)


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS_WITH_CANARIES if cell.placement == "distributed"], ids=lambda cell: cell.name
)
def test_what_becomes_integers_is_clipped_once_more_by_construction(cell, skip_clipping, tmp_path):
    run = run_of(cell, tmp_path, "inline")
    skip_clipping()
    mechanism = Mechanism(noise_multiplier=1.0, sample_rate=1.0, num_steps=1, num_rounds=4)
    twin = run_twin(run.config, mechanism, num_hospitals=3, num_canaries=300, seed=1)
    moved = twin.released[:, twin.coins]
    assert moved.mean() <= 1 + 4 / np.sqrt(moved.size)
    assert not wardround.audit(run, canaries=300).is_alarm
