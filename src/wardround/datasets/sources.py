"""The catalogue: every data set by name, with what it is and how it is loaded and fetched."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wardround.config import FederationConfig
from wardround.datasets.breast_cancer import load_breast_cancer
from wardround.datasets.cifar10 import fetch_cifar10, load_cifar10
from wardround.datasets.csv_file import load_csv
from wardround.datasets.digits import load_digits
from wardround.datasets.fashion_mnist import fetch_fashion_mnist, load_fashion_mnist
from wardround.datasets.heart_disease import fetch_heart_disease, load_heart_disease
from wardround.datasets.ist import fetch_ist, load_ist
from wardround.datasets.medmnist import MEDMNIST, fetch_medmnist, load_medmnist
from wardround.datasets.mnist import fetch_mnist, load_mnist
from wardround.datasets.records import CLASSIFICATION, REGRESSION, Dataset
from wardround.datasets.schema_table import load_schema_table
from wardround.datasets.synthetic_regression import load_synthetic_regression
from wardround.errors import ConfigError

__all__ = ["SOURCES", "CatalogueEntry", "Source", "catalogue", "fetch", "load_dataset"]


def _load_own_table(config: FederationConfig) -> Dataset:
    return load_csv(config) if config.schema is None else load_schema_table(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set: a sentence on it, its task and rows, how to load it and how to fetch its files.

    `task` and `num_rows` are None where the user's file decides; `fetch` is None where no file is needed.
    """

    sentence: str
    task: str | None
    num_rows: int | None
    load: Callable[[FederationConfig], Dataset]
    fetch: Callable[[str | None], list[Path]] | None = None


class CatalogueEntry(NamedTuple):
    """One line of `wardround data list`."""

    name: str
    sentence: str
    task: str
    num_rows: int | None
    needs_download: bool


SOURCES: Mapping[str, Source] = {
    "breast-cancer": Source(
        sentence="breast tumours, malignant or not (bundled with scikit-learn)",
        task=CLASSIFICATION,
        num_rows=569,
        load=load_breast_cancer,
    ),
    "digits": Source(
        sentence="handwritten digits, 8x8 pixels (bundled with scikit-learn)",
        task=CLASSIFICATION,
        num_rows=1_797,
        load=load_digits,
    ),
    "heart-disease": Source(
        sentence="coronary artery disease at four real hospitals",
        task=CLASSIFICATION,
        num_rows=740,
        load=load_heart_disease,
        fetch=fetch_heart_disease,
    ),
    "ist": Source(
        sentence="death within 14 days of a stroke, 466 real hospitals (International Stroke Trial)",
        task=CLASSIFICATION,
        num_rows=19_435,
        load=load_ist,
        fetch=fetch_ist,
    ),
    "fashion-mnist": Source(
        sentence="clothing, 28x28 pixels, ten kinds",
        task=CLASSIFICATION,
        num_rows=70_000,
        load=load_fashion_mnist,
        fetch=fetch_fashion_mnist,
    ),
    "mnist": Source(
        sentence="handwritten digits, 28x28 pixels",
        task=CLASSIFICATION,
        num_rows=70_000,
        load=load_mnist,
        fetch=fetch_mnist,
    ),
    "cifar10": Source(
        sentence="colour photographs, 32x32 pixels, ten kinds",
        task=CLASSIFICATION,
        num_rows=60_000,
        load=load_cifar10,
        fetch=fetch_cifar10,
    ),
    **{
        f"medmnist:{name}": Source(
            sentence=images.sentence,
            task=CLASSIFICATION,
            num_rows=images.num_rows,
            load=load_medmnist,
            fetch=partial(fetch_medmnist, name),
        )
        for name, images in MEDMNIST.items()
    },
    "synthetic-regression": Source(
        sentence="a known function of six features with Gaussian noise",
        task=REGRESSION,
        num_rows=100_000,
        load=load_synthetic_regression,
    ),
    "csv": Source(
        sentence="your own file: [federation] path, target, hospital-column, patient-column, task, schema",
        task=None,
        num_rows=None,
        load=_load_own_table,
    ),
}


def catalogue() -> list[CatalogueEntry]:
    """Return one entry per data set, in the order of the catalogue."""
    return [
        CatalogueEntry(name, source.sentence, source.task or "either", source.num_rows, source.fetch is not None)
        for name, source in SOURCES.items()
    ]


def load_dataset(config: FederationConfig) -> Dataset:
    """Return the data set that the settings name, loaded and prepared.

    Args:
        config: its dataset, data_dir and csv keys are used.

    Raises:
        ConfigError: no data set has that name.
        DataError: a file is missing, damaged, or not what the settings say.
    """
    return _source(config.dataset).load(config)


def fetch(name: str, data_dir: str | None = None) -> list[Path]:
    """Return the verified files of a data set, downloaded into the cache where no folder has them.

    Args:
        name: as in [federation] dataset.
        data_dir: folder to search first, or None.

    Returns:
        Paths; none where the data set needs no file.

    Raises:
        ConfigError: no data set has that name.
        DataError: a file is damaged, or missing and cannot be downloaded.
    """
    source = _source(name)
    return source.fetch(data_dir) if source.fetch else []


def _source(name: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]
    if name.partition(":")[0] == "medmnist":
        known = [f"medmnist:{known}" for known in MEDMNIST]
        advice = "28x28 pixels and one label per image; chestmnist and the 3D sets are not supported"
    else:
        known = list(SOURCES)
        advice = "see `wardround data list`"
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near and name != "medmnist" else ""
    raise ConfigError(f'unknown dataset "{name}" ([federation] dataset): {hint}Known: {", ".join(known)} ({advice})')
