"""CIFAR-10 from its official binary archive: 60,000 colour images of ten things.

A smaller archive of the same layout is taken too where a MANIFEST.json beside it states its sha256.
"""

import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file
from wardround.datasets.idx_images import PIXEL_NOTE, scaled_pixels
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source
from wardround.errors import DataError

__all__ = ["SOURCES"]

_FILE = RemoteFile(
    dataset="cifar10",
    name="cifar-10-binary.tar.gz",
    folders=("cifar10", "cifar10_subset"),
    # The md5 that the official page states.
    checksum="md5:c32a1d4ab5d03f1284b67883e8d13530",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    accepts_manifest=True,
)
_TRAIN_MEMBERS = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
_TEST_MEMBER = "cifar-10-batches-bin/test_batch.bin"
_IMAGE_SHAPE = (3, 32, 32)
_ROW_BYTES = 1 + 3 * 32 * 32
_NUM_OFFICIAL_ROWS = 60_000
_CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def fetch_cifar10(data_dir: str | None) -> list[Path]:
    """Return the path of the verified archive, downloaded where it is not on this machine."""
    return [fetch_file(_FILE, data_dir)]


def load_cifar10(config: FederationConfig) -> Dataset:
    """Return the training and test images (n, 3, 32, 32), pixels in [-1, 1].

    Args:
        config: its data_dir is searched first.

    Raises:
        DataError: the archive is missing, damaged, or of another layout.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    path = fetch_cifar10(config.data_dir)[0]
    parts = _read_members(path)
    num_rows, num_test = sum(map(len, parts)), len(parts[-1])
    labels = np.concatenate([part[:, 0] for part in parts]).astype(np.int64)
    if labels.max(initial=0) >= len(_CLASS_NAMES):
        raise DataError(f"{path} has label {labels.max()}, beyond the 10 classes of cifar10: get the official archive")
    size = f"{num_rows - num_test} training and {num_test} test images"
    subset = "" if num_rows == _NUM_OFFICIAL_ROWS else ", a subset of the official archive"
    return Dataset(
        name="cifar10",
        task=CLASSIFICATION,
        features=scaled_pixels([part[:, 1:].reshape(-1, *_IMAGE_SHAPE) for part in parts]),
        labels=labels,
        class_names=_CLASS_NAMES,
        feature_names=(),
        is_test=np.arange(num_rows) >= num_rows - num_test,
        notes=(f"source: CIFAR-10, Krizhevsky 2009 (no licence stated upstream); {size}{subset}", PIXEL_NOTE),
    )


def _read_members(path: Path) -> list[NDArray[np.uint8]]:
    """Return each member as rows of one label byte and the pixels, training first."""
    wanted = (*_TRAIN_MEMBERS, _TEST_MEMBER)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name in wanted else None
                if file is not None:
                    contents[member.name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"cannot unpack {path} ({error}): delete the file so that it is fetched again") from None
    for name in wanted:
        if len(contents.get(name, b"")) == 0 or len(contents[name]) % _ROW_BYTES:
            raise DataError(f"{path} has no whole {name}: get the official archive from {_FILE.url}")
    return [np.frombuffer(contents[name], dtype=np.uint8).reshape(-1, _ROW_BYTES) for name in wanted]


SOURCES = (
    Source(
        name="cifar10",
        place=70,
        sentence="colour photographs, 32x32 pixels, ten kinds",
        task=CLASSIFICATION,
        num_rows=60_000,
        load=load_cifar10,
        fetch=fetch_cifar10,
    ),
)
