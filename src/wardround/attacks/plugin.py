"""The pytest plugin: an option that names an app to attack, and the fixture that tests get it by.

    python -m pytest --pyargs wardround.attacks.conformance --secagg-attacks my_app.attacked:target

pytest loads this file in every run where Wardround is installed, so that it imports nothing but pytest.
"""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wardround.attacks.targets import Target

__all__ = ["pytest_addoption", "pytest_configure", "secagg_target"]

_OPTION = "--secagg-attacks"
_TARGET: "pytest.StashKey[Target]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    told = "app to attack as a malicious aggregation server: a wardround.attacks.targets.Target, or what returns one"
    parser.getgroup("wardround").addoption(_OPTION, metavar="MODULE:NAME", help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Import the app that the option names.

    Raises:
        pytest.UsageError: there is none, or it is no target.
    """
    if place := config.getoption(_OPTION):
        config.stash[_TARGET] = _target_at(place)


@pytest.fixture(scope="session")
def secagg_target(pytestconfig: pytest.Config) -> "Target":
    """Return the app that the option names; a conftest.py that names one otherwise has a fixture of this name."""
    if _TARGET not in pytestconfig.stash:
        pytest.skip(f"no app to attack: say {_OPTION} MODULE:NAME, or have a fixture secagg_target")
    return pytestconfig.stash[_TARGET]


def _target_at(place: str) -> "Target":
    from wardround.attacks.targets import Target

    module, _, name = place.partition(":")
    try:
        found = getattr(import_module(module), name or "target")
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"{_OPTION} {place}: {error}; python -m pytest also looks in this folder") from error
    target = found() if inspect.isfunction(found) else found
    if not isinstance(target, Target):
        raise pytest.UsageError(f"{_OPTION} {place} is a {type(target).__name__}, and must be or return a Target")
    return target
