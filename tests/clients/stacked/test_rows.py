"""Records of a block, whether they were put in a row or stay where they are."""

import pytest
import torch

from wardround.clients.stacked.batches import Block
from wardround.clients.stacked.rows import Rows

SIZES, BLOCK_ROWS = (40, 1, 7, 130), 6


def block(names: list[int], *, are_all: bool) -> tuple[Block, list[list[int]]]:
    """Return a block of some hospitals, and which of its own rows each has in it."""
    generator = torch.Generator().manual_seed(3)
    numbers = [min(SIZES[name], int(torch.randint(0, BLOCK_ROWS + 1, (), generator=generator))) for name in names]
    own = [
        torch.randperm(SIZES[name], generator=generator)[:n].tolist() for name, n in zip(names, numbers, strict=True)
    ]
    rows = torch.full((len(names), BLOCK_ROWS), sum(SIZES))
    for place, (name, some) in enumerate(zip(names, own, strict=True)):
        rows[place, : len(some)] = torch.tensor(some, dtype=torch.int64) + sum(SIZES[:name])
    is_drawn = rows < sum(SIZES)
    return Block(None if are_all else torch.tensor(names), rows, is_drawn, () if are_all else names), own


@pytest.mark.parametrize("names", [[0, 1, 2, 3], [0, 1, 2], [0, 3], [2]])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_rows_are_the_hospitals_own_wherever_they_lie(names: list[int], shape: tuple[int, ...]) -> None:
    hospitals = [torch.randn(size, *shape, generator=torch.Generator().manual_seed(size)) for size in SIZES]
    asked, own = block(names, are_all=names == list(range(len(names))))
    for most_copied in (0, 10**9):
        found = Rows(hospitals, most_copied).of(asked)
        assert found.shape == (len(names), BLOCK_ROWS, *shape)
        for name, some, rows in zip(names, own, found, strict=True):
            assert torch.equal(rows[: len(some)], hospitals[name][some])
            assert not rows[len(some) :].any()
