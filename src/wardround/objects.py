"""Objects from Python that stand where settings have a name: a model, a strategy, data.

A function or class of a module that others can import is known by its name, "package.module:factory". Any other (of a
script, a notebook, a closure, an object with a state) travels by value, and a digest of its code and state tells it
from any other, so that two jobs never share noise. What is left out on purpose: what such an object is asked to do.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from inspect import Parameter, isclass, isfunction, signature
from pathlib import Path
from typing import Any

from wardround.code_digests import code_digests, module_file
from wardround.errors import ConfigError
from wardround.object_digests import digest_of_object, name_of

__all__ = ["PYTHON", "Handed", "as_loaded", "called_with", "from_name", "hand_over", "name_of"]

PYTHON = "python"
"""Begins the name of whatever can't be imported by its name: "python:build"."""

_IMPORTED_AT = time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """An object in the place of a name; equal to another where their code and state are.

    Attributes:
        value: the object; None where it is not needed any more, and where it is imported by its name.
        name: that stands for it in the settings, as in "python:build"; with a part of its digest where it is an object
            with a state, as in "python:FedYogi-0d9f2b31c4aa".
        canonical: what it would be called if it were named: of a script's function, "script:build".
        code: digests by module of the code that it is made of, and of its state.
    """

    value: Any = field(compare=False)
    name: str
    canonical: str
    code: Mapping[str, str]


def from_name(name: str, handed: Handed | None) -> Any:
    """Return what "package.module:factory" names, or what was handed over in its place.

    Raises:
        ConfigError: it came from Python, and was not given again.
        Exception: whatever importing it raises.
    """
    if handed is not None and handed.value is not None:
        return handed.value
    module, _, called = name.partition(":")
    if module == PYTHON:
        raise ConfigError(
            f"{name} came from Python and has no name to import it by: give it again, as in wardround.resume"
        )
    return getattr(import_module(module), called)


def called_with(factory: Any, **offered: Any) -> Any:
    """Return what a factory makes of those of the offered arguments that it takes.

    >>> called_with(lambda size: size, size=3, depth=2)
    3
    """
    try:
        takes = signature(factory).parameters.values()
    except (TypeError, ValueError):
        return factory(**offered)
    if not any(item.kind is Parameter.VAR_KEYWORD for item in takes):
        offered = {item.name: offered[item.name] for item in takes if item.name in offered}
    return factory(**offered)


def hand_over(value: object, what: str) -> Handed:
    """Return an object as settings can have it.

    Args:
        value: what can't be imported by its name.
        what: it is for, for messages: "model" or "strategy".

    Raises:
        ConfigError: something that it holds can't be told from another of its kind (an open file, a generator).
    """
    own = value.func if isinstance(value, partial) else value
    called = getattr(own, "__qualname__", type(own).__qualname__).replace("<locals>.", "").replace("<lambda>", "lambda")
    name = f"{PYTHON}:{called}"
    if script := _script_of(value):
        return Handed(value=value, name=name, canonical=f"{script}:{called}", code=_code_as_loaded(script, value, what))
    digest, modules = digest_of_object(value, what)
    if not (isfunction(value) or isclass(value)):
        # What an object holds are settings: a run that goes on is held to them, as it is to those in its file.
        name = f"{name}-{digest[:12]}"
    return Handed(value=value, name=name, canonical=name, code=code_digests(sorted(modules)) | {name: digest})


def as_loaded(name: str, what: str) -> Handed | None:
    """Return what "package.module:factory" names as this process has it; None where it can't be had.

    The file alone does not tell two jobs apart: a process may have set a global of it to another value, or have loaded
    what stood in it before.

    Args:
        name: of a function, a class or an object.
        what: it is for, for messages: "model" or "strategy".
    """
    module, colon, _ = name.partition(":")
    if not colon or module == PYTHON:
        return None
    try:
        value = from_name(name, None)
    except Exception:  # said where it is used
        return None
    return Handed(value=None, name=name, canonical=name, code=_code_as_loaded(module, value, what))


def _code_as_loaded(module: str, value: object, what: str) -> dict[str, str]:
    return code_digests([module]) | {"as loaded": digest_of_object(value, what, is_named=True)[0]}


def _script_of(value: object) -> str | None:
    """Return the module that the running script would be, for a function or class at its top level."""
    if not (isfunction(value) or isclass(value)) or value.__module__ != "__main__" or "." in value.__qualname__:
        return None
    main = sys.modules["__main__"]
    path = Path(getattr(main, "__file__", None) or "nowhere.py").absolute()
    if getattr(main, value.__name__, None) is not value or path.suffix != ".py" or not path.stem.isidentifier():
        return None
    found = module_file(path.stem)
    # What was written since is not what runs.
    is_same = found is not None and found.resolve() == path.resolve() and path.stat().st_mtime < _IMPORTED_AT
    return path.stem if is_same else None
