"""Objects from Python that stand where settings have a name: a model, a strategy, data.

A function or class of a module that others can import is known by its name, "package.module:factory". Any other (of a
script, a notebook, a closure, an object with a state) travels by value, and a digest of its code and state tells it
from any other, so that two jobs never share noise. What is left out on purpose: what such an object is asked to do.
"""

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dis import get_instructions
from functools import cached_property, partial
from importlib import import_module
from inspect import Parameter, isclass, isfunction, signature
from itertools import chain
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

import numpy as np

from wardround.code_digests import code_digests, module_file
from wardround.errors import ConfigError

__all__ = ["PYTHON", "Handed", "called_with", "from_name", "hand_over", "name_of"]

PYTHON = "python"
"""Begins the name of whatever can't be imported by its name: "python:build"."""

_IMPORTED_AT = time.time()
_OF_LATER_PYTHONS = {"__firstlineno__", "__static_attributes__"}
"""What a class says of its place in a file, which is another after every edit above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """An object in the place of a name; equal to another where their code and state are.

    Attributes:
        value: the object; None where it is not needed any more.
        name: that stands for it in the settings, as in "python:build".
        canonical: what it would be called if it were named: of a script's function, "script:build".
        code: digests by module of the code that it is made of, and of its state.
    """

    value: Any = field(compare=False)
    name: str
    canonical: str
    code: Mapping[str, str]


def name_of(value: object) -> str | None:
    """Return the name by which another process imports a function or class; None where there is none.

    >>> name_of(Handed), name_of(lambda: None)
    ('wardround.objects:Handed', None)
    """
    if not (isfunction(value) or isclass(value)) or value.__module__ == "__main__":
        return None
    found = getattr(sys.modules.get(value.__module__), value.__qualname__, None)
    is_there = found is value and module_file(value.__module__) is not None
    return f"{value.__module__}:{value.__qualname__}" if is_there else None


def from_name(name: str, handed: Handed | None) -> Any:
    """Return what "package.module:factory" names, or what was handed over in its place.

    Raises:
        ConfigError: it came from Python, and was not given again.
        Exception: whatever importing it raises.
    """
    if handed is not None:
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
        return Handed(value=value, name=name, canonical=f"{script}:{called}", code=code_digests([script]))
    walker = _Walker(what)
    walker.walk(value)
    code = code_digests(sorted(walker.modules)) | {name: walker.digest.hexdigest()}
    return Handed(value=value, name=name, canonical=name, code=code)


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


class _Walker:
    """Feeds the code and state of an object into a digest, alike in every process; names the modules it meets."""

    def __init__(self, what: str) -> None:
        self.digest, self.modules, self._what = hashlib.sha256(), set[str](), what
        self._seen: dict[int, tuple[int, object]] = {}

    def walk(self, value: Any) -> None:
        """Feed one value and all that it holds."""
        if value is None or value is ... or isinstance(value, bool | int | float | complex | str | bytes):
            self._tell(type(value).__qualname__, repr(value))
            return
        if (seen := self._seen.get(id(value))) is not None:
            self._tell("again", str(seen[0]))
            return
        self._seen[id(value)] = (len(self._seen), value)  # kept alive, so that no other gets its id
        self._tell(type(value).__module__, type(value).__qualname__)
        self._all(self._parts(value))

    def _all(self, values: Iterable[Any]) -> None:
        values = list(values)
        self._tell("of", str(len(values)))
        for value in values:
            self.walk(value)

    def _tell(self, *texts: str) -> None:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self.digest.update(len(data).to_bytes(8, "big") + data)

    def _parts(self, value: Any) -> Iterable[Any]:
        """Return what a value is made of."""
        if isinstance(value, list | tuple):
            return value
        if isinstance(value, dict):
            return chain.from_iterable(value.items())
        if isinstance(value, set | frozenset):
            return sorted(self._apart(item) for item in value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return str(value.dtype), value.shape, np.ascontiguousarray(value).tobytes()
        if isinstance(value, CodeType):
            self.modules |= _imports_in(value)
            return _parts_of_code(value)
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
            return (value.__name__,)
        if isinstance(value, FunctionType | type):
            if known := name_of(value):
                self.modules.add(value.__module__)
                return (known,)
            return _parts_of_function(value) if isinstance(value, FunctionType) else self._parts_of_class(value)
        if isinstance(value, BuiltinFunctionType | GetSetDescriptorType | MemberDescriptorType):
            return (value.__qualname__,)
        if isinstance(value, staticmethod | classmethod):
            return (value.__func__,)
        if isinstance(value, property):
            return value.fget, value.fset, value.fdel
        if isinstance(value, cached_property):
            return (value.func,)
        return self._parts_of_object(value)

    def _parts_of_class(self, kind: type) -> Iterable[Any]:
        if kind.__module__ == "builtins":
            return (kind.__qualname__,)
        left_out = {"__dict__", "__weakref__", "__doc__", "__module__", "_abc_impl"} | _OF_LATER_PYTHONS
        inside = {name: part for name, part in vars(kind).items() if name not in left_out}
        return kind.__qualname__, kind.__bases__, inside

    def _parts_of_object(self, value: Any) -> Iterable[Any]:
        if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor, without importing torch
            return str(value.dtype), value.requires_grad, np.asarray(value.detach().cpu())
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise ConfigError(
                f"the {self._what} holds a {type(value).__qualname__}, which can't be told from another ({error}): "
                "leave it out, or make it where it is used"
            ) from error
        if isinstance(reduced, str):
            return (reduced,)
        return [*reduced[:3], *(list(part) for part in reduced[3:5] if part is not None)]

    def _apart(self, value: Any) -> bytes:
        walker = _Walker(self._what)
        walker.walk(value)
        self.modules |= walker.modules
        return walker.digest.digest()


def _parts_of_code(code: CodeType) -> Iterable[Any]:
    # Neither the file nor the lines that it stands in: a notebook's are others in every process.
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, code.co_exceptiontable, numbers, names, code.co_consts


def _parts_of_function(function: FunctionType) -> Iterable[Any]:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    used = {name: function.__globals__[name] for name in _names_in(function.__code__) if name in function.__globals__}
    return function.__code__, function.__defaults__, function.__kwdefaults__, cells, dict(sorted(used.items()))


def _names_in(code: CodeType) -> set[str]:
    """Return the names of modules' variables that code reads: an attribute of such a name is none."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    read = {step.argval for step in get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return read.union(*(_names_in(part) for part in inner))


def _imports_in(code: CodeType) -> set[str]:
    """Return the modules that code may import when it runs."""
    found, base = set[str](), ""
    for step in get_instructions(code):
        if step.opname == "IMPORT_NAME":
            base = str(step.argval)
            found.add(base)
        elif step.opname == "IMPORT_FROM":
            found.add(f"{base}.{step.argval}")
    return found
