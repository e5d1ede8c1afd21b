"""One conformance suite over every source that is on this machine, and what is special about each."""

import csv
import importlib
import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from wardround.config import FederationConfig
from wardround.datasets import SOURCES, Dataset, build_federation, fetch, load_dataset, load_federation, sources
from wardround.datasets.bundled import bundled_table
from wardround.datasets.images import scaled_pixels
from wardround.datasets.sources.medmnist import medmnist_source
from wardround.datasets.sources.tcga_brca import load_tcga_brca
from wardround.datasets.standardising import standardise
from wardround.errors import ConfigError, DataError
from wardround.survival import times_and_events

BUNDLED = ("breast-cancer", "digits", "synthetic-regression")
READY_MADE = [name for name, source in SOURCES.items() if source.task != "either"]


@pytest.fixture(autouse=True)
def empty_home_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WARDROUND_DATA", raising=False)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")


def fetch_or_skip(name: str, real_data: Path) -> list[Path]:
    """Return the files of a data set, or skip where they are not on this machine."""
    try:
        return fetch(name, str(real_data))
    except DataError as error:
        pytest.skip(str(error))


def _load(name: str, real_data: Path) -> Dataset:
    """Return a data set, or skip where it is not on this machine."""
    fetch_or_skip(name, real_data)
    return load_dataset(FederationConfig(dataset=name, data_dir=str(real_data)))


def _features(dataset: Dataset) -> np.ndarray:
    """Return the features of all rows, standardised by public constants."""
    if not dataset.numbers:
        return dataset.features
    return standardise(dataset.features.copy(), dataset.features[:0].copy(), dataset.numbers, "public")[0]


@pytest.mark.parametrize("name", READY_MADE)
def test_every_source_keeps_the_promises_of_a_dataset(name: str, real_data: Path) -> None:
    dataset = _load(name, real_data)
    num_rows = len(dataset.labels)
    assert dataset.name == name
    assert dataset.task == SOURCES[name].task
    assert dataset.features.dtype == (np.float64 if dataset.numbers else np.float32)
    assert len(dataset.features) == num_rows
    assert np.isfinite(_features(dataset)).all()
    assert float(np.abs(_features(dataset)).max()) < 11
    assert not dataset.features.flags.writeable
    if dataset.task == "classification":
        assert dataset.labels.dtype == np.int64
        assert sorted(np.unique(dataset.labels)) == list(range(len(dataset.class_names)))
    else:
        assert (dataset.labels.dtype, dataset.class_names) == (np.float32, ())
    if dataset.features.ndim == 2:
        assert len(set(dataset.feature_names)) == dataset.features.shape[1]
    else:
        assert (dataset.features.ndim, dataset.feature_names) == (4, ())
    for column in (dataset.hospitals, dataset.patients, dataset.is_test):
        assert column is None or column.shape == (num_rows,)
    assert sum(note.startswith("source: ") for note in dataset.notes) == 1
    federation = build_federation(dataset, FederationConfig())
    assert sum(note.startswith("normalisation: ") for note in federation.notes) == 1
    assert federation.standardise == "public"
    if name != "cifar10":
        assert num_rows == SOURCES[name].num_rows


