"""What callers may give in the place of settings: a path, a mapping, and objects in the place of names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from wardround.config import NAMED_BY, Config, config_to_toml, load_config
from wardround.datasets import Federation
from wardround.errors import ConfigError
from wardround.names import shown_name
from wardround.objects import hand_over, name_of

__all__ = ["Settings", "check_callable", "folder_of", "new_folder_of", "put_back", "settings_of", "with_objects"]

Settings = Config | Path | str | Mapping[str, Any] | None
"""Settings as a record, a TOML file, a mapping of sections, or None for the defaults."""


def settings_of(given: Settings) -> Config:
    """Return settings, however they are given.

    Raises:
        ConfigError: they are none, or something in them is wrong.
    """
    if isinstance(given, Config):
        return given
    if given is None or isinstance(given, str | Path):
        return load_config(given)
    if isinstance(given, Federation):
        raise ConfigError("a federation goes beside the settings, not in their place: write federation=...")
    if not isinstance(given, Mapping):
        raise ConfigError(f"settings must be a Config, a path or a mapping of sections, not {shown_name(given)}")
    return Config.of(given)


def folder_of(given: object) -> Path:
    """Return the folder of a run or a study, given as its path or as what `run` or `compare` returned.

    Raises:
        ConfigError: it is neither.
    """
    found = getattr(given, "folder", given)
    if not isinstance(found, str | PathLike):
        raise ConfigError(f"the folder of a run or a study must be its path or a Run or Study, not {shown_name(given)}")
    return Path(found)


def new_folder_of(out: object, otherwise: Callable[[], Path]) -> Path:
    """Return where a run or a study is to be written; `otherwise` says where nothing is given.

    Raises:
        ConfigError: it is no path.
    """
    if out is None:
        return otherwise()
    if not isinstance(out, str | PathLike):
        raise ConfigError(f"out = {shown_name(out)} must be the path of a new or empty folder, or None")
    return Path(out)


def check_callable(**given: object) -> None:
    """Refuse what is to be called later and can't be, before anything is done.

    Raises:
        ConfigError: naming it.
    """
    for name, value in given.items():
        if value is not None and not callable(value):
            raise ConfigError(f"{name} = {shown_name(value)} must be a function, or None")


def with_objects(
    config: Config, *, federation: Federation | None = None, model: object = None, strategy: object = None
) -> Config:
    """Return settings with objects in the place of what they name.

    A function or class that can be imported takes its name's place in the settings, so that the job is the same as one
    whose file has that name.

    Args:
        config: the settings.
        federation: the data.
        model: a torch module, whose parameters are the first ones, or what makes one and may take the arguments
            input_shape and num_outputs; a name as in [model].
        strategy: a Flower Strategy, or what makes one without arguments; a name as in [aggregation].

    Raises:
        ConfigError: an argument is of another kind.
    """
    if federation is not None:
        if not isinstance(federation, Federation):
            raise ConfigError(
                f"federation must be a wardround.Federation, not {type(federation).__name__}: "
                "wardround.Federation.from_frame makes one of a DataFrame, and from_arrays of arrays by hospital"
            )
        config = federation.of(config)
    if model is not None:
        config = _named(config, "model", model)
    if strategy is not None:
        config = _named(config, "aggregation", strategy)
    return config


def put_back(config: Config, **objects: Any) -> Config:
    """Return the settings that a run was begun with, with the objects that it was begun with.

    Args:
        config: as the run's folder has them, where objects are names.
        objects: see `with_objects`.

    Raises:
        ConfigError: the objects are not those that the settings name.
    """
    for name, value in objects.items():
        complete = with_objects(config, **{name: value})
        if config_to_toml(complete) != config_to_toml(config):
            raise ConfigError(
                f"{name}: the run was begun with another, or with one of other settings or another name; give the same "
                "again"
            )
        config = complete
    return config


def _named(config: Config, section: str, value: object) -> Config:
    name = value if isinstance(value, str) else name_of(value)
    if name is None:
        return config.with_object(section, hand_over(value, section if section == "model" else "strategy"))
    return replace(config, **{section: replace(getattr(config, section), **{NAMED_BY[section]: name, "handed": None})})
