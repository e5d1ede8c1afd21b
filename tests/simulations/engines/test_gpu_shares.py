"""Several processes on one GPU keep to their shares of its memory."""

import subprocess
import sys

import pytest
import torch

from wardround.simulations.engines.gpu_shares import memory_share

GIBIBYTE = 2**30


@pytest.mark.parametrize("total", [4, 16, 80, 141])
@pytest.mark.parametrize("num_workers", [2, 3, 4, 8])
def test_shares_and_contexts_fit_the_gpu_together_or_are_halved(num_workers: int, total: int) -> None:
    share = memory_share(1 / num_workers, total * GIBIBYTE)
    assert 0 < share < 1 / num_workers
    if total / num_workers > 2:
        assert num_workers * (share * total + 1) <= total * (1 + 1e-9)
    else:
        assert share == 1 / num_workers / 2


def test_whole_gpus_are_given_whole() -> None:
    assert memory_share(1.0, 80 * GIBIBYTE) == memory_share(2.0, 80 * GIBIBYTE) == 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_a_process_that_passes_its_share_is_told_and_leaves_the_rest_of_the_gpu_alone() -> None:
    code = (
        "import torch\n"
        "from wardround.simulations.engines.gpu_shares import keep_to_share\n"
        "keep_to_share(0.25)\n"
        "free = torch.cuda.mem_get_info()[0]\n"
        "try:\n"
        "    torch.empty(free // 2, dtype=torch.uint8, device='cuda')\n"
        "except torch.cuda.OutOfMemoryError:\n"
        "    print('kept')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "kept\n"
