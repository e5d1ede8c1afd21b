"""Tunes from Python: a mapping or a file, objects in the place of names, and what comes back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tunes import BASE, VARY

import wardround as wr

NOISY = {"on": "private", "score": "noisy-brier", "mean-repetitions": 1.5, "most-repetitions": 2}


@pytest.fixture
def base(tmp_path: Path) -> str:
    (tmp_path / "base.toml").write_text(BASE)
    return str(tmp_path / "base.toml")


def test_what_was_chosen_comes_back_as_settings_a_table_and_a_line(ray_session: Any, base: str, tmp_path: Path) -> None:
    seen: list[int] = []
    tuned = wr.tune(
        {
            "tune": {"on": "private", "score": "noisy-brier", "repetitions": "each-once"},
            "study": {"base": base, "vary": VARY},
            "set": {"features": {"standardise": "private"}},
        },
        out=tmp_path / "out",
        on_run=lambda number, total, name: seen.append(number),
    )
    assert seen == [1, 2]
    assert list(tuned.candidates["training.learning-rate"]) == [0.1, 2.0]
    (chosen,) = tuned.candidates[tuned.candidates.is_chosen]["training.learning-rate"]
    assert tuned.chosen.training.learning_rate == chosen
    assert tuned.summary["epsilon"]["total"] == tuned.outcome.epsilon.total <= 4.0
    assert repr(tuned).startswith("Tuning('") and "spent" in repr(tuned)
    best = wr.Run.open(tmp_path / "out" / "runs" / tuned.outcome.run)
    assert best.config.training.learning_rate == chosen
    features = torch.rand(4, 30)
    assert torch.equal(tuned.model()(features), best.model()(features))
    model = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert model == (best.folder / "model.safetensors").read_bytes() and b'"centre' in model.replace(b"\\", b"")
    assert "Every candidate was trained once" in tuned._repr_html_().replace("\n", " ")


def test_data_from_python_are_billed_and_never_those_of_a_stand_in(base: str, tmp_path: Path) -> None:
    data = wr.Federation.from_arrays({name: ([[0.0], [1.0]] * 30, [0, 1] * 30) for name in "ab"})
    tables = {"tune": {"on": "stand-in"}, "study": {"base": base, "vary": VARY}}
    stand_in = {"stand-in": {"federation": {"dataset": "digits"}}}
    with pytest.raises(wr.ConfigError, match="federation is the job's own data, of which nothing is read"):
        wr.tune(tables | stand_in, federation=data, out=tmp_path / "out")
    with pytest.raises(wr.ConfigError, match="must be a path or a mapping of tables"):
        wr.tune(3)  # type: ignore[arg-type]
    with pytest.raises(wr.ConfigError, match=r"unknown section \[tun\]"):
        wr.tune({"tun": {}})


def test_a_model_from_python_has_no_noisy_score(base: str, tmp_path: Path) -> None:
    def linear(input_shape: tuple[int, ...], num_outputs: int) -> torch.nn.Module:
        return torch.nn.Linear(input_shape[0], num_outputs)

    with pytest.raises(wr.ConfigError, match="is of one built-in model for all"):
        wr.tune({"tune": NOISY, "study": {"base": base, "vary": VARY}}, model=linear, out=tmp_path / "out")
