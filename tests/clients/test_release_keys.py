"""Keys of releases: over every field of what was assigned, as text that stays the same from version to version."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import ASSIGNMENT

from wardround.clients import release_keys
from wardround.clients.release_keys import ReleaseKeys
from wardround.clients.tensors import HospitalTensors
from wardround.digests import array_digest, digest_of
from wardround.rounds import Assignment
from wardround.streams import SeededKey, SeededSource

_ARRAYS = {"w": np.ones((2, 3), np.float32)}
_ROWS = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
_TENSORS = HospitalTensors(train_features=_ROWS[0], train_labels=_ROWS[1], test_features=_ROWS[0], test_labels=_ROWS[1])


def _key(assignment: Assignment) -> SeededKey:
    key = ReleaseKeys(SeededSource(seed=7, job=b"job"), torch.device("cpu")).key(_ARRAYS, _TENSORS, assignment, 0.5)
    assert isinstance(key, SeededKey)
    return key


def _kernels() -> list[str]:
    """Return what the processor is, by the first paragraph of what Linux says of it."""
    path, keys = Path("/proc/cpuinfo"), ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    first = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    pairs = [[part.strip() for part in line.split(":", 1)] for line in first if ":" in line]
    return [f"{key}={value}" for key, value in pairs if key in keys]


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="what Linux says of an x86")
def test_a_key_is_over_the_text_of_the_whole_assignment_and_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MKL_", "ONEDNN_", "DNNL_", "ATEN_", "OPENBLAS_"))]:
        monkeypatch.delenv(name)
    release_keys._kernels_are_picked_by.cache_clear()
    processor = ["cpu", platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    told = json.dumps([dataclasses.asdict(ASSIGNMENT), 0.5, *processor, *_kernels()], sort_keys=True)
    wanted = digest_of(b"job", array_digest(_ARRAYS), _TENSORS.train_digest, told.encode())
    assert _key(ASSIGNMENT).inputs == wanted
    release_keys._kernels_are_picked_by.cache_clear()


@pytest.mark.parametrize("variable", ["MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"])
def test_other_kernels_of_the_same_processor_have_other_keys(variable: str) -> None:
    code = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_release_keys import ASSIGNMENT, _key\n"
        "print(_key(ASSIGNMENT).inputs.hex())\n"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

    def key_where(**variables: str) -> str:
        own = {name: value for name, value in os.environ.items() if name != variable} | variables
        made = [sys.executable, "-c", code, *folders]
        return subprocess.run(made, env=own, capture_output=True, text=True, check=True).stdout

    assert key_where(MKL_NUM_THREADS="1") == _key(ASSIGNMENT).inputs.hex() + "\n" != key_where(**{variable: "SSE4_2"})


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 0.125},
        {"max_grad_norm": 2.0},
        {"sensitivity": 2.0},
        {"contribution": 0.5},
        {"adaptive_clipping": True},
        {"schedule": dataclasses.replace(ASSIGNMENT.schedule, num_steps=3)},
        {"event": dataclasses.replace(ASSIGNMENT.event, noise_multiplier=9.0)},
    ],
)
def test_another_assignment_has_another_key(change: dict[str, Any]) -> None:
    assert _key(dataclasses.replace(ASSIGNMENT, **change)).inputs != _key(ASSIGNMENT).inputs
