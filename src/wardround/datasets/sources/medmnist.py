"""MedMNIST v2: eleven sets of small medical images, each one npz file of 28x28 pixels.

The multi-label chestmnist and the six three-dimensional sets are left out: no model here takes them.
"""

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.images import image_dataset
from wardround.datasets.records import CLASSIFICATION, Dataset
from wardround.datasets.source import Source
from wardround.errors import DataError
from wardround.parsing import sound

__all__ = ["SOURCES", "medmnist_source"]

_ORGANS = (
    "bladder", "femur left", "femur right", "heart", "kidney left", "kidney right",
    "liver", "lung left", "lung right", "pancreas", "spleen",
)  # fmt: skip


def medmnist_source(
    name: str, *, sentence: str, num_rows: int, md5: str, class_names: tuple[str, ...], licence: str = "CC BY 4.0"
) -> Source:
    """Return one set: what its images show, how many there are, the md5 of its file, its classes and licence."""
    dataset = f"medmnist:{name}"
    return Source(
        name=dataset,
        place=80,
        sentence=sentence,
        task=CLASSIFICATION,
        num_rows=num_rows,
        load=partial(_load, num_rows=num_rows, class_names=class_names, licence=licence),
        files=(
            RemoteFile(
                dataset=dataset,
                name=f"{name}.npz",
                folders=(name, "medmnist"),
                checksum=f"md5:{md5}",
                url=f"https://zenodo.org/records/10519652/files/{name}.npz?download=1",
            ),
        ),
        advice="28x28 pixels and one label per image; chestmnist and the 3D sets are not supported",
    )


def _load(
    config: FederationConfig, paths: list[Path], *, num_rows: int, class_names: tuple[str, ...], licence: str
) -> Dataset:
    """Return a set's images (n, channels, 28, 28); training and validation rows train.

    Source: Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41.
    """
    pixels, labels = zip(*_read_parts(paths[0]), strict=True)
    number = sum(map(len, labels))
    if number != num_rows:
        raise DataError(f"{paths[0]} has {number} rows, not {num_rows}: delete the file so that it is fetched again")
    name = config.dataset.partition(":")[2]
    return image_dataset(
        config.dataset,
        list(pixels),
        list(labels),
        class_names=class_names,
        source=f"source: MedMNIST v2 {name}, Yang et al. 2023, zenodo 10519652 ({licence}); {number} images, none "
        f"dropped; {len(labels[-1])} are the official test rows, the official validation rows train",
        path=paths[0],
    )


def _read_parts(path: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield pixels (n, channels, 28, 28) and labels (n,) of training, validation and test."""
    with (
        sound(DataError, f"cannot read {path}", "delete the file so that it is fetched again", zipfile.BadZipFile),
        np.load(path, allow_pickle=False) as file,
    ):
        for part in ("train", "val", "test"):
            pixels, labels = file[f"{part}_images"], file[f"{part}_labels"]
            is_image = pixels.dtype == np.uint8 and (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] == 3))
            if not is_image or labels.size != len(pixels):
                raise DataError(
                    f"{path}: {part} has images {pixels.dtype} {pixels.shape} and labels {labels.shape}, not one label "
                    "per image of bytes: delete the file so that it is fetched again"
                )
            yield pixels[:, np.newaxis] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1), labels.reshape(-1)


# Numbers, md5, classes and licences as the `medmnist` package 3.0.2 states them for zenodo record 10519652.
SOURCES = (
    medmnist_source(
        "pathmnist",
        sentence="colon tissue under the microscope, nine kinds",
        num_rows=107_180,
        md5="a8b06965200029087d5bd730944a56c1",
        class_names=(
            "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
            "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
        ),
    ),
    medmnist_source(
        "dermamnist",
        sentence="pigmented skin lesions, seven kinds",
        num_rows=10_015,
        md5="0744692d530f8e62ec473284d019b0c7",
        class_names=(
            "actinic keratoses", "basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma",
            "melanoma", "melanocytic nevi", "vascular lesions",
        ),
        licence="CC BY-NC 4.0",
    ),
    medmnist_source(
        "octmnist",
        sentence="optical coherence tomography of the retina, four diagnoses",
        num_rows=109_309,
        md5="c68d92d5b585d8d81f7112f81e2d0842",
        class_names=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    medmnist_source(
        "pneumoniamnist",
        sentence="chest X-rays of children, pneumonia or not",
        num_rows=5_856,
        md5="28209eda62fecd6e6a2d98b1501bb15f",
        class_names=("normal", "pneumonia"),
    ),
    medmnist_source(
        "retinamnist",
        sentence="photographs of the retina, five grades of diabetic retinopathy (as classes)",
        num_rows=1_600,
        md5="bd4c0672f1bba3e3a89f0e4e876791e4",
        class_names=("0", "1", "2", "3", "4"),
    ),
    medmnist_source(
        "breastmnist",
        sentence="ultrasound of the breast, malignant or not",
        num_rows=780,
        md5="750601b1f35ba3300ea97c75c52ff8f6",
        class_names=("malignant", "normal or benign"),
    ),
    medmnist_source(
        "bloodmnist",
        sentence="blood cells, eight kinds",
        num_rows=17_092,
        md5="7053d0359d879ad8a5505303e11de1dc",
        class_names=(
            "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
            "neutrophil", "platelet",
        ),
    ),
    medmnist_source(
        "tissuemnist",
        sentence="cells of the kidney cortex, eight kinds",
        num_rows=236_386,
        md5="ebe78ee8b05294063de985d821c1c34b",
        class_names=(
            "collecting duct", "distal convoluted tubule", "glomerular endothelial cells",
            "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
            "thick ascending limb",
        ),
    ),
    medmnist_source(
        "organamnist",
        sentence="abdominal CT in the axial plane, eleven organs",
        num_rows=58_830,
        md5="68e3f8846a6bd62f0c9bf841c0d9eacc",
        class_names=_ORGANS,
    ),
    medmnist_source(
        "organcmnist",
        sentence="abdominal CT in the coronal plane, eleven organs",
        num_rows=23_583,
        md5="b9ceb9546e10131b32923c5bbeaea2b1",
        class_names=_ORGANS,
    ),
    medmnist_source(
        "organsmnist",
        sentence="abdominal CT in the sagittal plane, eleven organs",
        num_rows=25_211,
        md5="9ab87b696fb54e2a387ebe992d6ed5f1",
        class_names=_ORGANS,
    ),
)  # fmt: skip
