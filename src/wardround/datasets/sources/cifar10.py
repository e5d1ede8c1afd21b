"""CIFAR-10 from its official binary archive: 60,000 colour images of ten things.

A smaller archive of the same layout is taken too where a MANIFEST.json beside it states its sha256.
"""

import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.images import image_dataset
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source
from wardround.errors import DataError
from wardround.parsing import sound

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
_MEMBERS = tuple(
    f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
)
_IMAGE_SHAPE = (3, 32, 32)
_ROW_BYTES = 1 + 3 * 32 * 32
_NUM_OFFICIAL_ROWS = 60_000
_CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def load_cifar10(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the training and test images (n, 3, 32, 32), pixels in [-1, 1].

    Raises:
        DataError: the archive is damaged or of another layout.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    parts = _read_members(paths[0])
    num_rows, num_test = sum(map(len, parts)), len(parts[-1])
    size = f"{num_rows - num_test} training and {num_test} test images"
    subset = "" if num_rows == _NUM_OFFICIAL_ROWS else ", a subset of the official archive"
    return image_dataset(
        config.dataset,
        [part[:, 1:].reshape(-1, *_IMAGE_SHAPE) for part in parts],
        [part[:, 0] for part in parts],
        class_names=_CLASS_NAMES,
        source=f"source: CIFAR-10, Krizhevsky 2009 (no licence stated upstream); {size}{subset}",
        path=paths[0],
    )


def _read_members(path: Path) -> list[NDArray[np.uint8]]:
    """Return each member as rows of one label byte and the pixels, training first."""
    contents: dict[str, bytes] = {}
    with (
        sound(DataError, f"cannot unpack {path}", "delete the file so that it is fetched again", tarfile.TarError),
        tarfile.open(path, "r:gz") as archive,
    ):
        for member in archive:
            if member.name in _MEMBERS and (file := archive.extractfile(member)):
                contents[member.name] = file.read()
    for name in _MEMBERS:
        if len(contents.get(name, b"")) == 0 or len(contents[name]) % _ROW_BYTES:
            raise DataError(f"{path} has no whole {name}: get the official archive from {_FILE.url}")
    return [np.frombuffer(contents[name], dtype=np.uint8).reshape(-1, _ROW_BYTES) for name in _MEMBERS]


SOURCES = (
    Source(
        name="cifar10",
        place=70,
        sentence="colour photographs, 32x32 pixels, ten kinds",
        task=CLASSIFICATION,
        num_rows=_NUM_OFFICIAL_ROWS,
        load=load_cifar10,
        files=(_FILE,),
    ),
)
