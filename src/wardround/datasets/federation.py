"""From rows to hospitals: thin classes, partition, leave out, split, and say what was done."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import HOSPITAL, FeaturesConfig, FederationConfig, check_features_use
from wardround.datasets.hospital_data import make_hospital
from wardround.datasets.partitions import (
    partition_dirichlet,
    partition_iid,
    partition_natural,
    partition_quantity,
    partition_shards,
    quantile_bins,
)
from wardround.datasets.records import CLASSIFICATION, REGRESSION, SURVIVAL, Dataset, FederatedData, HospitalData
from wardround.datasets.shared_rows import share_rows
from wardround.datasets.splits import first_rows, keep_shares, split_rows
from wardround.datasets.standardising import bounded_numbers, mode_note, mode_of
from wardround.errors import ConfigError
from wardround.small_counts import shown_count, shown_total
from wardround.streams import SetUp, stream
from wardround.survival import times_and_events

__all__ = ["build_federation"]

_Rows = NDArray[np.int64]
_Parts = list[tuple[str, _Rows]]
_MOST_NAMES = 10
_DEFAULT = FeaturesConfig()


def build_federation(dataset: Dataset, config: FederationConfig, features: FeaturesConfig = _DEFAULT) -> FederatedData:
    """Return the federation that a loaded data set becomes.

    A hospital's training and test rows depend on its own rows, its name and the seed, never on other hospitals.

    Args:
        dataset: the data.
        config: partition, sizes, exclusions and seed.
        features: how numbers are standardised.

    Raises:
        ConfigError: a setting does not fit the data, or leaves no hospital.
    """
    check_features_use(features, config)
    mode, numbers = mode_of(dataset, features), bounded_numbers(dataset, features)
    time_edges = _time_edges(dataset, config)
    rows, thinning_notes = _thin_classes(dataset, config)
    partition = _resolve_partition(dataset, config)
    parts = _partition(dataset, rows, partition, config)
    kept, excluded = _kept(dataset, rows, parts, config)
    seen = [np.unique(dataset.patients_of(np.concatenate(both))) for both in kept.values()]
    overlap = int(np.unique(np.concatenate(seen), return_counts=True)[1].max())
    made = (make_hospital(dataset, name, *both, numbers=numbers, mode=mode) for name, both in kept.items())
    hospitals = share_rows(made, sum(len(half) for both in kept.values() for half in both))
    return FederatedData(
        dataset_name=dataset.name,
        task=dataset.task,
        class_names=dataset.class_names,
        feature_names=dataset.feature_names,
        input_shape=dataset.features.shape[1:],
        hospitals=hospitals,
        excluded=tuple(excluded),
        notes=(
            *dataset.notes,
            *mode_note(mode, numbers),
            *thinning_notes,
            *_notes(dataset, partition, overlap, hospitals),
        ),
        partition=partition,
        max_hospitals_per_patient=overlap,
        record_is="row" if dataset.patients is None and not dataset.row_is_patient else "patient",
        own_statistics=mode == HOSPITAL and bool(numbers),
        standardise=mode,
        numbers=numbers,
        groups=dataset.groups,
        columns=dataset.columns,
        time_edges=time_edges,
    )


def _time_edges(dataset: Dataset, config: FederationConfig) -> tuple[float, ...]:
    """Return the edges of a survival's intervals, by the settings or else by the data set; none of another task."""
    if config.time_edges is not None and dataset.task != SURVIVAL:
        raise ConfigError(
            f"time-edges go with times, and {dataset.name} is a {dataset.task} ([federation] time-edges): remove it"
        )
    return config.time_edges or dataset.time_edges


def _kept(
    dataset: Dataset, rows: _Rows, parts: _Parts, config: FederationConfig
) -> tuple[dict[str, tuple[_Rows, _Rows]], list[str]]:
    """Return the training and test rows of every hospital that takes part, and a sentence on each that does not."""
    sizes = {name: len(np.unique(dataset.patients_of(part))) for name, part in parts}
    halves = {name: _split(dataset, name, part, config) for name, part in parts if sizes[name] >= config.min_patients}
    kept = {name: (train, test) for name, (train, test) in halves.items() if len(train)}
    if not kept:
        raise ConfigError(
            f"no hospital of {dataset.name} is left: {_why_none(dataset, rows, sizes, bool(halves), config)}"
        )
    few = f"patients, fewer than min-patients = {config.min_patients}"
    excluded = [f"{name} has {shown_count(size)} {few}" for name, size in sizes.items() if name not in halves]
    excluded += [
        f"{name} has no training row: all its rows are official test rows" for name in halves if name not in kept
    ]
    return kept, excluded


