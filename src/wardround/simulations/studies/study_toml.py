"""A study as a TOML file describes it: a base job, what replaces its settings, and what is varied.

What is left out on purpose: what the values may be (see `study`, `vary`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from wardround.config import Changed, change_tables, config_from_dict, read_toml
from wardround.config.limits import kebab
from wardround.errors import ConfigError
from wardround.names import did_you_mean
from wardround.simulations.studies.study import Study

__all__ = ["checked_tables", "load_study", "read_tables", "study_of"]


def load_study(path: Path, *, note: Callable[[str], None] | None = None) -> Study:
    """Return the study that a TOML file describes.

    The file has a table [study] with `base` (a config file, relative to the study's), `name`, `units`,
    `placements`, `noise-multipliers`, `target-epsilons`, `seeds` and `baselines`, below [study.vary] values of other
    settings, and, below [set], settings that replace the base's, below [baselines] and [placements] those of the
    baselines or of a placement alone, below [variants] those that are compared as a whole.

    Args:
        path: the TOML file.
        note: called with a sentence for each setting of the base that gives way to [set] or [study.vary].

    Raises:
        ConfigError: the file or its base is missing or broken, or a value is wrong.
    """
    return study_of(read_tables(path, _TABLES), path.parent, path.stem, note=note)


def read_tables(path: Path, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the tables of a study's file.

    Raises:
        ConfigError: the file is missing or broken, or has something else than the known tables.
    """
    return checked_tables(read_toml(path, examples="examples/studies/"), known, f" in {path}")


def checked_tables(tables: Mapping[str, Any], known: Sequence[str], where: str = "") -> dict[str, dict[str, Any]]:
    """Return the tables of a study.

    Raises:
        ConfigError: there is something else than the known tables.
    """
    for section, table in tables.items():
        if section not in known:
            tunes = ": a file with [tune] is for wardround tune" if section == "tune" else ""
            raise ConfigError(f"unknown section [{section}]{where}{tunes or did_you_mean(section, known)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{section}] must be a table, not {table!r}{where}")
    return {section: dict(table) for section, table in tables.items()}


def study_of(tables: Mapping[str, Any], folder: Path, name: str, *, note: Callable[[str], None] | None = None) -> Study:
    """Return the study of the tables of a file (see `load_study`).

    Args:
        tables: by name, each of them optional.
        folder: that the path of the base is relative to.
        name: of the study where it has none.
        note: as in `load_study`.

    Raises:
        ConfigError: the base is missing or broken, or a value is wrong.
    """
    settings = dict(tables.get("study", {}))
    known = {kebab(item.name): item.name for item in fields(Study) if item.name not in _OF_TABLES}
    for key in settings:
        if key not in known:
            raise ConfigError(f"unknown key {key} in [study]{did_you_mean(key, known)}")
    base = settings.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"base = {base!r} must be the path of a config file ([study] base)")
    values: dict[str, Any] = {
        known[key]: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    is_of_base = bool(values.get("vary") or tables.get("variants")) and not any(values.get(key) for key in _OF_PRIVACY)
    merged, gave_way = _merged({} if base is None else read_toml(folder / base), tables.get("set", {}), is_of_base)
    if "noise-correlation" in merged.get("privacy", {}) and not is_of_base:
        # It goes with one unit and placement alone, so that the base is what a study of just these varies.
        alone = {key: values.get(f"{key}s", ()) for key in ("unit", "placement")}
        merged["privacy"] |= {key: listed[0] for key, listed in alone.items() if len(listed) == 1}
    own = {name: tables.get(table, {}) for name, table in _OF_TABLES.items()}
    study = Study(base=config_from_dict(merged), **own, **({"name": name} | values))
    if note is not None:
        for sentence in dict.fromkeys((*gave_way, *(said for run in study.runs() for said in run.gave_way))):
            note(sentence)
    return study


_OF_TABLES = {"of_baselines": "baselines", "of_placements": "placements", "variants": "variants"}
"""By field of a study, the table of its file, where it has one of its own."""
_TABLES = ("study", "set", *_OF_TABLES.values())
_OF_PRIVACY = ("placements", "noise_multipliers", "target_epsilons")
_VARIED = ("placement", "noise-multiplier", "target-epsilon")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any], is_of_base: bool) -> Changed:
    """Return the base's tables with changes, and without what the study says itself: how much noise, and where.

    Where the privacy is the base's it says neither.
    """
    for key in () if is_of_base else _VARIED:
        if isinstance(changes.get("privacy"), dict) and key in changes["privacy"]:
            raise ConfigError(
                f"{key} is what the study varies ([set.privacy] {key}): name it in [study], as {key}s = [...]"
            )
    for section, values in changes.items():
        if not isinstance(values, dict):
            raise ConfigError(f"[set.{section}] must be a table of settings, not {values!r}")
    if isinstance(base.get("privacy"), dict) and not is_of_base:
        kept = {key: value for key, value in base["privacy"].items() if key not in _VARIED}
        base = dict(base) | {"privacy": kept}
    return change_tables(base, changes)
