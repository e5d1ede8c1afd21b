"""Labelled images in the idx.gz format of MNIST: read, checked and scaled; shared by `mnist` and `fashion_mnist`."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source
from wardround.errors import DataError

__all__ = ["PIXEL_NOTE", "idx_dataset", "idx_source", "read_idx", "scaled_pixels"]

_FILE_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
PIXEL_NOTE = "normalisation: public constants (pixels 0 to 255 scaled to [-1, 1])"
_UNSIGNED_BYTE = 8


def idx_source(
    *,
    name: str,
    place: int,
    sentence: str,
    address: str,
    checksums: tuple[str, ...],
    class_names: tuple[str, ...],
    origin: str,
) -> Source:
    """Return the source of 70,000 images (n, 1, 28, 28), pixels in [-1, 1], in four files; the last 10,000 test.

    Args:
        name: as in [federation] dataset; files lie in a folder of that name.
        place: in the catalogue.
        sentence: what the images show.
        address: of the folder that has the files.
        checksums: "md5:..." or "sha256:...", in the order of `_FILE_NAMES`.
        class_names: one name per label, from 0.
        origin: sentence on where the data comes from.
    """
    files = tuple(
        RemoteFile(dataset=name, name=file, folders=(name.replace("-", "_"),), checksum=checksum, url=address + file)
        for file, checksum in zip(_FILE_NAMES, checksums, strict=True)
    )

    def fetch(data_dir: str | None) -> list[Path]:
        return [fetch_file(remote, data_dir) for remote in files]

    def load(config: FederationConfig) -> Dataset:
        return idx_dataset(name, fetch(config.data_dir), class_names, origin)

    return Source(
        name=name,
        place=place,
        sentence=sentence,
        task=CLASSIFICATION,
        num_rows=70_000,
        load=load,
        fetch=fetch,
    )


def idx_dataset(name: str, paths: list[Path], class_names: tuple[str, ...], source: str) -> Dataset:
    """Return the images (n, 1, height, width) of a training and a test pair of idx.gz files.

    Args:
        name: as in [federation] dataset.
        paths: images and labels of training, then of test, in the order of `_FILE_NAMES`.
        class_names: one name per label, from 0.
        source: sentence on where the data comes from.

    Raises:
        DataError: a file is truncated or not what its header says, or images and labels do not match.
    """
    images = [read_idx(path) for path in paths[::2]]
    labels = np.concatenate([read_idx(path) for path in paths[1::2]]).astype(np.int64)
    num_train, num_rows = len(images[0]), len(images[0]) + len(images[1])
    if images[0].ndim != 3 or images[0].shape[1:] != images[1].shape[1:] or labels.shape != (num_rows,):
        raise DataError(f"{name}: {num_rows} images and {labels.size} labels in {paths[0].parent} do not match")
    if labels.max(initial=0) >= len(class_names):
        raise DataError(f"{paths[1]} has label {labels.max()}, beyond the {len(class_names)} classes of {name}")
    return Dataset(
        name=name,
        task=CLASSIFICATION,
        features=scaled_pixels([part[:, np.newaxis] for part in images]),
        labels=labels,
        class_names=class_names,
        feature_names=(),
        is_test=np.arange(num_rows) >= num_train,
        notes=(f"{source}; {num_train} training and {num_rows - num_train} test images, none dropped", PIXEL_NOTE),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the unsigned-byte array of an idx.gz file.

    Args:
        path: the file; its header holds two zero bytes, the type (8), the number of axes and each axis' length.

    Raises:
        DataError: the file is truncated, not gzip, or not as long as its header says.

    Source: LeCun, Cortes, Burges, "The MNIST database", section on file formats.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot unpack {path} ({error}): delete the file so that it is fetched again") from None
    is_idx = len(content) >= 4 and content[:2] == b"\0\0" and content[2] == _UNSIGNED_BYTE
    start = 4 + 4 * content[3] if is_idx else 0
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4")) if is_idx else ()
    if not is_idx or len(content) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} is not a whole idx file of bytes: delete the file so that it is fetched again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def scaled_pixels(parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the parts under one another with pixel p as (p / 255 - 0.5) / 0.5, computed in place to save memory.

    Args:
        parts: uint8 arrays (n, channels, height, width) of the same image shape.
    """
    features = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.float32)
    np.concatenate(parts, out=features, casting="unsafe")
    features /= 255
    features -= 0.5
    features /= 0.5
    return features
