"""International Stroke Trial: 19,435 patients of 466 hospitals, death within 14 days from what was known at entry.

Only columns filled in before randomisation and the randomised treatment are read, so that no outcome can leak in.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.own_tables.csv_files import csv_pieces
from wardround.datasets.records import CLASSIFICATION, Dataset, NumberColumn
from wardround.datasets.source import Source
from wardround.errors import DataError
from wardround.parsing import sound

__all__ = ["SOURCES"]

_Table = Mapping[str, list[str]]

_NUM_PATIENTS, _NUM_HOSPITALS = 19_435, 466

_PACKED = RemoteFile(
    dataset="ist",
    name="ist.csv.gz",
    folders=("ist",),
    checksum="sha256:3f32cf58e83ea44ae545066ac5bf5022c6fc4fd7530d36e0c3dc8b37f6162129",
    url=None,
)
# The publisher states no checksum: the loader checks the number of patients and hospitals and every level instead.
_PUBLISHED = RemoteFile(
    dataset="ist",
    name="IST_corrected.csv",
    folders=("ist",),
    checksum=None,
    url=None,
    preferred=_PACKED,
    how_to_obtain="download IST_corrected.csv from Edinburgh DataShare, https://doi.org/10.7488/ds/104, into a folder",
)

# Column: (feature, centre, scale, lowest, highest), from the trial's protocol and clinical references, never from
# these patients.
_REFERENCES = {
    # Hours from onset to randomisation: the protocol admits up to 48 (International Stroke Trial 1997, Lancet 349).
    "RDELAY": ("delay", 24.0, 24.0, 0.0, 48.0),
    # Years: stroke is mainly a disease of those over 70; a decade is one unit. Adults, of whom some 2 in
    # 10,000 are 100 or older (England and Wales, census 2021).
    "AGE": ("age", 70.0, 10.0, 18.0, 100.0),
    # mm Hg systolic: grade 2 hypertension begins at 160 and each grade is 20 wide (ESH/ESC guideline 2018).
    # 60 to 230 is what an automated sphygmomanometer must indicate at least (IEC 80601-2-30).
    "RSBP": ("systolic blood pressure", 160.0, 20.0, 60.0, 230.0),
}
# Column: its levels, each with the feature it sets to 1; "" is the reference level, which sets none.
_LEVELS: dict[str, dict[str, str]] = {
    "SEX": {"F": "", "M": "sex male"},
    "RCONSC": {"F": "", "D": "drowsy", "U": "unconscious"},
    "RSLEEP": {"N": "", "Y": "noticed on waking"},
    "RATRIAL": {"N": "", "Y": "atrial fibrillation", "": "atrial fibrillation not recorded"},
    "RCT": {"N": "", "Y": "CT before randomisation"},
    "RVISINF": {"N": "", "Y": "infarct visible on CT"},
    **{
        f"RDEF{number}": {"N": "", "Y": deficit, "C": f"{deficit} not assessable"}
        for number, deficit in enumerate(
            (
                "face deficit",
                "arm or hand deficit",
                "leg or foot deficit",
                "dysphasia",
                "hemianopia",
                "visuospatial disorder",
                "brainstem or cerebellar signs",
                "other deficit",
            ),
            start=1,
        )
    },
    "STYPE": {
        "LACS": "",
        "TACS": "total anterior syndrome",
        "PACS": "partial anterior syndrome",
        "POCS": "posterior syndrome",
        "OTH": "other syndrome",
    },
    "RXASP": {"N": "", "Y": "aspirin"},
    # The pilot's "high" dose (H) is the main trial's "medium" (M): 12,500 units twice a day.
    "RXHEP": {"N": "", "L": "heparin low dose", "M": "heparin medium dose", "H": "heparin medium dose"},
}


def load_ist(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return all patients with 34 baseline features, their hospital, and label 1 for death within 14 days.

    Raises:
        DataError: the table is damaged, or not the trial's.

    Source: Sandercock et al. 2011, "The International Stroke Trial database", Trials 12:101.
    """
    path = paths[0]
    table = _read_table(path)
    columns: dict[str, NDArray[np.float64]] = {}
    for column, (feature, *_) in _REFERENCES.items():
        columns[feature] = _numbers(table, column, path)
    groups = [*range(len(columns))]
    for group, (column, levels) in enumerate(_LEVELS.items(), start=len(groups)):
        made = _indicators(table, column, levels, path)
        columns |= made
        groups += [group] * len(made)
    hospitals = _numbers(table, "HOSPNUM", path).astype(np.int64)
    deaths = _numbers(table, "ID14", path).astype(np.int64)
    num_hospitals = len(np.unique(hospitals))
    if len(deaths) != _NUM_PATIENTS or num_hospitals != _NUM_HOSPITALS or set(np.unique(deaths)) != {0, 1}:
        raise DataError(
            f"{path} has {len(deaths)} patients of {num_hospitals} hospitals, not {_NUM_PATIENTS} of "
            f"{_NUM_HOSPITALS}: {_PUBLISHED.how_to_obtain}"
        )
    return Dataset(
        name="ist",
        task=CLASSIFICATION,
        features=np.stack(list(columns.values()), axis=1),
        labels=deaths,
        class_names=("alive", "dead"),
        feature_names=tuple(columns),
        hospitals=np.char.add("hospital-", hospitals.astype(np.str_)),
        notes=_notes(table, path),
        numbers=tuple(
            NumberColumn(column=place, centre=centre, scale=scale, low=low, high=high)
            for place, (_, centre, scale, low, high) in enumerate(_REFERENCES.values())
        ),
        groups=tuple(groups),
        row_is_patient=True,
    )