def test_the_catalogue_has_every_file_of_sources_in_its_order() -> None:
    folder = Path(sources.__file__).parent
    files = [importlib.import_module(f"{sources.__name__}.{path.stem}") for path in sorted(folder.glob("[a-z]*.py"))]
    found = [source for module in files for source in module.SOURCES]
    entries = list(SOURCES.values())
    assert [entry.name for entry in entries] == [source.name for source in sorted(found, key=lambda s: s.place)]
    assert len({source.name for source in found}) == len(found) >= 19
    assert [entry.name for entry in entries[:3]] == ["breast-cancer", "digits", "heart-disease"]
    assert {entry.needs_download for entry in entries if entry.name in (*BUNDLED, "csv")} == {False}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heart_disease", r'unknown dataset "heart_disease" .*did you mean heart-disease\?'),
        ("fashionmnist", r"did you mean fashion-mnist\?"),
        ("zzz", r'unknown dataset "zzz" .*Known: breast-cancer, digits'),
        ("medmnist", r'unknown dataset "medmnist" .*Known: medmnist:pathmnist'),
        ("medmnist:pneumonia", r"did you mean medmnist:pneumoniamnist\?"),
        ("medmnist:chestmnist", r"chestmnist and the 3D sets are not supported"),
    ],
)
def test_an_unknown_name_is_refused_with_its_neighbour(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dataset(FederationConfig(dataset=name))
    with pytest.raises(ConfigError, match=message):
        fetch(name)


def test_fetch_returns_the_verified_files(real_data: Path) -> None:
    assert fetch("breast-cancer") == []
    names = [path.name for path in fetch("heart-disease", str(real_data))]
    assert names == [f"processed.{name}.data" for name in ("cleveland", "hungarian", "switzerland", "va")]


def test_bundled_data_are_what_scikit_learn_reads() -> None:
    from sklearn import datasets

    tumours, digits = datasets.load_breast_cancer(), datasets.load_digits()
    found = load_dataset(FederationConfig(dataset="breast-cancer"))
    assert found.feature_names == tuple(tumours.feature_names)
    assert np.array_equal(found.labels, tumours.target == 0)
    table = bundled_table("breast_cancer.csv", num_rows=569, num_columns=31, skip_lines=1)
    assert np.array_equal(table[:, :-1], tumours.data)
    found = load_dataset(FederationConfig(dataset="digits"))
    assert np.array_equal(found.features[:, 0] * 16, digits.images)
    assert np.array_equal(found.labels, digits.target)


def test_another_table_in_the_place_of_a_bundled_one_is_refused() -> None:
    with pytest.raises(DataError, match=r"wine_data.csv has \(178, 14\) numbers and must have \(178, 13\): install"):
        bundled_table("wine_data.csv", num_rows=178, num_columns=13, skip_lines=1)
    with pytest.raises(DataError, match=r"cannot read .*none.csv .*: install scikit-learn"):
        bundled_table("none.csv", num_rows=1, num_columns=1)


def test_breast_cancer_calls_malignant_the_positive_class() -> None:
    dataset = load_dataset(FederationConfig())
    assert np.bincount(dataset.labels).tolist() == [357, 212]
    assert _features(dataset).min() == pytest.approx(-1, abs=0.03)
    assert _features(dataset).max() == pytest.approx(1, abs=0.03)


def test_synthetic_regression_is_its_formula_and_its_noise_whatever_the_seed() -> None:
    dataset = load_dataset(FederationConfig(dataset="synthetic-regression", seed=7))
    x = dataset.features.astype(np.float64)
    exact = np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2 + x[:, 2] * x[:, 3] + np.exp(x[:, 4]) + x[:, 5] ** 3
    noise = dataset.labels - exact
    assert noise.std() == pytest.approx(0.1, rel=0.01)
    assert abs(noise.mean()) < 0.001
    again = load_dataset(FederationConfig(dataset="synthetic-regression", seed=8))
    assert np.array_equal(dataset.labels, again.labels)


def _auc(dataset: Dataset) -> float:
    """Return the AUC of a logistic regression, every hospital predicted by the others' five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    scores = cross_val_predict(
        LogisticRegression(max_iter=1000),
        _features(dataset),
        dataset.labels,
        groups=dataset.hospitals if len(np.unique(dataset.hospitals)) >= 5 else np.arange(len(dataset.labels)),
        cv=GroupKFold(5),
        method="predict_proba",
    )
    return float(roc_auc_score(dataset.labels, scores[:, 1]))


def test_flambys_test_patients_are_as_many_as_its_benchmark_has(real_data: Path) -> None:
    dataset = _load("heart-disease:flamby", real_data)
    names = ("cleveland", "hungary", "switzerland", "va-long-beach")
    # The denominators of flamby/results/results_benchmark_fed_heart_disease.csv.
    assert [int(dataset.is_test[dataset.hospitals == name].sum()) for name in names] == [104, 89, 16, 45]
    assert np.array_equal(dataset.features, _load("heart-disease", real_data).features, equal_nan=True)


def test_heart_disease_is_prepared_as_flamby_does(real_data: Path) -> None:
    dataset = _load("heart-disease", real_data)
    names, counts = np.unique(dataset.hospitals, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "cleveland": 303,
        "hungary": 261,
        "switzerland": 46,
        "va-long-beach": 130,
    }
    assert dataset.features.shape == (740, 13)
    rates = [float(dataset.labels[dataset.hospitals == name].mean()) for name in names]
    assert np.round(rates, 2).tolist() == [0.46, 0.38, 0.98, 0.78]
    cholesterol = dataset.features[:, dataset.feature_names.index("cholesterol")]
    assert np.isnan(cholesterol[dataset.hospitals == "switzerland"]).all()
    assert any("cholesterol (79)" in note for note in dataset.notes)
    assert 0.86 < _auc(dataset) < 0.90


def test_tcga_brca_has_the_regions_and_the_split_of_flamby(real_data: Path) -> None:
    dataset = _load("tcga-brca", real_data)
    assert dataset.features.shape == (1088, 39)
    federation = build_federation(dataset, FederationConfig())
    sizes = {each.hospital_id: (each.num_train, len(each.test_labels)) for each in federation.hospitals}
    assert sizes == {
        "northeast": (248, 63),
        "south": (156, 40),
        "west": (164, 42),
        "midwest": (129, 33),
        "europe": (129, 33),
        "canada": (40, 11),
    }
    times, events = times_and_events(dataset.labels)
    assert (int(events.sum()), float(times.min()), float(times.max())) == (151, 0.0, 8605.0)
    seen = {each.hospital_id: int((~np.signbit(each.train_labels)).sum()) for each in federation.hospitals}
    assert seen["canada"] == 2
    # Regions are those of the tissue source sites in the barcodes, by the table that comes with the data.
    centers, patients = (
        list(csv.DictReader((real_data / "tcga_brca" / name).read_text().splitlines()))
        for name in ("centers.csv", "brca.csv")
    )
    region_of = {row["TSS Code"]: row["Region"].lower() for row in centers}
    regions = [region_of[row["pid"].split("-")[1]] for row in patients]
    assert dataset.hospitals is not None
    assert dataset.hospitals.tolist() == [region for region in regions if region != "other"]
    assert dataset.feature_names[0] == "age_at_index" and [number.column for number in dataset.numbers] == [0]
    groups = np.array(dataset.groups)
    for group in set(dataset.groups) - {0}:
        assert dataset.features[:, groups == group].sum(axis=1).max() == 1
    assert dataset.time_edges[:3] == (0.0, 365.25, 730.5) and federation.num_classes == 6


@pytest.mark.parametrize("damage", ["2000", "x"])
def test_another_tcga_table_is_refused(damage: str, real_data: Path, tmp_path: Path) -> None:
    paths = fetch_or_skip("tcga-brca", real_data)
    copied = tmp_path / "brca.csv"
    lines = paths[0].read_text().splitlines()
    copied.write_text("\n".join([*lines[:500], lines[500].rpartition(",")[0] + f",{damage}"]))
    with pytest.raises(DataError, match=r"as FLamby's tables|not 1088: fetch it again"):
        load_tcga_brca(FederationConfig(), [copied, paths[1]])


def test_ist_has_its_hospitals_and_the_known_auc_and_no_outcome(real_data: Path) -> None:
    dataset = _load("ist", real_data)
    assert dataset.features.shape == (19_435, 34)
    assert int(dataset.labels.sum()) == 1781
    sizes = np.unique(dataset.hospitals, return_counts=True)[1]
    assert (len(sizes), int((sizes >= 50).sum())) == (466, 118)
    # A leaked outcome would lift the AUC far above the published figure of baseline models, about .80.
    assert 0.78 < _auc(dataset) < 0.83
    single = [abs(np.corrcoef(column, dataset.labels)[0, 1]) for column in dataset.features.T]
    assert max(single) < 0.3


def test_stroke_trial_federation_names_who_is_left_out(real_data: Path) -> None:
    federation = load_federation(FederationConfig(dataset="ist", data_dir=str(real_data), min_patients=50))
    assert (len(federation.hospitals), len(federation.excluded)) == (118, 348)
    assert federation.hospitals[0].hospital_id == "hospital-1"
    assert "hospital-8 has 44 patients, fewer than min-patients = 50" in federation.excluded


def test_ist_reads_the_published_table_too_and_refuses_another(real_data: Path, tmp_path: Path) -> None:
    import gzip

    if not (real_data / "ist").is_dir():
        pytest.skip(f"no ist in {real_data}")
    table = gzip.decompress((real_data / "ist" / "ist.csv.gz").read_bytes())
    published = tmp_path / "IST_corrected.csv"
    published.write_bytes(table)
    config = FederationConfig(dataset="ist", data_dir=str(tmp_path))
    packed = load_dataset(FederationConfig(dataset="ist", data_dir=str(real_data)))
    unpacked = load_dataset(config)
    assert np.array_equal(packed.features, unpacked.features)
    assert any("no published checksum" in note for note in unpacked.notes)
    published.write_bytes(b"\n".join(table.split(b"\n")[:1000]))
    with pytest.raises(DataError, match=r"not 19435 of 466: download IST_corrected.csv from Edinburgh"):
        load_dataset(config)
    published.write_bytes(table.replace(b'"PACS"', b'"QACS"'))
    with pytest.raises(DataError, match=r"STYPE has unknown levels \['QACS'\]"):
        load_dataset(config)
    published.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"cannot read .* as the trial's table"):
        load_dataset(config)


def test_ist_elsewhere_says_where_to_get_it() -> None:
    with pytest.raises(DataError, match=r"download IST_corrected.csv from .*10.7488/ds/104.* or point WARDROUND_DATA"):
        fetch("ist")


def test_pixels_are_scaled_by_public_constants() -> None:
    parts = [np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)] * 2
    assert scaled_pixels(parts)[1, 0, 0].tolist() == pytest.approx([-1, -0.6, 1])


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "medmnist:pneumoniamnist"])
def test_official_test_rows_are_kept(name: str, real_data: Path) -> None:
    dataset = _load(name, real_data)
    assert dataset.is_test is not None
    wanted = {"fashion-mnist": 10_000, "cifar10": 1_000, "medmnist:pneumoniamnist": 624}
    assert int(dataset.is_test.sum()) == wanted[name]


def test_mnist_does_not_take_fashion_mnist_for_itself(real_data: Path) -> None:
    if not (real_data / "fashion_mnist").is_dir():
        pytest.skip(f"no fashion_mnist in {real_data}")
    with pytest.raises(DataError, match=r"mnist needs f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        load_dataset(FederationConfig(dataset="mnist", data_dir=str(real_data / "fashion_mnist")))


def _cifar_archive(folder: Path, batches: dict[str, bytes]) -> FederationConfig:
    folder.mkdir(exist_ok=True)
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    _state(path)
    return FederationConfig(dataset="cifar10", data_dir=str(folder))


def _state(path: Path) -> None:
    digest = sha256(path.read_bytes()).hexdigest()
    path.with_name("MANIFEST.json").write_text(json.dumps({"files": [{"path": path.name, "sha256": digest}]}))


NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def test_cifar10_reads_label_and_channels(tmp_path: Path) -> None:
    row = bytes([3]) + bytes([255]) * 1024 + bytes([0]) * 1024 + bytes([51]) * 1024
    dataset = load_dataset(_cifar_archive(tmp_path / "c", dict.fromkeys(NAMES, row * 2)))
    assert dataset.labels.tolist() == [3] * 12
    assert dataset.features[0, :, 0, 0].tolist() == pytest.approx([1, -1, -0.6])
    assert dataset.is_test is not None
    assert dataset.is_test.tolist() == [False] * 10 + [True] * 2
    assert any("a subset of the official archive" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (dict.fromkeys(NAMES[:-1], bytes(3073)), r"has no whole cifar-10-batches-bin/test_batch.bin"),
        (dict.fromkeys(NAMES, bytes(3000)), r"has no whole cifar-10-batches-bin/data_batch_1.bin"),
        (dict.fromkeys(NAMES, bytes([10]) + bytes(3072)), r"has label 10, beyond the 10 classes"),
    ],
)
def test_a_cifar10_archive_of_another_layout_is_an_error(
    tmp_path: Path, batches: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(_cifar_archive(tmp_path / "c", batches))


def test_a_truncated_cifar10_archive_is_an_error(tmp_path: Path) -> None:
    config = _cifar_archive(tmp_path / "c", dict.fromkeys(NAMES, bytes(3073)))
    path = tmp_path / "c" / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="another version"):
        load_dataset(config)
    _state(path)
    with pytest.raises(DataError, match="cannot unpack"):
        load_dataset(config)


def _npz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, np.ndarray], num_rows: int
) -> FederationConfig:
    from hashlib import md5

    path = tmp_path / "breastmnist.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    source = medmnist_source(
        "breastmnist",
        sentence="invented",
        num_rows=num_rows,
        md5=md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        class_names=("a", "b"),
    )
    monkeypatch.setitem(SOURCES, source.name, source)  # type: ignore[arg-type]
    return FederationConfig(dataset="medmnist:breastmnist", data_dir=str(tmp_path))


def _medical(channels: tuple[int, ...], **changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = np.full((count, 28, 28, *channels), 255, dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2).reshape(-1, 1).astype(np.uint8)
    return arrays | changes


@pytest.mark.parametrize(("channels", "shape"), [((), (9, 1, 28, 28)), ((3,), (9, 3, 28, 28))])
def test_medmnist_puts_channels_first_and_trains_on_validation_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    dataset = load_dataset(_npz(tmp_path, monkeypatch, _medical(channels), 9))
    assert dataset.features.shape == shape
    assert (dataset.features == 1).all()
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert dataset.is_test is not None
    assert dataset.is_test.tolist() == [False] * 6 + [True] * 3


@pytest.mark.parametrize(
    ("changes", "num_rows", "message"),
    [
        ({}, 10, r"has 9 rows, not 10"),
        ({"test_labels": np.array([0, 1, 2])}, 9, r"has label 2, beyond the 2 classes"),
        ({"val_labels": np.zeros((2, 14), dtype=np.uint8)}, 9, r"val has images .* not one label per image"),
        ({"train_images": np.zeros((4, 28, 28), dtype=np.float32)}, 9, r"train has images float32"),
        ({"train_images": np.zeros((4, 28, 28, 28), dtype=np.uint8)}, 9, r"train has images uint8"),
        ({"train_images": np.array([None] * 4)}, 9, r"cannot read .*breastmnist.npz"),
    ],
)
def test_a_medmnist_file_of_another_layout_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, np.ndarray], num_rows: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(_npz(tmp_path, monkeypatch, _medical((), **changes), num_rows))


def test_a_truncated_medmnist_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _npz(tmp_path, monkeypatch, _medical(()), 9)
    path = tmp_path / "breastmnist.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or another version"):
        load_dataset(config)
