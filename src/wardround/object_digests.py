"""A digest of an object's code and state: alike in every process, and another wherever either is another.

Functions and classes of installed packages are told by name, as packages have versions; those of a user's own modules,
of a script or a notebook by all that they are made of, the globals that they use included: these may be others than
the file says. What is left out on purpose: modules that a function imports as it runs, and what was computed and kept.
"""

import copyreg
import dis
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from inspect import isclass, isfunction
from itertools import chain
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any

import numpy as np

from wardround.code_digests import is_installed, module_file
from wardround.errors import ConfigError

__all__ = ["digest_of_object", "name_of"]

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
"""Told by what they look like. Of these types and no other: a text of a class of one's own may also be a function."""
_LEFT_OUT = (
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "_abc_impl"),
    *("__firstlineno__", "__static_attributes__"),  # of later Pythons
)
"""Of a class: what does nothing, its place in a file, and what is told elsewhere."""


def digest_of_object(value: object, what: str, *, is_named: bool = False) -> tuple[str, frozenset[str]]:
    """Return the digest (hex) of an object's code and state, and the names of modules that it is made of.

    Args:
        value: any object.
        what: it is for, for messages: "model" or "strategy".
        is_named: whether it is of a file whose digest is told beside it; then what can't be told counts as nothing.

    Raises:
        ConfigError: something that it holds can't be told from another of its kind (an open file, a generator).
    """
    walker = _Walker(what, is_lenient=is_named)
    walker.walk(value)
    return walker.digest.hexdigest(), frozenset(walker.modules)


def name_of(value: object) -> str | None:
    """Return the name by which another process imports a function or class; None where there is none.

    >>> name_of(ConfigError), name_of(lambda: None)
    ('wardround.errors:ConfigError', None)
    """
    if not (isfunction(value) or isclass(value)) or value.__module__ == "__main__":
        return None
    found = getattr(sys.modules.get(value.__module__), value.__qualname__, None)
    is_there = found is value and module_file(value.__module__) is not None
    return f"{value.__module__}:{value.__qualname__}" if is_there else None


class _Walker:
    """Feeds the code and state of an object into a digest; names the modules that it meets."""

    def __init__(self, what: str, *, is_lenient: bool) -> None:
        self.digest, self.modules, self._what = hashlib.sha256(), set[str](), what
        self._is_lenient = is_lenient
        self._seen: dict[int, tuple[int, object]] = {}
        self._own: dict[str, bool] = {}

    def walk(self, value: Any) -> None:
        """Feed one value and all that it holds, however deep."""
        waiting: list[tuple[Iterator[Any], bool]] = [(iter((value,)), self._is_lenient)]
        while waiting:
            parts, self._is_lenient = waiting[-1]
            try:
                part = next(parts)
            except StopIteration:
                waiting.pop()
                continue
            inside = self._begin(part)
            if inside is not None:
                waiting.append((iter(inside), self._is_lenient))

    def _begin(self, value: Any) -> list[Any] | None:
        """Feed what a value is, and return what it is made of; None where that is all."""
        kind = type(value)
        if kind in _PLAIN:
            self._tell(kind.__qualname__, repr(value))
            return None
        if kind not in (tuple, frozenset):  # these are equal or not, whether or not they are one
            if (seen := self._seen.get(id(value))) is not None:
                self._tell("again", str(seen[0]))
                return None
            self._seen[id(value)] = (len(self._seen), value)  # kept alive, so that no other gets its id
        self._tell("" if self._is_own(kind.__module__) else kind.__module__, kind.__qualname__)
        parts = list(self._parts(value))
        self._tell("of", str(len(parts)))
        return parts

    def _tell(self, *texts: str) -> None:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self.digest.update(len(data).to_bytes(8, "big") + data)

    def _is_own(self, name: str) -> bool:
        """Return whether a module is a user's own, and of no package with a version."""
        if name not in self._own:
            self._own[name] = name == "__main__" or _is_users(name)
        return self._own[name]

    def _parts(self, value: Any) -> Iterable[Any]:
        """Return what a value is made of."""
        kind = type(value)
        if kind in (list, tuple):
            return (*value,)
        if kind in (dict, MappingProxyType):
            return chain.from_iterable(value.items())
        if isinstance(value, set | frozenset):
            told = sorted(self._apart(item) for item in value)
            return told if kind in (set, frozenset) else [kind, told, _attributes(value)]
        if kind is np.ndarray and value.dtype != object:
            return str(value.dtype), value.shape, np.ascontiguousarray(value).tobytes()
        if kind is CodeType:
            self.modules |= _imports_in(value)
            return _parts_of_code(value)
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
            return (value.__name__,)
        if isinstance(value, FunctionType | type):
            return self._parts_of_definition(value)
        if kind is BuiltinFunctionType:
            owner = value.__self__
            return value.__qualname__, None if isinstance(owner, ModuleType | type) else owner
        if isinstance(value, GetSetDescriptorType | MemberDescriptorType):
            return (value.__qualname__,)
        if kind in (staticmethod, classmethod):
            return (value.__func__,)
        if kind is property:
            return value.fget, value.fset, value.fdel
        if kind is cached_property:
            return (value.func,)
        return self._parts_of_object(value)

    def _parts_of_definition(self, value: FunctionType | type) -> Iterable[Any]:
        if known := name_of(value):
            self.modules.add(value.__module__)
            if not self._is_own(value.__module__):
                return (known,)
            self._is_lenient = True  # the file's digest is told beside it
        if isinstance(value, FunctionType):
            return self._parts_of_function(value)
        if value.__module__ == "builtins":
            return (value.__qualname__,)
        inside = {name: part for name, part in vars(value).items() if name not in _LEFT_OUT}
        return value.__qualname__, value.__bases__, inside, *([] if type(value) is type else [type(value)])

    def _parts_of_function(self, function: FunctionType) -> Iterable[Any]:
        cells = [_content(cell) for cell in function.__closure__ or ()]
        names, attributes = _names_in(function.__code__)
        used = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
        told = function.__code__, function.__defaults__, function.__kwdefaults__, cells, used, vars(function)
        return *told, self._used_of_modules([*used.values(), *cells], attributes)

    def _used_of_modules(self, values: list[Any], attributes: set[str]) -> list[Any]:
        """Return what a function may use of a user's own modules, as `rate` of `settings.rate`, beside their files."""
        found, waiting = list[Any](), [part for part in values if isinstance(part, ModuleType)]
        met = {id(module) for module in waiting}
        for module in waiting:
            if not (self._is_own(module.__name__) or module.__spec__ is None):  # one without a file is known by no name
                continue
            own = {name: vars(module)[name] for name in sorted(attributes) if name in vars(module)}
            inner = [part for part in own.values() if isinstance(part, ModuleType) and id(part) not in met]
            met |= {id(part) for part in inner}
            waiting += inner
            found.append(_Lenient(own))
        return found

    def _parts_of_object(self, value: Any) -> Iterable[Any]:
        if isinstance(value, _Lenient):
            self._is_lenient = True
            return (value.value,)
        try:
            if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor, without importing torch
                return _parts_of_tensor(value)
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
            attributes = _attributes(value)
        except Exception as error:
            if self._is_lenient:
                return ("something",)
            raise ConfigError(
                f"the {self._what} holds a {type(value).__qualname__}, which can't be told from another ({error}): "
                "leave it out, or make it where it is used"
            ) from error
        if isinstance(reduced, str):  # a name, which a cached function has as well
            return reduced, getattr(value, "__wrapped__", None), _Lenient(attributes)
        shown = [*reduced[:3], *(list(part) for part in reduced[3:5] if part is not None), *reduced[5:]]
        # What pickle is not shown is there all the same.
        return shown if _is_state(attributes, shown[2:3]) else [*shown, _Lenient(attributes)]

    def _apart(self, value: Any) -> bytes:
        walker = _Walker(self._what, is_lenient=self._is_lenient)
        walker.walk(value)
        self.modules |= walker.modules
        return walker.digest.digest()


