"""Fashion-MNIST: 70,000 images of ten kinds of clothing.

Source: Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747.
"""

from wardround.datasets.idx_images import idx_source

__all__ = ["SOURCES"]

SOURCES = (
    idx_source(
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
        class_names=(
            "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
        ),
        origin="source: Fashion-MNIST, Xiao, Rasul and Vollgraf 2017 (MIT licence)",
    ),
)  # fmt: skip
