"""International Stroke Trial: 19,435 patients of 466 hospitals, death within 14 days from what was known at entry.

Only columns filled in before randomisation and the randomised treatment are read, so that no outcome can leak in.
"""

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file, find_file
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fetch_ist", "load_ist"]

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
    how_to_obtain="download IST_corrected.csv from Edinburgh DataShare, https://doi.org/10.7488/ds/104, into a folder",
)

# Column: (feature, centre, scale), from the trial's protocol and clinical references, never from these patients.
_REFERENCES = {
    # Hours from onset to randomisation: the protocol admits up to 48 (International Stroke Trial 1997, Lancet 349).
    "RDELAY": ("delay", 24.0, 24.0),
    # Years: stroke is mainly a disease of those over 70; a decade is one unit.
    "AGE": ("age", 70.0, 10.0),
    # mm Hg systolic: grade 2 hypertension begins at 160 and each grade is 20 wide (ESH/ESC guideline 2018).
    "RSBP": ("systolic blood pressure", 160.0, 20.0),
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


def fetch_ist(data_dir: str | None) -> list[Path]:
    """Return the path of the trial's table, as packed (`ist.csv.gz`) or as published (`IST_corrected.csv`).

    Args:
        data_dir: [federation] data-dir, or None.

    Raises:
        DataError: neither file is on this machine; the message says where the publisher has it.
    """
    return [find_file(_PACKED, data_dir) or fetch_file(_PUBLISHED, data_dir)]


def load_ist(config: FederationConfig) -> Dataset:
    """Return all patients with 34 baseline features, their hospital, and label 1 for death within 14 days.

    Args:
        config: its data_dir is searched first.

    Raises:
        DataError: the table is missing, damaged, or not the trial's.

    Source: Sandercock et al. 2011, "The International Stroke Trial database", Trials 12:101.
    """
    path = fetch_ist(config.data_dir)[0]
    table = _read_table(path)
    columns: dict[str, NDArray[np.float64]] = {}
    for column, (feature, centre, scale) in _REFERENCES.items():
        columns[feature] = (_numbers(table, column, path) - centre) / scale
    for column, levels in _LEVELS.items():
        columns |= _indicators(table, column, levels, path)
    hospitals = _numbers(table, "HOSPNUM", path).astype(np.int64)
    deaths = _numbers(table, "ID14", path).astype(np.int64)
    if len(table) != _NUM_PATIENTS or len(np.unique(hospitals)) != _NUM_HOSPITALS or set(np.unique(deaths)) != {0, 1}:
        raise DataError(
            f"{path} has {len(table)} patients of {len(np.unique(hospitals))} hospitals, not {_NUM_PATIENTS} of "
            f"{_NUM_HOSPITALS}: {_PUBLISHED.how_to_obtain}"
        )
    return Dataset(
        name="ist",
        task=CLASSIFICATION,
        features=np.stack(list(columns.values()), axis=1).astype(np.float32),
        labels=deaths,
        class_names=("alive", "dead"),
        feature_names=tuple(columns),
        hospitals=np.char.add("hospital-", hospitals.astype(np.str_)),
        notes=_notes(table, path),
    )


def _notes(table: "pd.DataFrame", path: Path) -> tuple[str, ...]:
    verified = "sha256 verified" if path.name == _PACKED.name else "no published checksum: rows and levels checked"
    return (
        "source: International Stroke Trial database v2, Sandercock et al. 2011, Edinburgh DataShare doi "
        f"10.7488/ds/104 (ODC-By 1.0); {path.name}, {verified}; {len(table)} rows, none dropped",
        "label 1 = dead within 14 days (ID14); features are those known at randomisation and the randomised treatment",
        f"atrial fibrillation was not recorded in the pilot phase ({int((table['RATRIAL'] == '').sum())} patients): "
        "a level of its own; heparin H (pilot) and M are the same dose",
        "normalisation: public constants (the protocol's time window and clinical reference values)",
    )


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    wanted = ["HOSPNUM", *_REFERENCES, *_LEVELS, "ID14"]
    try:
        table: pd.DataFrame = pd.read_csv(path, encoding="latin-1", dtype=str, keep_default_na=False, usecols=wanted)
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(f"cannot read {path} as the trial's table ({error}): {_PUBLISHED.how_to_obtain}") from None
    for column in table.columns:
        table[column] = table[column].str.strip()
    return table


def _numbers(table: "pd.DataFrame", column: str, path: Path) -> NDArray[np.float64]:
    try:
        return table[column].to_numpy(dtype=np.str_).astype(np.float64)
    except ValueError as error:
        raise DataError(f"{path}, column {column}: {error}; {_PUBLISHED.how_to_obtain}") from None


def _indicators(
    table: "pd.DataFrame", column: str, levels: dict[str, str], path: Path
) -> dict[str, NDArray[np.float64]]:
    values = table[column].str.upper().to_numpy(dtype=np.str_)
    unknown = sorted(set(np.unique(values).tolist()) - set(levels))
    if unknown:
        raise DataError(f"{path}, column {column} has unknown levels {unknown}: {_PUBLISHED.how_to_obtain}")
    features = dict.fromkeys(feature for feature in levels.values() if feature)
    return {
        feature: np.isin(values, [level for level in levels if levels[level] == feature]).astype(np.float64)
        for feature in features
    }