def _why_none(dataset: Dataset, rows: _Rows, sizes: dict[str, int], are_large: bool, config: FederationConfig) -> str:
    """Return why no hospital can train, and what can be changed so that one can."""
    if are_large:
        return "all rows are official test rows, and none is for training: use other data"
    least = config.min_patients
    most = len(np.unique(dataset.patients_of(rows))) // least
    lower = "lower min-patients, or " if least > 2 else ""
    if config.partition == "natural" or (config.partition is None and dataset.hospitals is not None):
        step = f'{lower}choose another partition than the data\'s own hospitals ([federation] partition = "iid")'
    elif most:
        step = f"{lower}ask for at most {most} hospitals ([federation] num-hospitals)"
    else:
        step = f"{lower}use data of {least} patients or more"
    return (
        f"min-patients = {least}, and the largest of {len(sizes)} has {shown_count(max(sizes.values()))} patients "
        f"([federation] min-patients): {step}"
    )


def _thin_classes(dataset: Dataset, config: FederationConfig) -> tuple[_Rows, list[str]]:
    weights = config.class_weights
    if weights is None:
        return np.arange(len(dataset.labels)), []
    if len(weights) != len(dataset.class_names):
        wanted = f"{len(dataset.class_names)} numbers, one per class" if dataset.class_names else "left out: no classes"
        raise ConfigError(
            f"class-weights has {len(weights)} numbers but must be {wanted} in {dataset.name} "
            f"([federation] class-weights; classes: {', '.join(dataset.class_names) or 'none, in a ' + dataset.task})"
        )
    is_test = np.zeros(len(dataset.labels), dtype=np.bool_) if dataset.is_test is None else dataset.is_test
    kept = []
    for name, side in (("", np.flatnonzero(~is_test)), ("test", np.flatnonzero(is_test))):
        generator = stream(config.seed, SetUp.CLASS_WEIGHTS, name=name)
        kept.append(side[keep_shares(dataset.labels[side], weights, generator)])
    rows = np.sort(np.concatenate(kept))
    counts = np.bincount(dataset.labels[rows], minlength=len(weights))
    shares = ", ".join(f"{name} {shown_count(count)}" for name, count in zip(dataset.class_names, counts, strict=True))
    total = shown_total([shown_count(int(count)) for count in counts])
    return rows, [f"class-weights kept {total} of {len(dataset.labels):,} rows ({shares})"]


def _resolve_partition(dataset: Dataset, config: FederationConfig) -> str:
    if config.partition == "natural" and dataset.hospitals is None:
        advice = "name a hospital-column" if dataset.name == "csv" else "choose iid, dirichlet, quantity or shards"
        raise ConfigError(
            f'partition = "natural" needs data that names its hospitals, which {dataset.name} does not '
            f"([federation] partition): {advice}"
        )
    return config.partition or ("iid" if dataset.hospitals is None else "natural")


def _partition(dataset: Dataset, rows: _Rows, partition: str, config: FederationConfig) -> _Parts:
    """Return each hospital's name and rows; all rows of a patient go to the same artificial hospital."""
    if partition == "natural" and dataset.hospitals is not None:
        names, parts = partition_natural(dataset.hospitals[rows])
        return [(name, rows[part]) for name, part in zip(names, parts, strict=True)]
    first, patient_of_row = first_rows(dataset.patients_of(rows))
    labels = _strata(dataset, rows)[first]
    if dataset.task == REGRESSION:
        labels = quantile_bins(labels)
    generator = stream(config.seed, SetUp.PARTITION, name=partition)
    count, alpha = config.num_hospitals, config.dirichlet_alpha
    if count > len(labels):
        raise ConfigError(
            f"num-hospitals = {count} must be <= {len(labels)}, the number of patients in the data ([federation] "
            "num-hospitals)"
        )
    if partition == "dirichlet":
        units = partition_dirichlet(labels, count, alpha, generator)
    elif partition == "quantity":
        units = partition_quantity(len(labels), count, alpha, generator)
    elif partition == "shards":
        units = partition_shards(labels, count, config.shards_per_hospital, generator)
    else:
        units = partition_iid(len(labels), count, generator)
    hospital_of_unit = np.empty(len(labels), dtype=np.int64)
    for index, unit in enumerate(units):
        hospital_of_unit[unit] = index
    _, parts = partition_natural(hospital_of_unit[patient_of_row])
    width = max(2, len(str(count)))
    return [(f"hospital-{index:0{width}d}", rows[part]) for index, part in enumerate(parts, start=1)]


