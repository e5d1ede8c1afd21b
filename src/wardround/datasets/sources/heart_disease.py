"""UCI Heart Disease: four real hospitals, rows and columns as FLamby prepares them (303, 261, 46, 130 patients).

"heart-disease:flamby" are the same patients with FLamby's own test patients, for whoever compares with its figures.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.own_tables.csv_files import csv_pieces
from wardround.datasets.records import CLASSIFICATION, Dataset, NumberColumn
from wardround.datasets.source import Source
from wardround.errors import DataError
from wardround.parsing import sound
from wardround.small_counts import shown_count

__all__ = ["SOURCES"]

_NUM_COLUMNS = 14
_KEPT_COLUMNS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13)  # slope, ca and thal are mostly missing outside Cleveland

_HOSPITALS = ("cleveland", "hungary", "switzerland", "va-long-beach")
_FILES = tuple(
    RemoteFile(
        dataset="heart-disease",
        name=f"processed.{name}.data",
        folders=("heart_disease",),
        checksum=f"sha256:{digest}",
        url=f"https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/processed.{name}.data",
    )
    for name, digest in (
        ("cleveland", "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"),
        ("hungarian", "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796"),
        ("switzerland", "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314"),
        ("va", "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f"),
    )
)

# Column: (centre, scale, lowest, highest), from clinical references and never from these patients.
_REFERENCES = {
    # Age in years: the middle of the working range of coronary angiography; a decade is one unit. Adults,
    # of whom some 2 in 10,000 are 100 or older (England and Wales, census 2021).
    "age": (55.0, 10.0, 18.0, 100.0),
    # mm Hg: hypertension begins at 130 (ACC/AHA guideline 2017); a grade is 10 to 20 wide. 60 to 230 is
    # what an automated sphygmomanometer must indicate at least (IEC 80601-2-30).
    "resting blood pressure": (130.0, 20.0, 60.0, 230.0),
    # mg/dl: desirable below 200, high from 240 (NCEP Adult Treatment Panel III, 2001). Below 120 is a
    # hypolipidaemia (MSD Manual); LDL alone above 500 is a sign of homozygous familial hypercholesterolaemia (European
    # Atherosclerosis Society 2014).
    "cholesterol": (200.0, 40.0, 100.0, 500.0),
    # Beats a minute: 85 % of the age-predicted maximum of 220 - 55 (Fox et al. 1971), the usual aim of the test. No
    # predicted maximum is above 220, and below 50 even rest is a bradycardia (ACC/AHA/HRS guideline 2018).
    "maximum heart rate": (140.0, 20.0, 50.0, 220.0),
    # mm: a depression of 1 is the usual sign of ischaemia in an exercise test (ACC/AHA guideline 1997).
    # An elevation above 1 mm ends the test, and a depression above 2 is a reason to (the same): twice each.
    "ST depression": (1.0, 1.0, -2.0, 4.0),
}
_COLUMN_NAMES = (
    "age", "sex male", "chest pain", "resting blood pressure", "cholesterol", "fasting sugar > 120", "resting ECG",
    "maximum heart rate", "exercise angina", "ST depression", "disease",
)  # fmt: skip
_LEVELS = {
    "chest pain": {2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"},
    "resting ECG": {1: "ST-T abnormality", 2: "ventricular hypertrophy"},
}
_FLAMBY_SHARE, _FLAMBY_STATE, _FEWEST_OF_A_CLASS = 0.66, 43, 2
_ZERO_MEANS_MISSING = ("resting blood pressure", "cholesterol")


def load_heart_disease(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the 740 complete patients of four hospitals, 13 features, label 1 for a diseased coronary artery.

    Raises:
        DataError: a file is damaged, or not a table of 14 columns.

    Source: Ogier du Terrail et al. 2022, "FLamby", arXiv 2210.04620, Fed-Heart-Disease.
    """
    tables, dropped = [], []
    for hospital, path in zip(_HOSPITALS, paths, strict=True):
        rows = _read_rows(path)
        complete = ~np.isnan(rows).any(axis=1)
        dropped.append(f"{shown_count(int((~complete).sum()))} at {hospital}")
        tables.append(rows[complete])
    rows = np.concatenate(tables)
    features, feature_names, groups, zeros = _features(rows)
    return Dataset(
        name="heart-disease",
        task=CLASSIFICATION,
        features=features,
        labels=(rows[:, -1] > 0).astype(np.int64),
        class_names=("no disease", "disease"),
        feature_names=feature_names,
        hospitals=np.repeat(np.array(_HOSPITALS), [len(table) for table in tables]),
        notes=(
            "source: Heart Disease, Janosi, Steinbrunn, Pfisterer and Detrano 1989, UCI repository id 45 (CC BY 4.0), "
            "prepared as FLamby does; sha256 of the four files verified",
            "columns dropped: slope, ca and thal (mostly missing outside cleveland)",
            f"rows dropped for a missing value in another column: {', '.join(dropped)}",
            f"0 means missing for {zeros}",
            "public constants and bounds of numbers: clinical reference values",
        ),
        numbers=tuple(
            NumberColumn(column=place, centre=centre, scale=scale, low=low, high=high)
            for place, name in enumerate(feature_names)
            for centre, scale, low, high in ([_REFERENCES[name]] if name in _REFERENCES else [])
        ),
        groups=groups,
        row_is_patient=True,
    )


