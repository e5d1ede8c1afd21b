"""MNIST: 70,000 images of handwritten digits."""

from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file
from wardround.datasets.idx_images import IDX_FILE_NAMES, idx_dataset
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source

__all__ = ["SOURCES"]

_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FILES = tuple(
    RemoteFile(dataset="mnist", name=name, folders=("mnist",), checksum=f"md5:{digest}", url=_ADDRESS + name)
    for name, digest in zip(IDX_FILE_NAMES, _MD5, strict=True)
)


def fetch_mnist(data_dir: str | None) -> list[Path]:
    """Return the paths of the four verified files, downloaded where they are not on this machine."""
    return [fetch_file(remote, data_dir) for remote in _FILES]


def load_mnist(config: FederationConfig) -> Dataset:
    """Return the 60,000 training and 10,000 test images (n, 1, 28, 28), pixels in [-1, 1].

    Args:
        config: its data_dir is searched first.

    Raises:
        DataError: a file is missing or damaged.

    Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    source = "source: MNIST, LeCun, Cortes and Burges 1998 (no licence stated upstream)"
    class_names = tuple(str(digit) for digit in range(10))
    return idx_dataset("mnist", fetch_mnist(config.data_dir), class_names, source)


SOURCES = (
    Source(
        name="mnist",
        place=60,
        sentence="handwritten digits, 28x28 pixels",
        task=CLASSIFICATION,
        num_rows=70_000,
        load=load_mnist,
        fetch=fetch_mnist,
    ),
)
