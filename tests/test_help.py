"""Help: every command says what it and each of its arguments and options are for."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import click
import pytest
from typer.main import get_command

from wardround.cli import app


def _commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


COMMANDS = dict(_commands(get_command(app)))


@functools.cache
def _printed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wardround", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "300"})


def _help_texts() -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield command, parameter and its text, as the source has it: what a library made of it may be gone."""
    for words, command in COMMANDS.items():
        if command.callback is None or hasattr(command, "commands"):
            continue
        for name, hint in command.callback.__annotations__.items():
            for told in getattr(hint, "__metadata__", ()):
                yield words, name, told.help


def test_every_argument_and_option_has_its_text_in_the_help_of_its_command():
    texts = list(_help_texts())
    assert len(texts) > 20
    printed = {words: " ".join(_printed(*words, "--help").stdout.split()) for words, _, _ in texts}
    for words, name, text in texts:
        assert text, f"{words} {name}"
        assert text in printed[words], f"{words} {name}"


def test_every_command_has_a_sentence_in_the_help_of_its_group():
    for words, command in COMMANDS.items():
        for name, inner in getattr(command, "commands", {}).items():
            assert inner.help, name
            assert inner.get_short_help_str(300).rstrip(".") in " ".join(_printed(*words, "--help").stdout.split())


@pytest.mark.parametrize(("words", "meant"), [(("rnu",), "run"), (("run", "--enigne", "x"), "--engine")])
def test_what_was_mistyped_is_told_once(words, meant):
    done = _printed(*words)
    assert done.returncode == 2
    assert done.stderr.count("Did you mean") == 1
    assert meant in done.stderr.split("Did you mean")[1]


def test_the_version_is_told():
    done = _printed("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wardround {version('wardround')}\n", "")


@pytest.mark.parametrize(
    ("words", "code"), [(("data", "list"), 0), (("run", "nowhere.toml"), 2), (("resume", "nowhere"), 2), ((), 2)]
)
def test_the_module_is_the_command_with_its_exit_codes(words, code):
    by_name = [sys.executable, "-c", "from wardround.cli import main; main()", *words]
    command = subprocess.run(by_name, capture_output=True, text=True, check=False)
    module = _printed(*words)
    assert module.returncode == command.returncode == code
    if words:
        assert module.stderr == command.stderr