def _split(dataset: Dataset, name: str, rows: _Rows, config: FederationConfig) -> tuple[_Rows, _Rows]:
    if dataset.is_test is not None:
        return rows[~dataset.is_test[rows]], rows[dataset.is_test[rows]]
    strata = np.zeros(len(rows), dtype=np.int64) if dataset.task == REGRESSION else _strata(dataset, rows)
    generator = stream(config.seed, SetUp.SPLIT, name=name)
    train, test = split_rows(strata, dataset.patients_of(rows), config.test_fraction, generator)
    return rows[train], rows[test]


def _strata(dataset: Dataset, rows: _Rows) -> NDArray[Any]:
    """Return what rows are told apart by where a split is by class: classes, or whether the event was seen."""
    labels = dataset.labels[rows]
    return times_and_events(labels)[1].astype(np.int64) if dataset.task == SURVIVAL else labels


def _notes(dataset: Dataset, partition: str, overlap: int, hospitals: Sequence[HospitalData]) -> list[str]:
    notes = []
    counts = [np.bincount(hospital.train_owners).max() for hospital in hospitals if hospital.train_owners is not None]
    if counts:
        notes.append(
            f"a patient has up to {max(counts)} training rows at one hospital: the rows of a patient are sampled "
            "together, and their mean gradient is clipped as one, so that the record that is protected is the patient"
        )
    if dataset.is_test is not None:
        notes.append("test rows are the official ones of each hospital; test-fraction is not used")
    else:
        by = {CLASSIFICATION: "the seed and the classes", SURVIVAL: "the seed and the events"}.get(
            dataset.task, "the seed"
        )
        notes.append(f"which rows are training and which test follows from {by}, and is taken to be public")
    if dataset.task == REGRESSION and partition in ("dirichlet", "shards"):
        notes.append(f"partition {partition} sees the ten quantile bins of the target as classes")
    if dataset.task == SURVIVAL and partition in ("dirichlet", "shards"):
        notes.append(f"partition {partition} sees the event, and that it was not seen, as two classes")
    if overlap > 1:
        notes.append(
            f"a patient has rows at up to {overlap} hospitals: set [privacy] patient-overlap = {overlap}, unless the "
            "same patient number means different people at different hospitals"
            + (' (then set [federation] patient-scope = "hospital")' if dataset.name == "csv" else "")
        )
    return [*notes, *_class_notes(hospitals, dataset)]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more hospitals"


def _class_notes(hospitals: Sequence[HospitalData], dataset: Dataset) -> list[str]:
    no_test = [item.hospital_id for item in hospitals if len(item.test_labels) == 0]
    notes = [f"no test rows at {_listed(no_test)}: nothing to evaluate there"] if no_test else []
    if dataset.task != CLASSIFICATION:
        return notes
    labels = {item.hospital_id: np.concatenate([item.train_labels, item.test_labels]) for item in hospitals}
    one_class = [name for name, both in labels.items() if len(np.unique(both)) == 1]
    if one_class:
        # Which class it is would be said of everyone there.
        notes.append(f"only one class at {_listed(one_class)}: AUC undefined there")
    one_test_class = [item.hospital_id for item in hospitals if len(np.unique(item.test_labels)) == 1]
    if number := len(set(one_test_class) - set(one_class)):
        # By name it would say of everyone there, who may be few, which class is missing.
        where = "a hospital" if number == 1 else f"{number} hospitals"
        notes.append(f"only one class among the test rows of {where}: AUC undefined there")
    return notes
