"""Keys of releases: over every field of what was assigned, as text that stays the same from version to version."""

import dataclasses
import json
import platform
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import ASSIGNMENT

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


def test_a_key_is_over_the_text_of_the_whole_assignment() -> None:
    processor = ["cpu", platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    told = json.dumps([dataclasses.asdict(ASSIGNMENT), 0.5, *processor], sort_keys=True)
    wanted = digest_of(b"job", array_digest(_ARRAYS), _TENSORS.train_digest, told.encode())
    assert _key(ASSIGNMENT).inputs == wanted


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
