"""A Ray of our own takes no one else in, and ends when its driver does, however that ends."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cluster import commands_of_children

PROGRAM = """
import os, sys
import ray
from wardround.simulations.engines.start import early_ray
from toy_hospital import federation, initial_arrays, make_app, messages
from wardround.simulations.engines.ray_grid import RayGrid
from wardround.wire import array_record
if __name__ == "__main__":
    for _ in range({times}):
        with early_ray(1), RayGrid(make_app, federation(), num_workers=1) as grid:
            print(len(grid.send_and_receive(messages(array_record(initial_arrays())))), flush=True)
            print(sorted(name for name in os.environ if "AUTH" in name), flush=True)
            print(ray.get_runtime_context().gcs_address, flush=True)
            sys.stdin.readline()
"""
JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], include_dashboard=False, log_to_driver=False)
print("joined", ray.get(ray.remote(lambda: 1).remote()))
"""


def search_path() -> str:
    return os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])


def start(times: int = 1, **environment: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if "RAY_A" not in name}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(times=times)],
        env={**kept, "PYTHONPATH": search_path(), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lines_of(process: "subprocess.Popen[str]", number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(number)]


def join(address: str, **environment: str) -> "subprocess.Popen[str]":
    """Connect from a process of the same user on the same host; Ray tries for 20 seconds."""
    kept = {name: value for name, value in os.environ.items() if "RAY_A" not in name}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", JOIN, address],
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def token_of(process: int) -> str:
    """Return the token in the environment of a process that was started by another."""
    text = Path(f"/proc/{process}/environ").read_bytes().decode()
    return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)["RAY_AUTH_TOKEN"]


def descendants(parent: int) -> dict[int, str]:
    """Return process ids and commands of all that a process started, and what these started."""
    table = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in table.stdout.splitlines()]
    found: dict[int, str] = {}
    parents = {parent}
    while parents:
        children = {int(row[0]): row[-1] for row in rows if int(row[1]) in parents}
        found |= children
        parents = set(children)
    return found


def still_there(handles: dict[str, int], seconds: float) -> list[str]:
    """Wait for processes to end, whose handles are from `os.pidfd_open`, and return those that do not in time."""
    end = time.monotonic() + seconds
    left = []
    for command, handle in handles.items():
        ended, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        left += [] if ended else [command]
        os.close(handle)
    return left


@pytest.mark.slow
def test_nobody_joins_without_the_token_of_this_very_ray_and_a_killed_driver_leaves_no_process_behind() -> None:
    process = start(times=2)
    number, names, address = lines_of(process, 3)
    assert (number, names) == ("5", "[]")
    first = token_of(next(pid for pid, args in descendants(process.pid).items() if "raylet/raylet" in args))
    assert len(first) == 64
    assert not any(first in command for command in commands_of_children(process.pid))
    strangers = [join(address, **other) for other in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})]
    # With the token the same process gets in: what keeps it out is the token.
    assert join(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=first).communicate(timeout=60)[0] == "joined 1\n"
    for stranger in strangers:
        output, _ = stranger.communicate(timeout=60)
        assert (stranger.returncode, output) == (1, "")
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    number, names, _ = lines_of(process, 3)
    assert (number, names) == ("5", "[]")
    started = descendants(process.pid)
    assert token_of(next(pid for pid, args in started.items() if "raylet/raylet" in args)) != first
    assert any("gcs_server" in command for command in started.values())
    handles = {f"{pid} {command[:60]}": os.pidfd_open(pid) for pid, command in started.items()}
    os.kill(process.pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=30)
    assert first not in output + errors
    assert still_there(handles, seconds=20) == []


@pytest.mark.slow
def test_a_users_mode_stays() -> None:
    process = start(RAY_AUTH_MODE="disabled")
    assert lines_of(process, 2) == ["5", "['RAY_AUTH_MODE']"]
    _, errors = process.communicate("\n", timeout=30)
    assert (process.returncode, errors) == (0, "")


TERMINATED = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import ray
from wardround.interruptions import interrupt_on_sigterm
from wardround.simulations.engines.start import start_ray
if __name__ == "__main__":
    interrupt_on_sigterm()
    with ThreadPoolExecutor(1) as other:
        start_ray(1) if sys.argv[1] == "here" else other.submit(start_ray, 1).result()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            print("went on")
        except KeyboardInterrupt:
            print("interrupted", signal.alarm(0))
        ray.shutdown()
"""


@pytest.mark.parametrize("where", ["here", "in another thread"])
def test_no_alarm_aborts_who_takes_long_to_end_after_sigterm(where: str) -> None:
    """Ray's own handler sets one of three seconds, and a driver that has workers to end may need more."""
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, where], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted 0\n"), done.stderr
    assert ("SIGTERM received" in done.stderr) == (where != "here")
