"""Names of a package that are loaded when they are first used, so that importing the package is cheap."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["on_first_use"]


def on_first_use(package: str, module_of: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what a package's `__getattr__` is, by which Python looks for names that it does not have (PEP 562).

    >>> on_first_use("wardround", {"ConfigError": "errors"})("ConfigError").__name__
    'ConfigError'

    Args:
        package: its name.
        module_of: by name, the module below the package that has it.
    """

    def load(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return load
