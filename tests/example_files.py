"""The settings files of the examples, and what they are run with."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ_FROM_FILES = (
    "adaptive-steps",
    "adaptive-steps-stroke",
    "chest-x-rays",
    "chest-x-rays-in-one-place",
    "chest-x-rays-in-shares",
    "cifar10-imbalanced",
    "cifar10-imbalanced-without-privacy",
    "falling-rates",
    "fashion-mnist",
    "fashion-mnist-hospitals",
    "fashion-mnist-options",
    "fashion-mnist-placements",
    "fashion-mnist-published-noise",
    "fashion-mnist-trustless",
    "flamby-heart-disease",
    "flamby-heart-disease-without-privacy",
    "heart-disease",
    "heart-disease-without-privacy",
    "heart-with-a-trusted-server",
    "hospitals-at-epsilon-8",
    "hospitals-at-equal-epsilon",
    "imbalance",
    "imbalance-local",
    "imbalance-local-at-epsilon-1",
    "imbalance-of-hospitals",
    "imbalance-of-hospitals-at-epsilon-8",
    "imbalance-without-privacy",
    "personal-models",
    "personal-models-of-small-hospitals",
    "placements-at-equal-epsilon",
    "placements-local-at-small-epsilon",
    "statistics-at-epsilon-8",
    "stroke-trial",
    "stroke-trial-alone",
    "survival",
    "survival-alone",
    "tcga-brca",
    "the-clip",
    "the-clip-of-hospitals",
    "the-clip-without-privacy",
    "tune-stroke",
    "tune-stroke-private",
)
"""Examples whose data no package ships."""


def files(folder: str) -> list[Path]:
    """Return the settings files of a folder."""
    return sorted((ROOT / folder).glob("*.toml"))


def stem(path: Path) -> str:
    """Return by what a test tells a file from others."""
    return path.stem


def as_the_examples_say(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where they are to be run from, with their own modules to import and their data, or skip."""
    if request.getfixturevalue("path").stem in READ_FROM_FILES:
        monkeypatch.setenv("WARDROUND_DATA", str(request.getfixturevalue("real_data")))
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
