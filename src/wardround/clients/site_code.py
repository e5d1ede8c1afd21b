"""A site's own code: the model's factory and what it imports are taken from one folder, and from nowhere else.

Whatever an app's bundle puts on Python's path or has loaded, a module of the same name there is not the one that is
imported. What is left out on purpose: a bundle that sets out to change what is loaded, as whoever submits it runs code
at the site; and imports by a computed name, and within functions that are called after the model is built.
"""

import importlib
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from wardround.code_digests import code_digests, installed_places, is_installed
from wardround.config import Config
from wardround.errors import ConfigError

__all__ = ["site_code"]


@contextmanager
def site_code(config: Config, folder: Path | None) -> Iterator[None]:
    """Let a model be built from a folder's code and installed packages alone; the folder stays first on Python's path.

    Nothing changes where the settings name no factory, and the site no folder.

    Raises:
        ConfigError: a module of the folder was taken from somewhere else all the same.
    """
    module, colon, _ = config.model.name.partition(":")
    if folder is None or not colon:
        yield
        return
    names, before, places = list(code_digests([module], folder=folder)), sys.path[:], installed_places()
    # Loaded from elsewhere, or from the folder's files as they were before.
    others = {name: loaded for name, loaded in sys.modules.items() if not _has_a_version(name, loaded, places)}
    for name in others:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(entry for entry in before if is_installed(Path(entry).absolute(), places))]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [str(folder), *(entry for entry in before if entry != str(folder))]
        for name, loaded in others.items():
            if name not in names:
                sys.modules.setdefault(name, loaded)
    for name in names:
        if name in sys.modules and not Path(_origin(sys.modules[name])).is_relative_to(folder.absolute()):
            raise ConfigError(f"module {name} was taken from elsewhere, and must lie in {folder} ([site] code)")


def _has_a_version(name: str, loaded: ModuleType, places: Collection[Path]) -> bool:
    """Return whether a module is Python's, of an installed package or of this one, or is no file at all."""
    origin = _origin(loaded)
    return name.partition(".")[0] in ("__main__", "wardround") or not origin or is_installed(Path(origin), places)


def _origin(loaded: ModuleType) -> str:
    spec = getattr(loaded, "__spec__", None)
    origin = getattr(spec, "origin", None)
    return str(Path(origin).absolute()) if origin and getattr(spec, "has_location", False) else ""
