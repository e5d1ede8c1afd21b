"""Objects in the place of names: the same in every process, and another wherever code or state is another."""

import importlib
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small_config
from torch import nn

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.identity import as_this_process_has_it, job_digest
from wardround.objects import Handed, called_with, from_name, hand_over, name_of

_SCALE = 2


def named(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return nn.Linear(input_shape[0], num_outputs)


def closure(width: int, *, scale: float = 1.0) -> Callable[..., Any]:
    def build(depth: int = 3) -> tuple[int, int, float]:
        return width, depth, scale * _SCALE

    return build


def class_with(number: int) -> type:
    class Built:
        size = number

        @property
        def twice(self) -> int:
            return 2 * self.size

    return Built


def cached(number: int) -> Callable[[], int]:
    @lru_cache
    def build() -> int:
        return number

    return build


def with_attribute(number: int) -> Callable[[], int]:
    def build() -> int:
        return build.size  # type: ignore[attr-defined, no-any-return]

    build.size = number  # type: ignore[attr-defined]
    return build


def callable_of(base: type, number: int) -> Any:
    """Return an object of a class of one's own that is a text, a list, ... and also a factory."""

    class Built(base):  # type: ignore[misc]
        def __call__(self) -> int:
            return number

    return Built()


def made_by(number: int) -> type:
    class Kind(type):
        def __call__(cls) -> int:  # type: ignore[override]
            return number

    class Built(metaclass=Kind):
        pass

    return Built


class Hiding:
    """Shows pickle nothing of its number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return Hiding, (0,)


class Forgetting:
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> None:
        return None


@dataclass(frozen=True)
class Sizes:
    number: int = 1
    more: tuple[int, ...] | None = None
    others: list[int] = field(default_factory=list)


def of_a_module(number: int) -> Callable[[], int]:
    module: Any = ModuleType("made_up")
    module.number = number
    return lambda: module.number  # type: ignore[no-any-return]


def hooked(factor: float) -> nn.Module:
    model = net(1)
    next(model.parameters()).register_hook(lambda gradient: gradient * factor)
    return model


def net(seed: int, *, bias: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 2, bias=bias), nn.ReLU())


def frozen(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def test_what_can_be_imported_has_a_name() -> None:
    assert name_of(named) == "test_objects:named"
    assert name_of(nn.Linear) == "torch.nn.modules.linear:Linear"
    for unnamed in (closure(1), lambda: None, class_with(1), net(1), partial(named, num_outputs=2), 3):
        assert name_of(unnamed) is None
    assert from_name("test_objects:named", None) is named


def test_what_came_from_python_is_asked_for_by_name() -> None:
    assert from_name("python:build", hand_over(named, "model")) is named
    with pytest.raises(ConfigError, match=r"python:build came from Python .* give it again"):
        from_name("python:build", None)


def test_a_factory_is_called_with_what_it_takes() -> None:
    assert called_with(lambda: "nothing", input_shape=(3,), num_outputs=2) == "nothing"
    assert called_with(lambda num_outputs: num_outputs, input_shape=(3,), num_outputs=2) == 2
    assert called_with(lambda **given: sorted(given), input_shape=(3,), num_outputs=2) == ["input_shape", "num_outputs"]


_PAIRS: dict[str, tuple[Any, Any]] = {
    "a closed-over number": (closure(1), closure(2)),
    "a closed-over float": (closure(1), closure(1, scale=0.5)),
    "code": (lambda: 1 + 1, lambda: 1 - 1),
    "constants": (lambda: 1, lambda: 2),
    "a constant's type": (lambda: 1, lambda: 1.0),
    "defaults": (lambda a=1: a, lambda a=2: a),
    "names": (lambda: np.zeros, lambda: np.ones),
    "an inner function": (lambda: [lambda: 1], lambda: [lambda: 2]),
    "a class's attribute": (class_with(1), class_with(2)),
    "an object's state": (class_with(1)(), class_with(2)()),
    "parameters": (net(1), net(2)),
    "structure": (net(1), net(1, bias=False)),
    "what is trained": (net(1), frozen(net(1))),
    "arrays": (np.arange(3), np.arange(3) + 1),
    "dtypes": (np.arange(3, dtype=np.int64), np.arange(3, dtype=np.uint64)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "sets": ({1, 2}, {1, 3}),
    "order": ([1, [2]], [[1], 2]),
    "arguments": (partial(named, num_outputs=2), partial(named, num_outputs=3)),
    "signs of zero": (0.0, -0.0),
    "what is cached": (cached(1), cached(2)),
    "a function's attribute": (with_attribute(1), with_attribute(2)),
    **{
        f"the class of a {base.__name__}": (callable_of(base, 1), callable_of(base, 2))
        for base in (list, tuple, dict, set, frozenset, str, bytes, int, float)
    },
    "what fills a gap": (defaultdict(lambda: 1), defaultdict(lambda: 2)),
    "a mask": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "a method's owner": ({"a": 1}.get, {"a": 2}.get),
    "a metaclass": (made_by(1), made_by(2)),
    "what pickle is not shown": (Hiding(1), Hiding(2)),
    "a slot": (Forgetting(1), Forgetting(2)),
    "a dataclass": (lambda: Sizes(), partial(Sizes, number=2)),
    "a dataclass's field": (Sizes(1), Sizes(2)),
    "a module that was made up": (of_a_module(1), of_a_module(2)),
    "short floats": (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    "a gradient's hook": (hooked(1.0), hooked(2.0)),
    "patterns": (re.compile("a"), re.compile("b")),
}


@pytest.mark.parametrize("name", _PAIRS)
def test_another_code_or_state_is_another_object(name: str) -> None:
    first, second = _PAIRS[name]
    assert hand_over(first, "model").code != hand_over(second, "model").code
    assert hand_over(first, "model") != hand_over(second, "model")
    assert hand_over(first, "model") == hand_over(first, "model")


def test_the_same_made_twice_is_the_same() -> None:
    for make in (lambda: closure(3), lambda: class_with(3), lambda: net(3), lambda: {"b", "a", "c"}):
        assert hand_over(make(), "model") == hand_over(make(), "model")


def test_what_refers_to_itself_comes_to_an_end() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [2]
    other.append(other)
    assert hand_over(loop, "model") != hand_over(other, "model")


def test_a_global_that_is_used_is_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hand_over(closure(1), "model")
    monkeypatch.setitem(globals(), "_SCALE", 3)
    assert hand_over(closure(1), "model") != before


_MODULE = """
import threading
import {other} as settings
LOCK = threading.Lock()
RATE = 1.0
UNUSED = 1
def scale():
    return RATE
class Net:
    width = 3
    def forward(self):
        with LOCK:
            return self.width * scale() * settings.DEPTH
def build():
    return Net()
"""


def test_what_a_process_has_made_of_a_module_is_a_part_of_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name and one file, and another global, attribute, function or setting: another job."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_rates.py").write_text(_MODULE.format(other="own_depths"))
    (tmp_path / "own_depths.py").write_text("DEPTH = 2\n")
    module: Any = importlib.import_module("own_rates")
    config = Config(model={"name": "own_rates:build"})

    def job() -> bytes:
        return job_digest(as_this_process_has_it(config))

    by_value = partial(hand_over, lambda: module.build(), "model")
    jobs, handed = [job()], [by_value()]
    for changed in ((module, "RATE", 2.0), (module.Net, "width", 4), (module.settings, "DEPTH", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(*changed)
            jobs.append(job())
            handed.append(by_value())
    with monkeypatch.context() as patch:
        patch.setattr(module, "scale", lambda: 7)
        jobs.append(job())
        handed.append(by_value())
    assert len({*jobs}) == 5
    assert all(one != other for number, one in enumerate(handed) for other in handed[:number])
    monkeypatch.setattr(module, "UNUSED", 2)
    assert job() == jobs[0] and by_value() == handed[0]
    # What runs is what was loaded, whatever is in the file by now.
    (tmp_path / "own_rates.py").write_text(_MODULE.format(other="own_depths").replace("1.0", "5.0"))
    assert job() == jobs[0]


def test_what_is_not_there_stays_a_name() -> None:
    for name in ("no_such_module:build", "python:build", "logistic"):
        config = Config(model={"name": name})
        assert as_this_process_has_it(config) == config


def test_what_can_not_be_told_apart_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigError, match="the model holds a lock, which can't be told from another"):
        hand_over(lambda: lock, "model")


def test_jobs_with_other_objects_are_other_jobs() -> None:
    config = small_config()
    jobs = [config, *(config.with_object("model", hand_over(closure(width), "model")) for width in (1, 2))]
    jobs += [config.with_object("aggregation", hand_over(closure(width), "strategy")) for width in (1, 2)]
    assert len({job_digest(job) for job in jobs}) == len(jobs)
    assert job_digest(jobs[1]) == job_digest(config.with_object("model", hand_over(closure(1), "model")))


_SCRIPT = """
import sys
from wardround.identity import as_this_process_has_it
from wardround.config import Config
from wardround.identity import as_this_process_has_it, job_digest
from wardround.objects import hand_over, name_of
{padding}
SIZES = {{"b", "a", "c"}}
class Net:
    kinds = frozenset({{"x", "y"}})
    def __init__(self, size=3): self.size = size
def build(input_shape, num_outputs):
    return Net(len(SIZES))
def inner():
    return lambda: build
RATE = 1.0
def rated(input_shape, num_outputs):
    return Net(RATE)
if __name__ == "__main__":
    if sys.argv[1] == "twice":
        jobs = []
        for RATE in (1.0, 2.0):
            jobs.append(job_digest(Config().with_object("model", hand_over(rated, "model"))).hex())
        print(*jobs)
        sys.exit()
    handed = hand_over(build if sys.argv[1] == "top" else inner(), "model")
    print(job_digest(Config().with_object("model", handed)).hex(), handed.canonical)
else:
    assert name_of(build) == "{stem}:build"
"""


def _digest(folder: Path, stem: str, what: str, *, padding: str = "", seed: str = "0") -> tuple[str, str]:
    (folder / f"{stem}.py").write_text(_SCRIPT.format(padding=padding, stem=stem))
    done = subprocess.run(
        [sys.executable, f"{stem}.py", what],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )
    digest, canonical = done.stdout.split()
    return digest, canonical


def test_an_object_of_a_script_is_the_same_in_every_process_wherever_it_stands_in_the_file(tmp_path: Path) -> None:
    first = _digest(tmp_path, "script", "inner")
    assert first[1] == "python:inner.lambda"
    assert _digest(tmp_path, "script", "inner", padding="\n\n# more lines\n", seed="7") == first
    assert _digest(tmp_path, "other", "inner", seed="1") == first
    assert _digest(tmp_path, "script", "inner", padding="len = sum") != first


def test_a_script_that_changes_a_global_between_two_runs_has_two_jobs(tmp_path: Path) -> None:
    first, second = _digest(tmp_path, "my_own_script", "twice")
    assert first != second


def test_a_scripts_own_function_is_the_job_of_whoever_imports_it_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, canonical = _digest(tmp_path, "my_own_script", "top")
    assert canonical == "my_own_script:build"
    monkeypatch.syspath_prepend(str(tmp_path))
    config = as_this_process_has_it(Config(model={"name": "my_own_script:build"}))
    assert job_digest(config).hex() == digest


def test_an_object_is_what_its_code_is_whatever_its_value() -> None:
    one, other = (Handed(value=value, name="python:a", canonical="python:a", code={"a": "1"}) for value in (1, 2))
    assert one == other


def test_a_global_that_is_called_as_an_attribute_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook there is a variable of nearly every name."""

    def of(records: Any) -> Any:
        return records.hidden.mean()

    before = hand_over(of, "model")
    monkeypatch.setitem(globals(), "mean", threading.Lock())
    monkeypatch.setitem(globals(), "hidden", 3)
    assert hand_over(of, "model") == before


def test_a_module_that_is_imported_when_it_is_needed_is_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def whole() -> Any:
        import its_layers

        return its_layers

    def part() -> Any:
        from its_layers import width

        return lambda: width

    found = []
    for text in ("width = 1\n", "width = 2\n"):
        (tmp_path / "its_layers.py").write_text(text)
        found.append([hand_over(factory, "model").code for factory in (whole, part)])
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]
