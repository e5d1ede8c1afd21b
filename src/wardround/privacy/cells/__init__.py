"""The cells of unit x placement: every way to protect that there is, and one that protects nobody.

A cell that is not in `CELLS` does not exist. Outside this package, and torch's half of it in `clients.cells`, nothing
asks which cell it is: a cell is asked for what it does. Each has a file with all that is special to it. What hospitals
send is in `gradient_sums` and `whole_updates`, who adds noise to the sum in `server_noise` and `integer_sums`; every
question that there is, with the answer of most cells, is in `promises` and `cell`.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from wardround.errors import ProtocolError
from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.hospital_central import HospitalCentral
from wardround.privacy.cells.hospital_correlated import HospitalCorrelated
from wardround.privacy.cells.hospital_distributed import HospitalDistributed
from wardround.privacy.cells.hospital_local import HospitalLocal
from wardround.privacy.cells.microbatches import RecordCentralMicrobatches, RecordLocalMicrobatches
from wardround.privacy.cells.none import NoPrivacy
from wardround.privacy.cells.promises import AUTOMATIC, READERS, Booked
from wardround.privacy.cells.record_central import RecordCentral
from wardround.privacy.cells.record_distributed import RecordDistributed
from wardround.privacy.cells.record_local import RecordLocal
from wardround.privacy.cells.released_sums import PlannedSum, ReleasedSum, RoundSum
from wardround.privacy.cells.words import READER_NAMES, CellWords

__all__ = [
    "AUTOMATIC",
    "CELLS",
    "READERS",
    "READER_NAMES",
    "Booked",
    "Cell",
    "CellWords",
    "PlannedSum",
    "ReleasedSum",
    "RoundSum",
    "cell_in_words",
    "cell_named",
    "cell_of",
]

CELLS: tuple[Cell, ...] = (
    NoPrivacy(),
    RecordLocal(),
    RecordDistributed(),
    RecordCentral(),
    HospitalLocal(),
    HospitalDistributed(),
    HospitalCentral(),
    HospitalCorrelated(),
    RecordLocalMicrobatches(),
    RecordCentralMicrobatches(),
)
"""Every cell there is; of those of one unit and placement, the one that these alone name stands first."""

_BY_NAME: Mapping[str, Cell] = MappingProxyType({cell.name: cell for cell in CELLS})


def cell_named(name: str) -> Cell:
    """Return the cell that an event or an assignment names.

    Raises:
        ProtocolError: there is none of that name.
    """
    if name not in _BY_NAME:
        raise ProtocolError(f'cell = "{name}" is no known cell: choose one of {", ".join(_BY_NAME)}')
    return _BY_NAME[name]


def cell_of(privacy: Any) -> Cell:
    """Return the cell that the settings of [privacy] name (`config.PrivacyConfig`).

    Raises:
        ProtocolError: there is none.
    """
    return _cell_of(privacy.unit, privacy.placement, privacy.noise_correlation, privacy.microbatch_size > 1)


def cell_in_words(unit: str, placement: str, mechanism: str = "") -> Cell:
    """Return the cell that a summary or a ledger has written; the unit has no meaning with placement "none".

    Where no mechanism was written, or none of today's, the first cell of unit and placement is meant.

    Raises:
        ProtocolError: there is none.
    """
    if mechanism == NoPrivacy.mechanism:
        return cell_named(NoPrivacy.name)
    found = _cells_of(unit, placement)
    return next((cell for cell in found if cell.mechanism == mechanism), found[0])


@lru_cache(maxsize=64)
def _cell_of(unit: str, placement: str, noise_correlation: str, clips_groups: bool) -> Cell:
    found = _cells_of(unit, placement)
    wanted = noise_correlation, clips_groups
    return next((cell for cell in found if (cell.noise_correlation, cell.clips_groups) == wanted), found[0])


def _cells_of(unit: str, placement: str) -> list[Cell]:
    found = [cell for cell in CELLS if cell.placement == placement and (cell.unit == unit or not cell.is_private)]
    if not found:
        raise ProtocolError(
            f'unit = "{unit}", placement = "{placement}" is no known cell: choose one of '
            + ", ".join(f"{cell.unit} x {cell.placement}" for cell in CELLS if cell.is_private)
        )
    return found
