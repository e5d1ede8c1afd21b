"""Digests of the code that a factory is made of: the files of a module and of all that it imports.

What is left out on purpose: modules that code imports by a computed name, so that what a ledger charges never rests on
these digests (a redone round is a charge of its own).
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

__all__ = [
    "DECISIVE",
    "code_digests",
    "installed_places",
    "installed_versions",
    "is_installed",
    "module_file",
    "version_of",
]

DECISIVE = ("wardround", "flwr", "numpy", "opacus", "torch")
"""The packages that decide the bits of a model."""

_hashed: dict[str, tuple[Any, str]] = {}
"""Of modules that are loaded: what runs is what was loaded, whatever became of the file since."""


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
    named = {name.partition(".")[0] for name in waiting} - {*DECISIVE}
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] in sys.stdlib_module_names | {"wardround"}:
            continue
        spec = _spec_of(name, folder)
        path = _file_of(spec)
        if spec is None or path is None:
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
    parent, _, last = name.rpartition(".")
    places: list[str] = []
    try:
        if parent:
            package = _spec_of(parent, folder)
            places = list((package and package.submodule_search_locations) or ())
            return PathFinder.find_spec(name, places)
        return importlib.util.find_spec(name) if folder is None else PathFinder.find_spec(name, [str(folder)])
    except (ImportError, ValueError):
        return None
    except KeyError:  # a folder without a file of its own, which Python finds once the package above it is loaded
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(place) for part in places if (place := Path(part, last)).is_dir()]
        return spec


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


@cache
def version_of(package: str) -> str:
    """Return the version of an installed package, as it was when this process first asked.

    A package that is exchanged while a process runs is, from then on, not the one whose version is told: start anew.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    return version(package)


def installed_versions() -> dict[str, str]:
    """Return the version of every package of this Python by name, whatever else a process has on its search path."""
    places = list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
    return {str(package.metadata["Name"]): package.version for package in distributions(path=places)}


def module_file(name: str) -> Path | None:
    """Return the file that a module is, or would be, read from, without importing anything; None where there is none.

    Args:
        name: with the packages that it is in, as in "package.module".
    """
    return _file_of(_spec_of(name, None))


def _file_of(spec: ModuleSpec | None) -> Path | None:
    path = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    return path if path is not None and path.is_file() else None
