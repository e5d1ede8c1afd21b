"""The catalogue: every data set by name. A file of this folder with `SOURCES`, a tuple of `Source`, is in it.

No file here imports pandas or scikit-learn before its data are loaded, since all of them are imported for their names.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets.download import fetch_file
from wardround.datasets.records import Dataset
from wardround.datasets.source import Source
from wardround.errors import ConfigError
from wardround.names import did_you_mean
from wardround.objects import PYTHON

__all__ = ["SOURCES", "fetch", "is_loader", "load_source"]


def _found() -> list[Source]:
    files = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    found: list[Source] = [source for name in files for source in importlib.import_module(name).SOURCES]
    return sorted(found, key=lambda source: source.place)


SOURCES: Mapping[str, Source] = {source.name: source for source in _found()}
"""Every data set by name, in the order of the catalogue."""


def load_source(config: FederationConfig) -> Dataset:
    """Return the data set of the catalogue that the settings name, loaded and prepared.

    Args:
        config: its dataset, data_dir and keys of tables are used.

    Raises:
        ConfigError: no data set has that name.
        DataError: a file is missing, damaged, or not what the settings say.
    """
    return _source(config.dataset).load(config, fetch(config.dataset, config.data_dir))


def is_loader(name: str) -> bool:
    """Return whether a data set's name is "package.module:loader", a function of the user's.

    >>> is_loader("own.data:load"), is_loader("medmnist:pneumoniamnist"), is_loader("csv")
    (True, False, False)
    """
    return ":" in name and not any(source.startswith(f"{name.partition(':')[0]}:") for source in SOURCES)


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
    return [fetch_file(remote, data_dir) for remote in _source(name).files]


def _source(name: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]
    if name == PYTHON:
        raise ConfigError(
            'dataset = "python" are data that came from Python ([federation] dataset): give them again, as federation= '
            "in wardround.run, wardround.resume or wardround.audit"
        )
    prefix = name.partition(":")[0] + ":"
    family = [source for source in SOURCES.values() if source.name.startswith(prefix)]
    known = [source.name for source in family or SOURCES.values()]
    advice = family[0].advice if family else "see `wardround data list`"
    is_family = bool(family) and ":" not in name
    hint = ":" if is_family else did_you_mean(name.lower().replace("_", "-"), known, otherwise=":")
    raise ConfigError(f'unknown dataset "{name}" ([federation] dataset){hint} Known: {", ".join(known)} ({advice})')
