"""What makes two jobs the same job: a digest of the settings, the code and the versions.

Streams of seeded noise hang on it, so that two jobs which differ in anything have independent noise. Another digest is
of what a server and real sites must have in common (`agreed_digest`). What is left out on purpose: data, models and
processors, which are added where they are used; and modules that code imports by a computed name, so that what a ledger
charges never rests on these digests (a redone round is a charge of its own).
"""

import ast
import difflib
import hashlib
import importlib.util
import json
import sys
import sysconfig
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from wardround.config import Config, SimulationConfig, config_to_toml
from wardround.digests import digest_of
from wardround.streams import SeededSource, Source, SystemSource

__all__ = [
    "agreed_digest",
    "agreed_text",
    "code_digests",
    "decisive",
    "differing_lines",
    "installed_places",
    "is_installed",
    "job_digest",
    "settings_digest",
    "source_of",
]

_MOST_LINES, _LONGEST_LINE = 40, 200

_DECISIVE = ("wardround", "flwr", "numpy", "opacus", "torch")
"""The packages that decide the bits of a model."""

_hashed: dict[str, tuple[Any, str]] = {}
"""Of modules that are loaded: what runs is what was loaded, whatever became of the file since."""


def source_of(config: Config, *, fingerprints: Iterable[str] = (), is_real: bool = False) -> Source:
    """Return where the streams of releases come from: the operating system at a real site, or as [simulation] says.

    Args:
        config: all settings.
        fingerprints: of the training data of all hospitals, in their order, where one hospital draws a share of the
            noise that hides the sum of all: were the others' shares the same for other data of one, the two sums would
            differ by that one's shares alone.
        is_real: whether this is a site of its own, or the server of such sites.
    """
    if is_real or config.simulation.noise == "system":
        return SystemSource()
    job = digest_of(job_digest(config), *(text.encode() for text in fingerprints))
    return SeededSource(seed=config.federation.seed, job=job)


def settings_digest(config: Config) -> str:
    """Return a digest of the decisive settings."""
    return hashlib.sha256(config_to_toml(decisive(config)).encode()).hexdigest()


def agreed_text(config: Config, *, code: Path | None = None) -> str:
    """Return what a server and its sites must have in common, a line for each setting, always written the same way.

    These are all settings except for [simulation] and where the data lie, and the digest of every file that the model's
    factory is made of. Two texts are equal only where all of it is: names of columns and hospitals are quoted, so that
    no name can pass for a line.

    Args:
        config: all settings.
        code: the folder that the model's factory is taken from; None is wherever Python finds it.
    """
    tables = tomllib.loads(config_to_toml(config))
    tables.pop("simulation", None)
    for key in ("path", "data-dir"):
        tables["federation"].pop(key, None)
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
    """Return the settings without those that can't change a bit: where the data is, and the engine."""
    simulation = config.simulation
    return replace(
        config,
        federation=replace(config.federation, data_dir=None),
        simulation=SimulationConfig(dropout_rate=simulation.dropout_rate, noise=simulation.noise),
    )


def job_digest(config: Config) -> bytes:
    """Return a digest of everything but data, model and processor that decides the bits of a release, 32 bytes."""
    factories = (config.model.name, config.aggregation.strategy)
    modules = code_digests(name.partition(":")[0] for name in factories if ":" in name)
    # What a user's factory imports of installed packages has their versions, whichever they are.
    versions = _installed() if modules else {name: version(name) for name in _DECISIVE}
    told = json.dumps([versions, _own_code(), modules], sort_keys=True)
    # The data themselves are in every key: whether their partition is named, and where a table lies, is nothing more.
    federation = replace(config.federation, partition=None, path=config.federation.path and "here")
    settings = replace(config, federation=federation)
    return digest_of(settings_digest(settings).encode(), told.encode())


def code_digests(module_names: Iterable[str], *, folder: Path | None = None) -> dict[str, str]:
    """Return the sha256 of the files of modules and of all that they import, by module name.

    Modules of the standard library, of wardround and of other installed packages have versions, and are not among them;
    those of a package that is named are, as a version may stay what it was while such a package is written.

    Args:
        module_names: where to begin, such as the "package.module" of a factory; one that isn't there is left out.
        folder: the one place where modules are looked for, loaded or not; None is wherever Python finds them.
    """
    found: dict[str, str] = {}
    waiting = [part for name in module_names for part in _with_parents(name)]
    named = {name.partition(".")[0] for name in waiting} - {*_DECISIVE}
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] in sys.stdlib_module_names | {"wardround"}:
            continue
        spec = _spec_of(name, folder)
        path = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
        if spec is None or path is None or not path.is_file():
            continue
        if folder is None and is_installed(path) and name.partition(".")[0] not in named:
            continue
        data = path.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest() if folder is not None else _as_loaded(name, spec, data)
        if path.suffix == ".py":
            waiting += _imported(data, spec.parent or "")
    return dict(sorted(found.items()))


def _as_loaded(name: str, spec: ModuleSpec, data: bytes) -> str:
    if (kept := _hashed.get(name)) is None or kept[0] is not spec:
        kept = (spec, hashlib.sha256(data).hexdigest())
    if name in sys.modules:
        _hashed[name] = kept
    return kept[1]


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Yield the names of modules that a source file may import, wherever in it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # it can't be imported either
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from _with_parents(base)
            for alias in node.names:
                yield f"{base}.{alias.name}"


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: number + 1]) for number in range(len(parts)) if name]


def _spec_of(name: str, folder: Path | None) -> ModuleSpec | None:
    """Return where a module is, without importing anything: in the one folder, or wherever Python finds it."""
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if folder is None and isinstance(loaded, ModuleSpec):
        return loaded
    parent = name.rpartition(".")[0]
    try:
        if parent:
            package = _spec_of(parent, folder)
            places = package.submodule_search_locations if package is not None else None
            return PathFinder.find_spec(name, list(places)) if places is not None else None
        return importlib.util.find_spec(name) if folder is None else PathFinder.find_spec(name, [str(folder)])
    except (ImportError, ValueError):
        return None


def installed_places() -> frozenset[Path]:
    """Return the folders that Python and installed packages lie in, all absolute; asking for them takes a while."""
    return frozenset(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_installed(path: Path, places: Collection[Path] | None = None) -> bool:
    """Return whether a file or a folder is of Python or of an installed package.

    Args:
        path: absolute.
        places: what `installed_places` returns, where many are asked for.
    """
    return any(path.is_relative_to(place) for place in places or installed_places())


def _installed() -> dict[str, str]:
    """Return the version of every package of this Python by name, whatever else a process has on its search path."""
    places = list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
    return {str(package.metadata["Name"]): package.version for package in distributions(path=places)}


@lru_cache(maxsize=1)
def _own_code() -> str:
    """Return a digest of this package's files where it runs from a working copy, whose version says little."""
    folder = Path(__file__).parent
    if is_installed(folder):
        return ""
    return digest_of(*(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hex()
