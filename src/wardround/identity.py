"""What makes two jobs the same job: a digest of the settings, the code and the versions.

Streams of seeded noise hang on it, so that two jobs which differ in anything have independent noise. Another digest is
of what a server and real sites must have in common (`agreed_digest`). What is left out on purpose: data, models and
processors, which are added where they are used.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from wardround.code_digests import DECISIVE, code_digests, installed_versions, is_installed, version_of
from wardround.config import NAMED_BY, PRIVATE, AuditConfig, Config, SimulationConfig, config_to_toml
from wardround.digests import digest_of
from wardround.objects import Handed, as_loaded
from wardround.streams import SeededSource, Source, SystemSource

__all__ = [
    "AGREED_EVALUATION",
    "agreed_digest",
    "agreed_text",
    "as_this_process_has_it",
    "decisive",
    "differing_lines",
    "job_digest",
    "settings_digest",
    "source_of",
]

AGREED_EVALUATION = ("release", "release-share")
"""The keys of [evaluation] that a server and real sites agree on, where test scores are released."""
_BEGINNING = (("model", "initial"), ("model", "initial-digest"))
_MOST_LINES, _LONGEST_LINE = 40, 200


def source_of(config: Config, *, fingerprints: Iterable[str] = (), model: str = "", is_real: bool = False) -> Source:
    """Return where the streams of releases come from: the operating system at a real site, or as [simulation] says.

    Args:
        config: all settings.
        fingerprints: of the training data of all hospitals, in their order, where one hospital draws a share of the
            noise that hides the sum of all: were the others' shares the same for other data of one, the two sums would
            differ by that one's shares alone.
        model: digest of a user's model as it was built, whatever its factory read or computed; "" of one of ours.
        is_real: whether this is a site of its own, or the server of such sites.
    """
    if is_real or config.simulation.noise == "system":
        return SystemSource()
    told = (*fingerprints, *([f"model {model}"] if model else []))
    job = digest_of(job_digest(config), *(text.encode() for text in told))
    return SeededSource(seed=config.federation.seed, job=job)


def as_this_process_has_it(config: Config) -> Config:
    """Return settings that also hold what a user's model and strategy are now, which their names alone do not.

    A job takes it once, before anything is made of them: whatever engine it runs on, its noise hangs on that.
    """
    for section in ("model", "aggregation"):
        own = getattr(config, section)
        if own.handed is None and (found := as_loaded(getattr(own, NAMED_BY[section]), section)) is not None:
            config = config.with_object(section, found)
    return config


def settings_digest(config: Config) -> str:
    """Return a digest of the decisive settings."""
    return hashlib.sha256(config_to_toml(decisive(config)).encode()).hexdigest()


def agreed_text(config: Config, *, code: Path | None = None) -> str:
    """Return what a server and its sites must have in common, a line for each setting, always written the same way.

    These are all settings except for [simulation], [evaluation], [audit] and the model that training begins from, which
    are the server's own affair, and where the data lie; of [evaluation] a private release of scores is theirs, too. And
    the digest of every file that the model's factory is made of. Two texts are equal only where all of it is: names of
    columns and hospitals are quoted, so that no name can pass for a line.

    Args:
        config: all settings.
        code: the folder that the model's factory is taken from; None is wherever Python finds it.
    """
    tables = tomllib.loads(config_to_toml(config))
    for section in ("simulation", "evaluation", "audit"):
        own = tables.pop(section, {})
        if section == "evaluation" and config.evaluation.release == "private":
            tables[section] = {key: value for key, value in own.items() if key in AGREED_EVALUATION}
    for section, key in (("federation", "path"), ("federation", "data-dir"), *_BEGINNING):
        tables[section].pop(key, None)
    lines = [line for section, table in tables.items() for line in _lines(section, table, quoted=False)]
    module, colon, _ = config.model.name.partition(":")
    found = code_digests([module], folder=code) if colon else {}
    lines += [f"code {json.dumps(name)} = {sha}" for name, sha in found.items()]
    return "".join(f"{line}\n" for line in lines)


def agreed_digest(config: Config, *, code: Path | None = None) -> bytes:
    """Return the digest of what a server and its sites must have in common (see `agreed_text`), 32 bytes."""
    return digest_of(b"agreed settings", agreed_text(config, code=code).encode())


def differing_lines(own: str, other: str) -> tuple[str, ...]:
    """Return what tells two agreed texts apart, for a site's own log: "own: ..." and "server: ..." lines.

    >>> differing_lines("training.num-rounds = 3", "training.num-rounds = 4")
    ('own: training.num-rounds = 3', 'server: training.num-rounds = 4')

    Args:
        own: the site's.
        other: the server's, whatever it is: what can't be seen is escaped, and long ones are cut.
    """
    both = (own.splitlines(), other[: 4 * max(len(own), 10_000)].splitlines())
    marks = {"-": "own", "+": "server"}
    lines = list(difflib.unified_diff(*both, n=0, lineterm=""))[2:]
    told = [f"{marks[line[0]]}: {_seen(line[1:])}" for line in lines if line[0] in marks]
    return (*told[:_MOST_LINES], *(["and more"] if len(told) > _MOST_LINES else []))


def _seen(line: str) -> str:
    line = line[:_LONGEST_LINE]
    return line if line.isprintable() else ascii(line)


def _lines(name: str, table: Mapping[str, Any], *, quoted: bool) -> Iterator[str]:
    for key, value in table.items():
        whole = f"{name}.{json.dumps(key) if quoted else key}"
        if isinstance(value, Mapping) and value:
            yield from _lines(whole, value, quoted=True)
        else:
            yield f"{whole} = {json.dumps(value)}"


def decisive(config: Config) -> Config:
    """Return the settings without those that can't change a bit: where the data is, the engine, and audits.

    Where an engine does, since it trains hospitals together, the key of a release tells (`clients.release_keys`).
    """
    simulation = config.simulation
    # One engine stands for all of them, and the same one in every version: its name is in the digests of older runs.
    told = {name: getattr(simulation, name) for name in ("dropout_rate", "noise", "repetition")}
    alike = SimulationConfig(engine="ray", **told)
    model = replace(config.model, initial=config.model.initial and "here")  # its digest is beside it
    federation = replace(config.federation, data_dir=None)
    # An audit is of what was done, and of twins with streams of their own.
    return replace(config, federation=federation, simulation=alike, model=model, audit=AuditConfig())


def job_digest(config: Config) -> bytes:
    """Return a digest of everything but data, model and processor that decides the bits of a release, 32 bytes."""
    model, strategy = config.model, config.aggregation
    (model_name, model_code), (strategy_name, strategy_code) = (
        _code_of(model.name, model.handed),
        _code_of(strategy.strategy, strategy.handed),
    )
    modules = model_code | strategy_code
    # What a user's factory imports of installed packages has their versions, whichever they are.
    versions = installed_versions() if modules else {name: version_of(name) for name in DECISIVE}
    told = json.dumps([versions, _own_code(), modules], sort_keys=True)
    features = config.features
    settings = replace(
        config,
        # Numbers are in every key as they were standardised, except where that is done later.
        features=replace(features, standardise=PRIVATE if features.is_private else None),
        # The data themselves are in every key: where a table lies, and whether its partition is named, is nothing more.
        federation=replace(config.federation, partition=None, path=config.federation.target and "here", handed=None),
        model=replace(model, name=model_name, handed=None),
        aggregation=replace(strategy, strategy=strategy_name, handed=None),
    )
    return digest_of(settings_digest(settings).encode(), told.encode())


def _code_of(name: str, handed: Handed | None) -> tuple[str, dict[str, str]]:
    """Return what a model or a strategy is called, wherever it came from, and digests of its code."""
    if handed is not None:
        return handed.canonical, dict(handed.code)
    module, colon, _ = name.partition(":")
    return name, code_digests([module]) if colon else {}


@lru_cache(maxsize=1)
def _own_code() -> str:
    """Return a digest of this package's files where it runs from a working copy, whose version says little."""
    folder = Path(__file__).parent
    if is_installed(folder):
        return ""
    return digest_of(*(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hex()
