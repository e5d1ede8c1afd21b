"""MNIST and Fashion-MNIST: 70,000 images each, of handwritten digits and of clothing, in the idx.gz format.

Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition"; Xiao, Rasul,
Vollgraf 2017, arXiv 1708.07747.
"""

import gzip
from functools import partial
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

__all__ = ["SOURCES", "read_idx"]

_FILE_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_CLOTHES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_UNSIGNED_BYTE = 8


def _source(
    *,
    name: str,
    place: int,
    sentence: str,
    address: str,
    checksums: tuple[str, ...],
    class_names: tuple[str, ...],
    origin: str,
) -> Source:
    """Return one of the two, its checksums in the order of `_FILE_NAMES` below its address."""
    folders = (name.replace("-", "_"),)
    return Source(
        name=name,
        place=place,
        sentence=sentence,
        task=CLASSIFICATION,
        num_rows=70_000,
        load=partial(_load, class_names=class_names, origin=origin),
        files=tuple(
            RemoteFile(dataset=name, name=file, folders=folders, checksum=checksum, url=address + file)
            for file, checksum in zip(_FILE_NAMES, checksums, strict=True)
        ),
    )


def _load(config: FederationConfig, paths: list[Path], *, class_names: tuple[str, ...], origin: str) -> Dataset:
    """Return the images (n, 1, height, width) of a training and a test pair of files."""
    parts = [(read_idx(images), read_idx(labels)) for images, labels in zip(paths[::2], paths[1::2], strict=True)]
    shapes = {images.shape[1:] for images, _ in parts}
    if len(shapes) > 1 or any(images.ndim != 3 or labels.shape != (len(images),) for images, labels in parts):
        raise DataError(f"{config.dataset}: images and labels in {paths[0].parent} do not match: fetch the files again")
    num_train, num_test = (len(images) for images, _ in parts)
    return image_dataset(
        config.dataset,
        [images[:, np.newaxis] for images, _ in parts],
        [labels for _, labels in parts],
        class_names=class_names,
        source=f"{origin}; {num_train} training and {num_test} test images, none dropped",
        path=paths[1],
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the unsigned-byte array of an idx.gz file.

    Args:
        path: the file; its header holds two zero bytes, the type (8), the number of axes and each axis' length.

    Raises:
        DataError: the file is truncated, not gzip, or not as long as its header says.

    Source: LeCun, Cortes, Burges, "The MNIST database", section on file formats.
    """
    with sound(DataError, f"cannot unpack {path}", "delete the file so that it is fetched again"):
        content = gzip.decompress(path.read_bytes())
    is_idx = len(content) >= 4 and content[:2] == b"\0\0" and content[2] == _UNSIGNED_BYTE
    start = 4 + 4 * content[3] if is_idx else 0
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4")) if is_idx else ()
    if not is_idx or len(content) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} is not a whole idx file of bytes: delete the file so that it is fetched again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


SOURCES = (
    _source(
        name="fashion-mnist",
        place=50,
        sentence="clothing, 28x28 pixels, ten kinds",
        address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        checksums=(
            "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        class_names=_CLOTHES,
        origin="source: Fashion-MNIST, Xiao, Rasul and Vollgraf 2017 (MIT licence)",
    ),
    _source(
        name="mnist",
        place=60,
        sentence="handwritten digits, 28x28 pixels",
        address="https://ossci-datasets.s3.amazonaws.com/mnist/",
        checksums=(
            "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "md5:9fb629c4189551a2d022fa330f9573f3",
            "md5:ec29112dd5afa0611ce80d1b7f02629c",
        ),
        class_names=tuple(str(digit) for digit in range(10)),
        origin="source: MNIST, LeCun, Cortes and Burges 1998 (no licence stated upstream)",
    ),
)
