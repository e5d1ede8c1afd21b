"""A real federation on loopback: one `flower-superlink`, N `flower-supernode`s, and apps submitted with `flwr run`.

Every process has a free port and a FLWR_HOME of its own, all of them one folder. They ask nothing of the network, and
are gone afterwards, also when the test is killed.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from certificates import Security, secure

BIN = Path(sys.executable).parent
START_SECONDS = 90
COMMAND_SECONDS = 90
POLL_SECONDS = 0.5
# The kernel ends the process with the test that started it. Flower's own children watch their parents.
DIE_TOGETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
ENVIRONMENT = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # SuperExec looks for a task once a second unless told otherwise, and every message of every node waits for it; much
    # oftener, and the looking takes the processor from the apps, and from other tests.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.6",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # SuperExec finds `flwr-serverapp` and `flwr-clientapp` there.
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What came of one `flwr run`.

    Attributes:
        status: as `flwr ls` says, such as "finished:completed".
        out: what the ServerApp wrote as JSON to the file that its run config names `out`; None if it wrote no file.
        log: what `flwr log` has of it.
    """

    run_id: int
    status: str
    out: object
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackFederation:
    """A running federation.

    Attributes:
        folder: logs, every FLWR_HOME and what the apps wrote.
        num_simulated: SuperNodes of the simulation engine.
    """

    folder: Path
    num_simulated: int = 0

    def run(self, app: Path, *, deadline_seconds: float, **run_config: str | int | float) -> FinishedRun:
        """Submit an app, wait for its end, and return how it ended and what its ServerApp wrote.

        Args:
            app: its folder.
            deadline_seconds: for the whole run.
            run_config: for the app; `out` is a new file unless it says otherwise.

        Raises:
            TimeoutError: the run did not end in time.
        """
        out = Path(str(run_config.get("out", self.folder / f"out-{time.monotonic_ns()}.json")))
        # JSON strings and numbers are TOML's.
        config = " ".join(f"{name}={json.dumps(value)}" for name, value in {**run_config, "out": str(out)}.items())
        options = ["--run-config", config, "--format", "json"]
        if self.num_simulated:
            options += ["--federation-config", f"num-supernodes={self.num_simulated}"]
        run_id = str(json.loads(flwr(self.folder, "run", str(app), "loopback", *options))["run-id"])
        # It follows the log to the end of the run; asking for the status would take the processor from the apps.
        log = flwr(self.folder, "log", run_id, "loopback", "--stream", deadline_seconds=deadline_seconds)
        (run,) = json.loads(flwr(self.folder, "ls", "loopback", "--run-id", run_id, "--format", "json"))["runs"]
        return FinishedRun(
            run_id=int(run_id),
            status=run["status"],
            out=json.loads(out.read_text()) if out.is_file() else None,
            log=log,
        )


@contextmanager
def loopback_federation(
    folder: Path, node_configs: Sequence[Mapping[str, str]], *, database: Path | None = None
) -> Iterator[LoopbackFederation]:
    """Start a SuperLink and a SuperNode for every node config, and end them on the way out.

    Connections are encrypted, and every SuperNode has to prove a registered key.

    Args:
        folder: for everything that is written.
        node_configs: what each ClientApp reads from `context.node_config`.
        database: where the SuperLink keeps its state; None is its memory.
    """
    security = secure(folder, len(node_configs))
    kept = [] if database is None else ["--database", str(database)]
    with ExitStack() as stack:
        address = stack.enter_context(superlink(folder, security, kept))
        for number, config in enumerate(node_configs):
            flwr(folder, "supernode", "register", f"{security.node_keys[number]}.pub", "loopback")
            options = supernode_options(address, config, security.node_keys[number], security)
            stack.enter_context(process(folder, f"supernode-{number}", "flower-supernode", options))
        started = [folder / f"supernode-{number}.log" for number in range(len(node_configs))]
        wait(lambda: all(map(has_id, started)), "the SuperNodes")
        yield LoopbackFederation(folder=folder)


@contextmanager
def loopback_simulation(folder: Path, num_nodes: int) -> Iterator[LoopbackFederation]:
    """Start a SuperLink with Flower's simulation engine, and end it on the way out."""
    with superlink(folder, None, ["--simulation"]):
        yield LoopbackFederation(folder=folder, num_simulated=num_nodes)


@contextmanager
def superlink(folder: Path, security: Security | None, more_options: list[str]) -> Iterator[str]:
    """Start a SuperLink that `flwr` knows as "loopback", and yield its address."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "home-cli").mkdir()
    (folder / "home-cli" / "config.toml").write_text(connection(address, security))
    options = superlink_options(address, security) + more_options
    with process(folder, "superlink", "flower-superlink", options):
        wait(lambda: listens(address), "the SuperLink")
        yield address


def connection(address: str, security: Security | None) -> str:
    """Return the config.toml of the command line."""
    trust = "insecure = true" if security is None else f"root-certificates = {json.dumps(str(security.authority))}"
    return f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "{address}"\n{trust}\n'


def superlink_options(address: str, security: Security | None) -> list[str]:
    host, port = address.split(":")
    options = ["--host", host, "--port", port, "--disable-runtime-dependency-installation"]
    if security is None:
        return [*options, "--insecure"]
    certificate = ["--ssl-certfile", str(security.certificate), "--ssl-keyfile", str(security.certificate_key)]
    return [*options, *certificate, "--ssl-ca-certfile", str(security.authority), "--enable-supernode-auth"]


def supernode_options(address: str, config: Mapping[str, str], key: Path, security: Security) -> list[str]:
    # Flower reads an argument with one pair of double quotes as a string; JSON's are those.
    pairs = " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())
    options = ["--superlink", address, "--port", str(free_port()), "--node-config", pairs]
    return [*options, "--root-certificates", str(security.authority), "--auth-supernode-private-key", str(key)]


@contextmanager
def process(folder: Path, name: str, command: str, options: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, and kill the group on the way out."""
    arguments = [str(BIN / command), *options]
    if sys.platform == "linux":
        arguments = [sys.executable, "-c", DIE_TOGETHER, sys.executable, *arguments]
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            arguments, stdout=log, stderr=log, cwd=folder, env=environment(folder, name), start_new_session=True
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def flwr(folder: Path, *arguments: str, deadline_seconds: float = COMMAND_SECONDS) -> str:
    """Run Flower's command line, and return what it prints.

    Raises:
        RuntimeError: it ended with an error.
        TimeoutError: it did not end in time.
    """
    command = [str(BIN / "flwr"), *arguments]
    called = " ".join(arguments)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment(folder, "cli"),
            timeout=deadline_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{called} took more than {deadline_seconds:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"{called}: {done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path, name: str) -> dict[str, str]:
    # A home each, as on machines of their own: Flower unpacks the app there, and not atomically.
    return {**os.environ, **ENVIRONMENT, "FLWR_HOME": str(folder / f"home-{name}")}


def wait(holds: Callable[[], bool], what: str) -> None:
    """Ask until it holds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {START_SECONDS} s to start")
        time.sleep(POLL_SECONDS)


def logs(folder: Path, last_lines: int = 60) -> str:
    """Return the end of every log."""
    texts = {path.name: path.read_text(errors="replace") for path in sorted(folder.glob("*.log"))}
    return "\n".join("\n".join([f"--- {name}", *text.splitlines()[-last_lines:]]) for name, text in texts.items())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def has_id(log: Path) -> bool:
    return "SuperNode ID" in log.read_text(errors="replace")
