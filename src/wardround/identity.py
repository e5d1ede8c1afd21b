"""What makes two jobs the same job: a digest of the settings, the code and the versions.

Streams of seeded noise hang on it, so that two jobs which differ in anything have independent noise. What is left out
on purpose: data, models and processors, which are added where they are used; and modules that code imports by a
computed name, so that what a ledger charges never rests on these digests (a redone round is a charge of its own).
"""

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wardround.config import Config, SimulationConfig, config_to_toml
from wardround.digests import digest_of
from wardround.streams import SeededSource, Source, SystemSource

__all__ = ["code_digests", "decisive", "job_digest", "settings_digest", "source_of"]

_DECISIVE = ("wardround", "flwr", "numpy", "opacus", "torch")
"""The packages that decide the bits of a model."""

_hashed: dict[str, tuple[Any, str]] = {}
"""Of modules that are loaded: what runs is what was loaded, whatever became of the file since."""


def source_of(config: Config, *, is_real: bool = False) -> Source:
    """Return where the streams of releases come from: the operating system at a real site, or as [simulation] says.

    Args:
        config: all settings.
        is_real: whether this is a site of its own, or the server of such sites.
    """
    if is_real or config.simulation.noise == "system":
        return SystemSource()
    return SeededSource(seed=config.federation.seed, job=job_digest(config))


def settings_digest(config: Config) -> str:
    """Return a digest of the decisive settings."""
    return hashlib.sha256(config_to_toml(decisive(config)).encode()).hexdigest()


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
    versions = {name: version(name) for name in _DECISIVE}
    told = json.dumps([versions, _own_code(), modules], sort_keys=True)
    # The data themselves are in every key: whether their partition is named, and where a table lies, is nothing more.
    federation = replace(config.federation, partition=None, path=config.federation.path and "here")
    settings = replace(config, federation=federation)
    return digest_of(settings_digest(settings).encode(), told.encode())


def code_digests(module_names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of the files of modules and of all that they import, by module name.

    Modules of the standard library, of installed packages and of wardround have versions, and are not among them.

    Args:
        module_names: where to begin, such as the "package.module" of a factory; one that isn't there is left out.
    """
    found: dict[str, str] = {}
    waiting = [part for name in module_names for part in _with_parents(name)]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] in sys.stdlib_module_names | {"wardround"}:
            continue
        spec = _spec_of(name)
        path = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
        if spec is None or path is None or _is_installed(path) or not path.is_file():
            continue
        data = path.read_bytes()
        if (kept := _hashed.get(name)) is None or kept[0] is not spec:
            kept = (spec, hashlib.sha256(data).hexdigest())
        if name in sys.modules:
            _hashed[name] = kept
        found[name] = kept[1]
        if path.suffix == ".py":
            waiting += _imported(data, spec.parent or "")
    return dict(sorted(found.items()))


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


def _spec_of(name: str) -> ModuleSpec | None:
    """Return where a module is, without importing anything."""
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(loaded, ModuleSpec):
        return loaded
    parent = name.rpartition(".")[0]
    try:
        if not parent:
            return importlib.util.find_spec(name)
        package = _spec_of(parent)
        locations = package.submodule_search_locations if package is not None else None
        return PathFinder.find_spec(name, locations) if locations is not None else None
    except (ImportError, ValueError):
        return None


def _is_installed(path: Path) -> bool:
    places = (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return any(path.is_relative_to(place) for place in places)


@lru_cache(maxsize=1)
def _own_code() -> str:
    """Return a digest of this package's files where it runs from a working copy, whose version says little."""
    folder = Path(__file__).parent
    if _is_installed(folder):
        return ""
    return digest_of(*(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hex()
