"""Hold the average in a checkpoint to the average before it and the round's model, where both checkpoints are there.

What is left out on purpose: that the files are those that were committed (see `verify`).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from wardround.errors import ProtocolError
from wardround.exact_sums import Arrays
from wardround.server.plan.average import averaged
from wardround.server.record.records import RoundRecord
from wardround.server.record.run_folder import RunFolder
from wardround.server.record.tensors import part_of

__all__ = ["average_findings"]

_ROUNDING = 1e-9
"""Relative to an average's largest number: the weight of a round has a logarithm in it, which machines round apart."""


def average_findings(folder: RunFolder, records: Sequence[RoundRecord], decay: float | None) -> Iterator[str]:
    """Yield a sentence for each committed average that does not follow from the checkpoints, where they are there."""
    for number in folder.checkpoint_rounds() if decay is not None else ():
        if not 0 < number < len(records):
            continue
        try:
            before = _tensors(folder, records[number - 1]) if number > 1 else {}
            after = _tensors(folder, records[number])
        except ProtocolError:
            continue  # one is not kept, or is not as it was committed, which is told where files are held to digests
        wanted = averaged(part_of(before, "average") or None, part_of(after, "model"), number, decay)
        if wanted is None or not _agree(part_of(after, "average"), wanted):
            yield f"the average model of round {number} does not follow from the round before and the round's model"


def _tensors(folder: RunFolder, record: RoundRecord) -> Arrays:
    return folder.read_checkpoint(record.saved.checkpoint, record.saved.sha256)[0]


def _agree(found: Arrays, wanted: Arrays) -> bool:
    return found.keys() == wanted.keys() and all(
        np.allclose(found[name], array, rtol=0, atol=_ROUNDING * max(1e-300, float(np.abs(array).max(initial=0.0))))
        for name, array in wanted.items()
    )
