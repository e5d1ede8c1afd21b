"""Processes that do their rounds in turns, so that all of them meet the same load; what is compared is their rounds."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Contender", "Turns"]

TOLD = "CPU seconds of a round:"


class Turns:
    """Rounds of a process that takes turns with others: it tells each round's CPU seconds, and waits to be asked."""

    def __init__(self, num_rounds: int, seconds: Callable[[], float] = time.process_time) -> None:
        """Rounds 2 to the last are timed, of which there are so many; the first is a warm-up."""
        self._num_rounds, self._seconds, self._started = num_rounds, seconds, 0.0

    def ended(self, round_number: int) -> None:
        """Tell what a round took, from 1, and wait for the next one's turn; round 0 is before training."""
        if round_number < 1 or round_number > self._num_rounds + 1:
            return
        seconds = self._seconds() - self._started
        print(f"{TOLD} {seconds if round_number > 1 else 0.0}", flush=True)
        if round_number <= self._num_rounds:
            sys.stdin.readline()
        self._started = self._seconds()


class Contender:
    """A process that does a round whenever it is asked."""

    def __init__(self, name: str, command: list[str]) -> None:
        """Start it, and wait for the end of its first round."""
        self.name = name
        pipe, self._said = subprocess.PIPE, tempfile.TemporaryFile("w+")  # noqa: SIM115  open as long as the process
        where = Path(__file__).parent
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._said, text=True, cwd=where)
        self._told()

    def seconds(self) -> float:
        """Let it do one round, and return the CPU seconds that it took."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._told()

    def close(self) -> str:
        """Let it end by itself, with all that it started, and return what else it said; nobody asks it for a round."""
        said = self._process.communicate()[0]
        self._said.close()
        return said

    def _told(self) -> float:
        for line in self._process.stdout:
            if line.startswith(TOLD):
                return float(line.removeprefix(TOLD))
        self._said.seek(0)
        raise SystemExit(f"{self.name} ended: {self._said.read()[-3000:]}")
