"""The door to the attacks for other apps: pytest's option, its fixture, and targets that can't be attacked."""

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points, version
from pathlib import Path

import attacked
import pytest
from flwr.clientapp import ClientApp

from wardround.attacks.by_server import lowered_noise
from wardround.attacks.flower_seeds import guessed_masks
from wardround.errors import ConfigError, ProtocolError


def run_pytest(folder: Path, *words):
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider", "-rA", "--tb=short", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


PLUGIN = ("-p", "wardround.attacks.plugin", "--pyargs", "wardround.attacks.conformance")
EXAMPLE = Path(attacked.__file__).parent


def test_whoever_installs_the_package_has_the_plugin():
    (found,) = [each for each in entry_points(group="pytest11") if each.name == PLUGIN[1]]
    assert found.value == PLUGIN[1]


def test_the_ready_made_tests_pass_where_the_app_stands_and_say_what_was_learnt_where_it_falls():
    code, told = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", "attacked:ours")
    assert code == 0, told
    assert "9 passed, 1 skipped" in told
    code, told = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", "attacked:flowers", "--show-capture=no")
    assert code == 1, told
    assert "7 failed, 2 passed, 1 skipped" in told
    assert f"overlapping lists on Flower's SecAgg+ (flwr {version('flwr')}): FELL" in told
    assert "the server has: the update of node 2 by itself (5 numbers, relative error" in told
    assert "a hospital has to refuse: lists of active and dropped hospitals that are not apart" in told


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("attacked:theirs", "has no attribute 'theirs'"),
        ("no_such_file:target", "No module named 'no_such_file'; python -m pytest also looks in this folder"),
        ("attacked:plain", "must be or return a Target"),
    ],
)
def test_what_is_no_target_is_said_to_be_none(named, told):
    code, text = run_pytest(EXAMPLE, *PLUGIN, "--secagg-attacks", named)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert told in text


def test_without_a_target_the_ready_made_tests_are_skipped_and_a_fixture_is_one(tmp_path):
    code, told = run_pytest(EXAMPLE, *PLUGIN)
    assert code == 0
    assert "no app to attack: say --secagg-attacks MODULE:NAME" in told
    (tmp_path / "test_mine.py").write_text(
        "import pytest, sys\n"
        f"sys.path.insert(0, {str(EXAMPLE)!r})\n"
        "from wardround.attacks.conformance import test_a_malicious_server_learns_nothing\n"
        "@pytest.fixture\n"
        "def secagg_target():\n"
        "    import attacked\n"
        "    return attacked.ours\n"
    )
    code, told = run_pytest(tmp_path, "-p", "wardround.attacks.plugin", "test_mine.py")
    assert code == 0, told
    assert "9 passed, 1 skipped" in told


def test_a_function_that_returns_a_target_and_the_name_target_are_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXAMPLE)!r})\n"
        "def made():\n    import attacked\n    return attacked.ours\n"
        "target = made()\n"
    )
    for named in ("mine:made", "mine"):
        code, told = run_pytest(tmp_path, *PLUGIN, "--secagg-attacks", named, "-k", "singled_out")
        assert code == 0, told
        assert "1 passed" in told


def test_a_target_of_too_few_hospitals_is_refused():
    with pytest.raises(ConfigError, match="node_configs has 3 hospitals, and must have at least 4"):
        replace(attacked.ours, node_configs=attacked.ours.node_configs[:3])
    with pytest.raises(ConfigError, match="victim = 9 must be >= 1 and <= 5"):
        replace(attacked.ours, victim=9)


def test_an_app_that_does_not_train_is_named():
    broken = replace(attacked.ours, plain=ClientApp())
    with pytest.raises(ProtocolError, match="the plain app of node 2 does not train"):
        broken.true_update([2])


def test_what_an_attack_is_not_for_is_said():
    with pytest.raises(ProtocolError, match="the target names no weak_config"):
        lowered_noise(attacked.ours)
    with pytest.raises(ProtocolError, match="it draws no noise, or from a seed"):
        lowered_noise(replace(attacked.ours, weak_config={"noise": 0.0}))
    with pytest.raises(ConfigError, match="masks are guessed of Flower's SecAgg"):
        guessed_masks(attacked.ours)
    with pytest.raises(ConfigError, match="num_neighbours = 4 must be 1 or 2"):
        guessed_masks(attacked.flowers, num_neighbours=4)
