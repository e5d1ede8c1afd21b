"""Fashion-MNIST: 70,000 images of ten kinds of clothing."""

from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file
from wardround.datasets.idx_images import IDX_FILE_NAMES, idx_dataset
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source

__all__ = ["SOURCES"]

_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)
_FILES = tuple(
    RemoteFile(
        dataset="fashion-mnist", name=name, folders=("fashion_mnist",), checksum=f"sha256:{digest}", url=_ADDRESS + name
    )
    for name, digest in zip(IDX_FILE_NAMES, _SHA256, strict=True)
)
_CLASS_NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def fetch_fashion_mnist(data_dir: str | None) -> list[Path]:
    """Return the paths of the four verified files, downloaded where they are not on this machine."""
    return [fetch_file(remote, data_dir) for remote in _FILES]


def load_fashion_mnist(config: FederationConfig) -> Dataset:
    """Return the 60,000 training and 10,000 test images (n, 1, 28, 28), pixels in [-1, 1].

    Args:
        config: its data_dir is searched first.

    Raises:
        DataError: a file is missing or damaged.

    Source: Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747.
    """
    source = "source: Fashion-MNIST, Xiao, Rasul and Vollgraf 2017 (MIT licence)"
    return idx_dataset("fashion-mnist", fetch_fashion_mnist(config.data_dir), _CLASS_NAMES, source)


SOURCES = (
    Source(
        name="fashion-mnist",
        place=50,
        sentence="clothing, 28x28 pixels, ten kinds",
        task=CLASSIFICATION,
        num_rows=70_000,
        load=load_fashion_mnist,
        fetch=fetch_fashion_mnist,
    ),
)
