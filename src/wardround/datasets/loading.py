"""From settings to rows, wherever these are: in the catalogue, in a user's module, or handed over from Python."""

from collections.abc import Mapping
from dataclasses import replace

from wardround.config import TABLE_KEYS, Config, FeaturesConfig, FederationConfig
from wardround.datasets.extraction import extracted
from wardround.datasets.federation import build_federation
from wardround.datasets.handed_data import Federation
from wardround.datasets.own_tables import dataset_of_frame
from wardround.datasets.records import Dataset, FederatedData
from wardround.datasets.sources import is_loader, load_source
from wardround.errors import ConfigError, WardroundError
from wardround.names import shown_name
from wardround.objects import from_name

__all__ = ["load_dataset", "load_federation", "resolved"]

_DEFAULT = FeaturesConfig()


def load_federation(federation: FederationConfig, features: FeaturesConfig = _DEFAULT) -> FederatedData:
    """Return the hospitals that the settings describe, with their training and test rows.

    Args:
        federation: which data, and how they are split.
        features: how numbers are standardised, and what images become.

    Raises:
        ConfigError: a setting does not fit the data (unknown name, more hospitals than patients, no hospitals named,
            none large enough).
        DataError: the data is missing or damaged.
    """
    return build_federation(extracted(load_dataset(federation), features), federation, features)


def resolved(config: Config, federation: FederatedData) -> Config:
    """Return settings that name what the data decided: partition, edges of times, and how numbers are standardised."""
    mode = federation.standardise if federation.numbers else config.features.standardise
    return replace(
        config,
        federation=replace(
            config.federation,
            partition=federation.partition,
            time_edges=federation.time_edges or config.federation.time_edges,
        ),
        features=replace(config.features, standardise=mode),
    )


def load_dataset(config: FederationConfig) -> Dataset:
    """Return the data set that the settings name, loaded and prepared.

    A user's loader, "package.module:loader", is called without arguments. It returns a pandas DataFrame, which is read
    like a file by the keys of [federation]; or a `Federation`, or arrays as `Federation.from_arrays` takes them.

    Args:
        config: its dataset, data_dir, keys of tables and what was handed over are used.

    Raises:
        ConfigError: no data set has that name, or a user's loader failed.
        DataError: a file is missing, damaged, or not what the settings say.
    """
    if config.handed is not None:
        handed: Dataset = config.handed.value
        return handed
    if not is_loader(config.dataset):
        if config.target is not None and config.dataset != "csv":
            raise ConfigError(f'[federation] target goes with dataset = "csv", not "{config.dataset}": remove it')
        return load_source(config)
    return _users(config)


def _users(config: FederationConfig) -> Dataset:
    name = config.dataset
    try:
        loaded = from_name(name, None)()
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'dataset = "{name}" could not be loaded: {type(error).__name__}: {error}. It must be a function without '
            "arguments, importable from here ([federation] dataset)"
        ) from error
    if hasattr(loaded, "columns") and hasattr(loaded, "to_numpy"):
        if config.target is None:
            raise ConfigError(f'dataset = "{name}" returned a table, and needs [federation] target: add target = "..."')
        return replace(dataset_of_frame(loaded, config, source=name), name=name)
    if isinstance(loaded, Mapping):
        loaded = Federation.from_arrays(loaded)
    if not isinstance(loaded, Federation):
        raise ConfigError(
            f'dataset = "{name}" returned {shown_name(type(loaded).__name__)}, and must return a pandas DataFrame, a '
            'wardround.Federation or a mapping {"hospital": (features, labels)}'
        )
    for key in ("target", *TABLE_KEYS, "patient-scope"):  # a column of patients, say, which nothing would read
        if getattr(config, key.replace("-", "_")) not in (None, "federation"):
            raise ConfigError(f'[federation] {key} goes with tables, and "{name}" returned none: remove it')
    return replace(loaded.dataset, name=name)
