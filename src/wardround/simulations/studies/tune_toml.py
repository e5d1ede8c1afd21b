"""A tune as a TOML file describes it: [tune], a study's [study] and [set], and the data of a stand-in.

What is left out on purpose: what the values may be (see `tune`).
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from wardround.config import Config, change_tables
from wardround.config.limits import kebab
from wardround.config.settings import given_values
from wardround.errors import ConfigError
from wardround.names import did_you_mean
from wardround.simulations.studies.study_toml import checked_tables, read_tables, study_of
from wardround.simulations.studies.tune import FEW, Tune

__all__ = ["load_tune", "tune_of"]

_TABLES = ("tune", "study", "set", "stand-in")
_OF_STUDIES = ("units", "placements", "noise-multipliers", "target-epsilons", "baselines")
_KEYS = {kebab(item.name): item.name for item in fields(Tune) if item.name not in ("job", "study")}
_STAND_IN = ("federation", "features", "model", "aggregation", "evaluation", "simulation")
"""Sections that may be others on the stand-in: what its data need, and not what is chosen or promised."""


def load_tune(
    path: Path,
    *,
    given: Callable[[Config], Config] = lambda config: config,
    note: Callable[[str], None] | None = None,
) -> Tune:
    """Return the tune that a TOML file describes.

    Args:
        path: the TOML file.
        given: as in `tune_of`.
        note: called with a sentence for each setting of the base that gives way.

    Raises:
        ConfigError: the file or its base is missing or broken, or a value is wrong.
    """
    return tune_of(read_tables(path, _TABLES), path.parent, path.stem, given=given, note=note)


def tune_of(
    tables: Mapping[str, Any],
    folder: Path,
    name: str,
    *,
    given: Callable[[Config], Config] = lambda config: config,
    note: Callable[[str], None] | None = None,
) -> Tune:
    """Return the tune of the tables [tune], [study], [set] and [stand-in].

    Args:
        tables: by name; others are refused.
        folder: that the path of the base is relative to.
        name: of the tune where it has none.
        given: puts objects from Python in the place of what the job's settings name.
        note: as in `load_tune`.

    Raises:
        ConfigError: the base is missing or broken, or a value is wrong.
    """
    tables = checked_tables({kebab(str(key)): value for key, value in tables.items()}, _TABLES)
    own, of_study = (
        {kebab(str(key)): value for key, value in tables.get(section, {}).items()} for section in _TABLES[:2]
    )
    _check_keys(own, of_study)
    study = study_of({"study": of_study, "set": tables.get("set", {})}, folder, name, note=note)
    job = given(study.base)
    if own["on"] == "stand-in":
        study = replace(study, base=_on_stand_in(job, tables.get("stand-in")))
    elif "stand-in" in tables:
        raise ConfigError('[stand-in] has no meaning with on = "private" ([tune] on): remove one of them')
    else:
        study = replace(study, base=job, seeds=(job.federation.seed,))
    return Tune(job=job, study=study, **{_KEYS[key]: value for key, value in own.items()})


def _check_keys(own: Mapping[str, Any], of_study: Mapping[str, Any]) -> None:
    """Refuse keys that a tune has not, or that go with the other kind of data."""
    for key in _OF_STUDIES:
        if key in of_study:
            raise ConfigError(
                f"{key} is of a study ([study] {key}): a tune chooses at the privacy of its base; remove it"
            )
    if not of_study.get("vary"):
        raise ConfigError(FEW)
    for key in own:
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key} in [tune]{did_you_mean(key, _KEYS)}")
    if own.get("on") not in ("stand-in", "private"):
        raise ConfigError(
            f'on = {own.get("on")!r} must be "stand-in" or "private" ([tune] on): choose on public data for free, or '
            "on the hospitals' own and pay for it"
        )
    if own["on"] == "private" and "seeds" in of_study:
        raise ConfigError(
            "seeds is of a study ([study] seeds): on private data each repetition is billed, and there are as many as "
            "[tune] repetitions says; remove it"
        )


def _on_stand_in(job: Config, stand_in: Any) -> Config:
    """Return the job's settings on the stand-in's data.

    A section that is given takes the place of the job's, so that nothing says any more where the job's data lie.
    """
    if not isinstance(stand_in, Mapping) or not isinstance(stand_in.get("federation"), Mapping):
        raise ConfigError(
            'on = "stand-in" needs the public data that stand in ([stand-in.federation]): write dataset = "..." there'
        )
    for section, table in stand_in.items():
        if section not in _STAND_IN or not isinstance(table, Mapping):
            raise ConfigError(
                f"[stand-in.{section}] must be a table of {', '.join(_STAND_IN)}: training and privacy are the job's, "
                "or the stand-in would say nothing of it"
            )
    tables = {item.name: given_values(getattr(job, item.name)) for item in fields(job)}
    if not job.evaluation.chooses:  # public records of the job's own form are of no use to another data set's models
        tables["evaluation"].pop("public", None)
    theirs = {section: {kebab(str(key)): value for key, value in table.items()} for section, table in stand_in.items()}
    made = job.remade(change_tables({**tables, **{key: {} for key in theirs}}, theirs).tables)
    data, own = made.federation, job.federation
    if (data.dataset, data.path) == (own.dataset, own.path):
        raise ConfigError(
            f'dataset = "{data.dataset}" is the job\'s own data ([stand-in.federation] dataset): name other, public '
            'data, or set on = "private" and pay for what is read'
        )
    return made
