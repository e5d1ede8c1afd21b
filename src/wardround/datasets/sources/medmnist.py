"""MedMNIST v2: eleven sets of small medical images, each one npz file of 28x28 pixels.

The multi-label chestmnist and the six three-dimensional sets are left out: no model here takes them.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile, fetch_file
from wardround.datasets.idx_images import PIXEL_NOTE, scaled_pixels
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source
from wardround.errors import DataError

__all__ = ["MEDMNIST", "SOURCES", "MedicalImages"]

_ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
_ORGANS = (
    "bladder", "femur left", "femur right", "heart", "kidney left", "kidney right",
    "liver", "lung left", "lung right", "pancreas", "spleen",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MedicalImages:
    """One set: what the images show, how many there are, the md5 of its file, its classes and licence."""

    sentence: str
    num_rows: int
    md5: str
    class_names: tuple[str, ...]
    licence: str = "CC BY 4.0"


# Numbers, md5, classes and licences as the `medmnist` package 3.0.2 states them for zenodo record 10519652.
MEDMNIST: Mapping[str, MedicalImages] = {
    "pathmnist": MedicalImages(
        sentence="colon tissue under the microscope, nine kinds",
        num_rows=107_180,
        md5="a8b06965200029087d5bd730944a56c1",
        class_names=(
            "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
            "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
        ),
    ),
    "dermamnist": MedicalImages(
        sentence="pigmented skin lesions, seven kinds",
        num_rows=10_015,
        md5="0744692d530f8e62ec473284d019b0c7",
        class_names=(
            "actinic keratoses", "basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma",
            "melanoma", "melanocytic nevi", "vascular lesions",
        ),
        licence="CC BY-NC 4.0",
    ),
    "octmnist": MedicalImages(
        sentence="optical coherence tomography of the retina, four diagnoses",
        num_rows=109_309,
        md5="c68d92d5b585d8d81f7112f81e2d0842",
        class_names=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "pneumoniamnist": MedicalImages(
        sentence="chest X-rays of children, pneumonia or not",
        num_rows=5_856,
        md5="28209eda62fecd6e6a2d98b1501bb15f",
        class_names=("normal", "pneumonia"),
    ),
    "retinamnist": MedicalImages(
        sentence="photographs of the retina, five grades of diabetic retinopathy (as classes)",
        num_rows=1_600,
        md5="bd4c0672f1bba3e3a89f0e4e876791e4",
        class_names=("0", "1", "2", "3", "4"),
    ),
    "breastmnist": MedicalImages(
        sentence="ultrasound of the breast, malignant or not",
        num_rows=780,
        md5="750601b1f35ba3300ea97c75c52ff8f6",
        class_names=("malignant", "normal or benign"),
    ),
    "bloodmnist": MedicalImages(
        sentence="blood cells, eight kinds",
        num_rows=17_092,
        md5="7053d0359d879ad8a5505303e11de1dc",
        class_names=(
            "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
            "neutrophil", "platelet",
        ),
    ),
    "tissuemnist": MedicalImages(
        sentence="cells of the kidney cortex, eight kinds",
        num_rows=236_386,
        md5="ebe78ee8b05294063de985d821c1c34b",
        class_names=(
            "collecting duct", "distal convoluted tubule", "glomerular endothelial cells",
            "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
            "thick ascending limb",
        ),
    ),
    "organamnist": MedicalImages(
        sentence="abdominal CT in the axial plane, eleven organs",
        num_rows=58_830,
        md5="68e3f8846a6bd62f0c9bf841c0d9eacc",
        class_names=_ORGANS,
    ),
    "organcmnist": MedicalImages(
        sentence="abdominal CT in the coronal plane, eleven organs",
        num_rows=23_583,
        md5="b9ceb9546e10131b32923c5bbeaea2b1",
        class_names=_ORGANS,
    ),
    "organsmnist": MedicalImages(
        sentence="abdominal CT in the sagittal plane, eleven organs",
        num_rows=25_211,
        md5="9ab87b696fb54e2a387ebe992d6ed5f1",
        class_names=_ORGANS,
    ),
}  # fmt: skip


def fetch_medmnist(name: str, data_dir: str | None) -> list[Path]:
    """Return the path of a set's verified npz file, downloaded where it is not on this machine.

    Args:
        name: a key of `MEDMNIST`.
        data_dir: [federation] data-dir, or None.
    """
    remote = RemoteFile(
        dataset=f"medmnist:{name}",
        name=f"{name}.npz",
        folders=(name, "medmnist"),
        checksum=f"md5:{MEDMNIST[name].md5}",
        url=_ADDRESS.format(name=name),
    )
    return [fetch_file(remote, data_dir)]


def load_medmnist(config: FederationConfig) -> Dataset:
    """Return a set's images (n, channels, 28, 28), pixels in [-1, 1]; training and validation rows train.

    Args:
        config: its dataset is "medmnist:" and a key of `MEDMNIST`; its data_dir is searched first.

    Raises:
        DataError: the file is missing, damaged, or of another layout.

    Source: Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41.
    """
    name = config.dataset.partition(":")[2]
    images = MEDMNIST[name]
    arrays = _read_arrays(fetch_medmnist(name, config.data_dir)[0])
    labels = np.concatenate([arrays[f"{part}_labels"].reshape(-1) for part in ("train", "val", "test")])
    num_rows, num_test = len(labels), len(arrays["test_labels"])
    if num_rows != images.num_rows or labels.max(initial=0) >= len(images.class_names):
        raise DataError(
            f"{config.dataset} has {num_rows} rows and labels up to {labels.max(initial=0)}, not {images.num_rows} "
            f"rows of {len(images.class_names)} classes: get the file from {_ADDRESS.format(name=name)}"
        )
    return Dataset(
        name=config.dataset,
        task=CLASSIFICATION,
        features=scaled_pixels([_channels_first(arrays[f"{part}_images"]) for part in ("train", "val", "test")]),
        labels=labels.astype(np.int64),
        class_names=images.class_names,
        feature_names=(),
        is_test=np.arange(num_rows) >= num_rows - num_test,
        notes=(
            f"source: MedMNIST v2 {name}, Yang et al. 2023, zenodo 10519652 ({images.licence}); {num_rows} images, "
            f"none dropped; {num_test} are the official test rows, the official validation rows train",
            PIXEL_NOTE,
        ),
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    wanted = [f"{part}_{kind}" for part in ("train", "val", "test") for kind in ("images", "labels")]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in wanted}
    except (OSError, EOFError, KeyError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path} ({error}): delete the file so that it is fetched again") from None
    for part in ("train", "val", "test"):
        pixels, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        is_image = pixels.dtype == np.uint8 and (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] == 3))
        if not is_image or labels.size != len(pixels):
            raise DataError(
                f"{path}: {part} has images {pixels.dtype} {pixels.shape} and labels {labels.shape}, not one label per "
                "image of bytes: delete the file so that it is fetched again"
            )
    return arrays


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[:, np.newaxis] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)


SOURCES = tuple(
    Source(
        name=f"medmnist:{name}",
        place=80,
        sentence=images.sentence,
        task=CLASSIFICATION,
        num_rows=images.num_rows,
        load=load_medmnist,
        fetch=partial(fetch_medmnist, name),
        advice="28x28 pixels and one label per image; chestmnist and the 3D sets are not supported",
    )
    for name, images in MEDMNIST.items()
)
