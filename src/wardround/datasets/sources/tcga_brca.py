"""TCGA-BRCA: time to death of 1,088 breast cancer patients in six regions, rows and split as FLamby prepares them.

Which region a patient is of follows from the tissue source site in the barcode. Both that and the split are FLamby's
table, in which regions are numbered. What is left out on purpose: the eight patients that no region of the six has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.own_tables.csv_files import csv_pieces
from wardround.datasets.records import SURVIVAL, Dataset, NumberColumn
from wardround.datasets.source import Source
from wardround.errors import DataError
from wardround.parsing import sound
from wardround.survival import labels_of_times

__all__ = ["SOURCES"]

_REGIONS = ("northeast", "south", "west", "midwest", "europe", "canada")
"""By their numbers in the split."""

_NUM_PATIENTS = 1_088
_COMMIT = "edacf54d5211520583b0133d55ac39b6fda8324b"

_FILES = tuple(
    RemoteFile(
        dataset="tcga-brca",
        name=name,
        folders=("tcga_brca",),
        checksum=f"sha256:{digest}",
        url=f"https://raw.githubusercontent.com/owkin/FLamby/{_COMMIT}/flamby/datasets/fed_tcga_brca/{path}{name}",
    )
    for path, name, digest in (
        ("", "brca.csv", "07cb53423f7d579d33cfdbf2cba57b2aee75318b85866c68ce39a75b1f1ba020"),
        (
            "dataset_creation_scripts/",
            "train_test_split.csv",
            "1249c6543a4060ff0fdaf8510fc37017755836db6c9fc5e6af96057c36510990",
        ),
    )
)

_AGE = "age_at_index"
# Years: centre, scale, lowest and highest. Half of all breast cancers in the United States are diagnosed by 62 (SEER);
# a decade is one unit. Adults, of whom some 2 in 10,000 are 100 or older (England and Wales, census 2021).
_AGE_REFERENCE = (60.0, 10.0, 18.0, 100.0)
# Columns of levels begin with these; every other indicator stands alone.
_LEVELS_OF = (
    "ethnicity_",
    "race_",
    "ajcc_pathologic_m_",
    "ajcc_pathologic_n_",
    "ajcc_pathologic_stage_",
    "ajcc_pathologic_t_",
    "ajcc_staging_system_edition_",
    "icd_10_code_",
    "morphology_",
    "primary_diagnosis_",
    "prior_malignancy_",
    "synchronous_malignancy_",
    "treatment_or_therapy_",
    "tumor_stage_",
)
_YEAR = 365.25
_EDGES = tuple(_YEAR * years for years in (0, 1, 2, 3, 5, 7, 10))
"""In days: years at which survival is commonly stated."""


def load_tcga_brca(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the 1,088 patients of six regions, 39 features, and days from diagnosis to death or the last contact.

    Raises:
        DataError: a file is damaged, or not the published one.

    Source: Ogier du Terrail et al. 2022, "FLamby", arXiv 2210.04620, Fed-TCGA-BRCA; covariates by Andreux et al. 2020,
    arXiv 2006.08997.
    """
    table, split = _columns(paths[0]), _columns(paths[1])
    with sound(DataError, f"cannot read {paths[0]} and {paths[1]} as FLamby's tables", "fetch the files again"):
        placed = dict(zip(split["pid"], (text.rsplit("_", 1) for text in split["fold2"]), strict=True))
        is_kept = np.array([patient in placed for patient in table["pid"]])
        halves, regions = zip(*(placed[patient] for patient in np.array(table["pid"])[is_kept]), strict=True)
        names = [name for name in table if name not in ("pid", "E", "T")]
        numbers = {name: np.array(table[name], dtype=np.float64)[is_kept] for name in (*names, "E", "T")}
        hospitals = np.array([_REGIONS[int(region)] for region in regions])
    if len(hospitals) != _NUM_PATIENTS or not np.isin(numbers["E"], (0, 1)).all() or (numbers["T"] < 0).any():
        raise DataError(f"{paths[0]} has {len(hospitals)} patients with a region, not {_NUM_PATIENTS}: fetch it again")
    centre, scale, low, high = _AGE_REFERENCE
    return Dataset(
        name="tcga-brca",
        task=SURVIVAL,
        features=np.stack([numbers[name] for name in names], axis=1),
        labels=labels_of_times(numbers["T"], numbers["E"]).astype(np.float32),
        class_names=(),
        feature_names=tuple(names),
        hospitals=hospitals,
        is_test=np.array(halves) == "test",
        notes=(
            "source: TCGA-BRCA, clinical data of The Cancer Genome Atlas (open access of the Genomic Data Commons; its "
            "terms forbid to identify anybody), prepared as FLamby does; sha256 of both files verified",
            f"rows dropped: {len(is_kept) - len(hospitals)}, whose sites are in none of the six regions",
            "the target is the time from diagnosis to death, in days; who was alive is censored at the last contact",
            "public constants and bounds of age: the statistics of the disease, and of ages",
        ),
        numbers=(NumberColumn(column=names.index(_AGE), centre=centre, scale=scale, low=low, high=high),),
        groups=_groups(names),
        row_is_patient=True,
        time_edges=_EDGES,
    )


def _groups(names: list[str]) -> tuple[int, ...]:
    """Return the number of the column that each feature was made of."""
    found: dict[str, int] = {}
    stems = [next((stem for stem in _LEVELS_OF if name.startswith(stem)), name) for name in names]
    return tuple(found.setdefault(stem, len(found)) for stem in stems)


def _columns(path: Path) -> Mapping[str, list[Any]]:
    """Return the cells of a table by the names of its columns."""
    with sound(DataError, f"cannot read {path} as a table", "fetch the file again"):
        cells: NDArray[np.str_] = np.concatenate(
            [piece.cells for piece in csv_pieces(path, separator=",", encoding="ascii")]
        )
        return {str(name): column.tolist() for name, column in zip(cells[0], cells[1:].T, strict=True)}


SOURCES = (
    Source(
        name="tcga-brca",
        place=45,
        sentence="time to death with breast cancer, six real regions (The Cancer Genome Atlas)",
        task=SURVIVAL,
        num_rows=_NUM_PATIENTS,
        load=load_tcga_brca,
        files=_FILES,
    ),
)