class _Lenient:
    """What holds things that count as nothing where they can't be told."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _is_users(name: str) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names | {"wardround", "builtins"}:
        return False
    path = module_file(name)
    return path is not None and not is_installed(Path(path).absolute())


def _attributes(value: Any) -> dict[str, Any]:
    """Return an object's attributes by name, whatever it shows pickle."""
    slots = chain.from_iterable(
        (own,) if isinstance(own := vars(kind).get("__slots__", ()), str) else own for kind in type(value).__mro__
    )
    names = [name for name in slots if name not in ("__dict__", "__weakref__")]
    found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    own = getattr(value, "__dict__", None)
    return found | (own if isinstance(own, dict) else {})


def _is_state(attributes: Mapping[str, Any], states: list[Any]) -> bool:
    """Return whether the attributes are what pickle is shown as the state."""
    parts = [part for state in states for part in (state if isinstance(state, tuple) else (state,))]
    shown = {name: part for state in parts if isinstance(state, dict) for name, part in state.items()}
    return all(name in shown and shown[name] is part for name, part in attributes.items())


def _parts_of_tensor(value: Any) -> Iterable[Any]:
    array = value.detach().cpu()
    try:
        numbers = np.asarray(array)
    except TypeError:  # of a type that NumPy has not
        numbers = np.asarray(array.double())
    hooks = getattr(value, "_backward_hooks", None)
    return str(value.dtype), value.requires_grad, type(value), numbers, dict(hooks or {}), _Lenient(vars(value))


def _parts_of_code(code: CodeType) -> Iterable[Any]:
    # Neither the file nor the lines that it stands in: a notebook's are others in every process.
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, code.co_exceptiontable, numbers, names, code.co_consts


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a name that has no value yet
        return ...


def _names_in(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the globals that code names, and all names that may be attributes."""
    steps = dis.get_instructions(code)
    names = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    attributes = {*code.co_names}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            inner, more = _names_in(part)
            names, attributes = names | inner, attributes | more
    return names, attributes


def _imports_in(code: CodeType) -> set[str]:
    """Return the modules that code may import when it runs."""
    found, base = set[str](), ""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            base = str(step.argval)
            found.add(base)
        elif step.opname == "IMPORT_FROM":
            found.add(f"{base}.{step.argval}")
    return found