def load_flamby_split(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the same patients, the test patients being those of FLamby: 104, 89, 16 and 45 of the four hospitals.

    FLamby splits each hospital's rows, in the order of its file, by scikit-learn's `train_test_split` at random state
    43, by class where each class has more than two patients.

    Raises:
        DataError: see `load_heart_disease`.

    Source: Ogier du Terrail et al. 2022, Fed-Heart-Disease; owkin/FLamby, flamby/datasets/fed_heart_disease/dataset.py.
    """
    from sklearn.model_selection import train_test_split

    dataset = load_heart_disease(config, paths)
    is_test = np.zeros(len(dataset.labels), dtype=np.bool_)
    for name in _HOSPITALS:
        rows = np.flatnonzero(dataset.hospitals == name)
        labels = dataset.labels[rows]
        by_class = labels if np.bincount(labels, minlength=2).min() > _FEWEST_OF_A_CLASS else None
        _, test = train_test_split(
            np.arange(len(rows)),
            train_size=_FLAMBY_SHARE,
            test_size=1 - _FLAMBY_SHARE,
            random_state=_FLAMBY_STATE,
            stratify=by_class,
        )
        is_test[rows[test]] = True
    return replace(dataset, name="heart-disease:flamby", is_test=is_test)


def _read_rows(path: Path) -> NDArray[np.float64]:
    with sound(DataError, f"cannot read {path} as a table of numbers", "fetch the file again"):
        cells = np.concatenate([piece.cells for piece in csv_pieces(path, separator=",", encoding="ascii")])
        rows = np.where(cells == "?", "nan", cells).astype(np.float64)
    if rows.shape[1] != _NUM_COLUMNS:
        raise DataError(f"{path} does not have {_NUM_COLUMNS} columns: fetch the file again")
    return rows[:, _KEPT_COLUMNS]


def _features(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[int, ...], str]:
    """Return features, their names, the column that each is made of, and for how many rows 0 means missing."""
    columns: dict[str, NDArray[Any]] = {}
    indicators: dict[str, NDArray[Any]] = {}
    made_of: dict[str, int] = {}
    zeros = []
    for place, (name, column) in enumerate(zip(_COLUMN_NAMES[:-1], rows.T[:-1], strict=True)):
        made_of |= dict.fromkeys((name, *(f"{name} {level}" for level in _LEVELS.get(name, {}).values())), place)
        if name in _ZERO_MEANS_MISSING:
            is_missing = column == 0
            columns[name] = np.where(is_missing, np.nan, column)
            if is_missing.any():
                zeros.append(f"{name} ({shown_count(int(is_missing.sum()))})")
        elif name in _LEVELS:
            indicators |= {f"{name} {level}": column == value for value, level in _LEVELS[name].items()}
        else:
            columns[name] = column
    columns |= indicators
    features = np.stack(list(columns.values()), axis=1).astype(np.float64)
    return features, tuple(columns), tuple(made_of[name] for name in columns), " and ".join(zeros)


SOURCES = (
    Source(
        name="heart-disease",
        place=30,
        sentence="coronary artery disease at four real hospitals",
        task=CLASSIFICATION,
        num_rows=740,
        load=load_heart_disease,
        files=_FILES,
    ),
    Source(
        name="heart-disease:flamby",
        place=30,
        sentence="the same, with the test patients of FLamby's benchmark",
        task=CLASSIFICATION,
        num_rows=740,
        load=load_flamby_split,
        files=_FILES,
    ),
)
