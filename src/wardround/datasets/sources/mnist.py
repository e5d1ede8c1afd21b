"""MNIST: 70,000 images of handwritten digits.

Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
"""

from wardround.datasets.idx_images import idx_source

__all__ = ["SOURCES"]

SOURCES = (
    idx_source(
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
