"""A site's own code: the model's factory and what it imports are taken from one folder, and from nowhere else.

Whatever an app's bundle puts on Python's path, a module of the same name there is not the one that is imported. What is
left out on purpose: a bundle that sets out to change modules that are loaded; whoever submits it runs code at the site.
"""

import importlib
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.identity import code_digests

__all__ = ["site_code"]


@contextmanager
def site_code(config: Config, folder: Path | None) -> Iterator[None]:
    """Let a model be built from a folder's code and installed packages alone; the folder stays first on Python's path.

    Args:
        config: the site's settings; nothing changes where they name no factory.
        folder: the site's; None where its settings name no factory.

    Raises:
        ConfigError: a module of the folder was taken from somewhere else all the same.
    """
    module, colon, _ = config.model.name.partition(":")
    if folder is None or not colon:
        yield
        return
    names = list(code_digests([module], folder=folder))
    for name in names:
        if name in sys.modules and not _lies_in(folder, name):
            del sys.modules[name]
    before = sys.path[:]
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    sys.path[:] = [
        str(folder),
        *(entry for entry in before if any(Path(entry).absolute().is_relative_to(place) for place in installed)),
    ]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [str(folder), *(entry for entry in before if entry != str(folder))]
    for name in names:
        if name in sys.modules and not _lies_in(folder, name):
            raise ConfigError(f"module {name} was taken from elsewhere, and must lie in {folder} ([site] code)")


def _lies_in(folder: Path, name: str) -> bool:
    origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
    return origin is not None and Path(origin).absolute().is_relative_to(folder.absolute())
