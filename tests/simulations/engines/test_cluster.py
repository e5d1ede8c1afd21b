"""Starting and leaving a Ray of one's own, each in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wardround.simulations.engines.start import check_reachable, worker_capacity

PROGRAM = """
import contextlib
import ray
from toy_hospital import federation, initial_arrays, make_app, messages
from wardround.simulations.engines.ray_grid import RayGrid
from wardround.simulations.engines.start import early_ray
from wardround.wire import array_record
if __name__ == "__main__":
    early = early_ray(1) if {is_early} else contextlib.nullcontext()
    with early, RayGrid(make_app, federation({behaviour}), num_workers=1) as grid:
        try:
            print(ray.is_initialized(), ray.cluster_resources()["CPU"], flush=True)
            print(len(grid.send_and_receive(messages(array_record(initial_arrays())))), flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(ray.is_initialized(), flush=True)
"""


def start(behaviour: str = "", is_early: bool = False, **environment: str) -> "subprocess.Popen[str]":
    search_path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(behaviour=behaviour, is_early=is_early)],
        env={**os.environ, "PYTHONPATH": search_path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def commands_of_children(parent: int) -> list[str]:
    table = subprocess.run(["ps", "-A", "-ww", "-o", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [
        command for number, command in (line.split(None, 1) for line in table.splitlines()) if int(number) == parent
    ]


@pytest.mark.parametrize("is_early", [False, True])
def test_ray_of_its_own_starts_small_stays_quiet_and_ends(is_early: bool) -> None:
    process = start(is_early=is_early)
    output, errors = process.communicate(timeout=120)
    assert output.splitlines() == ["True 1.0", "5", "False"]
    assert errors == ""
    assert process.returncode == 0


def test_interrupt_from_the_keyboard_ends_cleanly() -> None:
    """As a terminal does it: the signal goes to every process of the foreground group."""
    process = start('node_7="block"', is_early=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True 1.0\n"
    children = commands_of_children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.splitlines() == ["interrupted", "False"]
    assert process.returncode == 0
    assert any("raylet" in command for command in children)
    for script in ("monitor.py", "dashboard.py"):
        assert not any(script in command for command in children), f"few_processes no longer reaches ray.init: {script}"


def test_a_machine_that_dies_in_the_middle_of_a_wave_changes_nothing(tmp_path: Path) -> None:
    """Its hospitals train on the other one: sums, replies and what they kept, 400 kB each, are those of a calm run."""
    program = subprocess.run(
        [sys.executable, "-m", "cluster_of_two", str(tmp_path), "50000"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=240,
    )
    # Ray adds the last lines of the dead node's log.
    said = [line for line in program.stdout.splitlines() if line in ("True", "killed")]
    assert (said, program.returncode) == (["True", "killed"], 0), program.stdout + program.stderr


@pytest.mark.parametrize("is_early", [False, True])
def test_cluster_that_is_not_there_is_an_error(is_early: bool) -> None:
    process = start(is_early=is_early, RAY_ADDRESS="127.0.0.1:1")
    output, errors = process.communicate(timeout=30)
    assert output == ""
    assert "WardroundError: no Ray cluster answers at RAY_ADDRESS = 127.0.0.1:1" in errors.splitlines()[-1]


def test_only_addresses_with_a_port_are_tried() -> None:
    check_reachable("auto")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check_reachable(f"ray://127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.parametrize(
    ("gpus", "share", "capacity"),
    [([1.0], 0.1, 10), ([1.0], 0.3, 3), ([2.0, 2.0], 0.5, 8), ([3.0, 1.0], 2.0, 1), ([], 1.0, 0), ([0.0], 0.5, 0)],
)
def test_worker_never_straddles_gpus_or_machines(gpus: list[float], share: float, capacity: int) -> None:
    assert worker_capacity(gpus, share) == capacity