def _notes(table: _Table, path: Path) -> tuple[str, ...]:
    verified = "sha256 verified" if path.name == _PACKED.name else "no published checksum: rows and levels checked"
    return (
        "source: International Stroke Trial database v2, Sandercock et al. 2011, Edinburgh DataShare doi "
        f"10.7488/ds/104 (ODC-By 1.0); {path.name}, {verified}; {len(table['ID14'])} rows, none dropped",
        "label 1 = dead within 14 days (ID14); features are those known at randomisation and the randomised treatment",
        f"atrial fibrillation was not recorded in the pilot phase ({table['RATRIAL'].count('')} patients): "
        "a level of its own; heparin H (pilot) and M are the same dose",
        "public constants and bounds of numbers: the protocol's time window and clinical reference values",
    )


def _read_table(path: Path) -> _Table:
    """Return the wanted columns' cells, without blanks around them."""
    wanted = ("HOSPNUM", *_REFERENCES, *_LEVELS, "ID14")
    with sound(DataError, f"cannot read {path} as the trial's table", _PUBLISHED.how_to_obtain):
        first, *pieces = csv_pieces(path, separator=",", encoding="latin-1")
        header = first.cells[0].tolist()
        places = {name: header.index(name) for name in wanted}
        return {name: [cell for piece in pieces for cell in piece.cells[:, at]] for name, at in places.items()}


def _numbers(table: _Table, column: str, path: Path) -> NDArray[np.float64]:
    with sound(DataError, f"{path}, column {column} must hold numbers", _PUBLISHED.how_to_obtain):
        return np.array(table[column], dtype=np.str_).astype(np.float64)


def _indicators(table: _Table, column: str, levels: dict[str, str], path: Path) -> dict[str, NDArray[np.float64]]:
    values = [value.upper() for value in table[column]]
    if unknown := sorted(set(values) - set(levels)):
        raise DataError(f"{path}, column {column} has unknown levels {unknown}: {_PUBLISHED.how_to_obtain}")
    numbers = {feature: number for number, feature in enumerate(dict.fromkeys(levels.values()))}
    chosen = np.array([numbers[levels[value]] for value in values])
    return {feature: (chosen == number).astype(np.float64) for feature, number in numbers.items() if feature}


SOURCES = (
    Source(
        name="ist",
        place=40,
        sentence="death within 14 days of a stroke, 466 real hospitals (International Stroke Trial)",
        task=CLASSIFICATION,
        num_rows=_NUM_PATIENTS,
        load=load_ist,
        files=(_PUBLISHED,),
    ),
)
