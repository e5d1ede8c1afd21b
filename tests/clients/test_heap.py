"""A process that trains keeps the memory that it frees."""

import subprocess
import sys

import pytest

from wardround.clients.heap import keep_freed_memory

_FAULTS = """
import resource, sys
import numpy as np
from wardround.clients.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def steps(number):
    for _ in range(number):
        blocks = [np.ones(5 * 2**20, np.float32) for _ in range(3)]
        del blocks
steps(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="this C library has no such setting")
def test_blocks_of_megabytes_are_not_had_anew_from_the_system_in_every_step():
    faults = {}
    for which in ("kept", "given back"):
        command = [sys.executable, "-c", _FAULTS, which]
        faults[which] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # A page is 4 KiB or larger; huge ones are 2 MiB.
    assert faults["kept"] < 20 <= faults["given back"]
