"""The catalogue: every data set by name. A file of this folder with `SOURCES`, a tuple of `Source`, is in it.

No file here imports pandas or scikit-learn before its data are loaded, since all of them are imported for their names.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wardround.config import FederationConfig
from wardround.datasets.records import Dataset
from wardround.datasets.source import Source
from wardround.errors import ConfigError
from wardround.names import did_you_mean

__all__ = ["SOURCES", "CatalogueEntry", "catalogue", "fetch", "load_dataset"]


class CatalogueEntry(NamedTuple):
    """One line of `wardround data list`."""

    name: str
    sentence: str
    task: str
    num_rows: int | None
    needs_download: bool


def _found() -> list[Source]:
    files = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    found: list[Source] = [source for name in files for source in importlib.import_module(name).SOURCES]
    return sorted(found, key=lambda source: source.place)


SOURCES: Mapping[str, Source] = {source.name: source for source in _found()}


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
    prefix = name.partition(":")[0] + ":"
    family = [source for source in SOURCES.values() if source.name.startswith(prefix)]
    known = [source.name for source in family or SOURCES.values()]
    advice = family[0].advice if family else "see `wardround data list`"
    is_family = bool(family) and ":" not in name
    hint = ":" if is_family else did_you_mean(name.lower().replace("_", "-"), known, otherwise=":")
    raise ConfigError(f'unknown dataset "{name}" ([federation] dataset){hint} Known: {", ".join(known)} ({advice})')
