"""Gradient inversion: what a record was, by what a server received of a batch of that record alone.

Left out on purpose: how a server comes by it (see `views`), and records that were made up to try it on (`stand_ins`).

Source: a linear layer's gradient is its input times that of its bias, Phong, Aono, Hayashi, Wang, Moriai 2018 (section
3) and Geiping, Bauermeister, Droege, Moeller 2020 (arXiv 2003.14053, section 3.1); the search for an input whose
gradient points the same way, Geiping et al., equation 4; labels, Zhao, Mopuri, Bilen 2020 (arXiv 2001.02610).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["best_fits", "inputs_by_matching", "inputs_of_linear", "labels_of"]

_FloatArray = NDArray[np.float64]
_SMOOTHNESS = 1e-4
"""Weight of the total variation beside a cosine: of images of some pixels, smaller than what Geiping et al. take."""
_STEP = 0.2
_NUM_STARTS = 4
"""Searches for each image, of which the one that comes nearest counts: some end in another place."""
_LEAST_NORM = 1e-12


def inputs_of_linear(weights: _FloatArray, biases: _FloatArray) -> _FloatArray:
    """Return the inputs (n, d) of a linear layer by its gradients: exact for one record, an average for a sum.

    Each output's row of the weights' gradient is the input times the bias's. All rows are weighed by least squares;
    where all biases' gradients are 0 the input is 0.

    >>> inputs_of_linear(np.array([[[2.0, -4.0], [1.0, -2.0]]]), np.array([[2.0, 1.0]])).tolist()
    [[1.0, -2.0]]

    Args:
        weights: (n, outputs, d) gradients.
        biases: (n, outputs) gradients.
    """
    norms = np.maximum((biases**2).sum(axis=1, keepdims=True), _LEAST_NORM**2)
    inputs: _FloatArray = np.einsum("no,nod->nd", biases, weights) / norms
    return inputs


def labels_of(biases: _FloatArray) -> NDArray[np.int64]:
    """Return the class of each record, (n,), by the gradients (n, classes) of the last layer's bias.

    It is softmax less the indicator of the class, and so negative there and nowhere else.
    """
    classes: NDArray[np.int64] = biases.argmin(axis=1)
    return classes


def inputs_by_matching(
    model: nn.Module,
    received: Mapping[str, _FloatArray],
    labels: NDArray[np.int64],
    input_shape: tuple[int, ...],
    *,
    low: float,
    high: float,
    num_steps: int,
    seed: int,
) -> _FloatArray:
    """Return images (n, ...) whose gradients point most nearly where those that were received do, of several searches.

    Args:
        model: as it was sent; what it does with one record is nothing to another.
        received: by name (n, ...).
        labels: (n,) class indices.
        input_shape: (channels, height, width).
        low: the darkest that a pixel can be.
        high: the lightest.
        num_steps: of Adam (>= 1).
        seed: of the images to begin with.
    """
    number = len(labels)
    targets = functional.normalize(torch.tensor(_flat(received), dtype=torch.float32), dim=1).repeat(_NUM_STARTS, 1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand((_NUM_STARTS * number, *input_shape), generator=generator)
    images = (low + (high - low) * drawn).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=_STEP * (high - low))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    classes = torch.tensor(labels).repeat(_NUM_STARTS)
    for _ in range(num_steps):
        optimizer.zero_grad()
        cosines = (_gradients(model, images, classes, is_graph_kept=True) * targets).sum(dim=1)
        loss = (1 - cosines + _SMOOTHNESS * _total_variation(images)).sum()
        (images.grad,) = torch.autograd.grad(loss, images)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(low, high)
    cosines = (_gradients(model, images.detach(), classes) * targets).sum(dim=1)
    best = cosines.reshape(_NUM_STARTS, number).argmax(dim=0) * number + torch.arange(number)
    return images.detach()[best].numpy().astype(np.float64)


def best_fits(
    model: nn.Module, received: Mapping[str, _FloatArray], features: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return which candidate has the gradient that points most nearly where each one that was received does, (n,).

    Args:
        model: as it was sent.
        received: by name (n, ...).
        features: (c, ...) of candidates.
        labels: (c,) class indices.
    """
    gradients = _gradients(model, torch.tensor(features), torch.tensor(labels)).double().numpy()
    found: NDArray[np.int64] = (_flat(received) @ gradients.T).argmax(axis=1)
    return found


def _gradients(model: nn.Module, features: Tensor, labels: Tensor, *, is_graph_kept: bool = False) -> Tensor:
    """Return where each record's gradient points, (n, parameters), of length 1."""
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(named: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, named, (record[None],))
        return functional.cross_entropy(outputs, label[None])

    by_name = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, features, labels)
    flat = torch.cat([each.flatten(1) for each in by_name.values()], dim=1)
    return functional.normalize(flat if is_graph_kept else flat.detach(), dim=1)


def _total_variation(images: Tensor) -> Tensor:
    """Return the sum over neighbouring pixels of how far they are apart, (n,)."""
    down, across = images.diff(dim=-2).abs(), images.diff(dim=-1).abs()
    return down.flatten(1).sum(dim=1) + across.flatten(1).sum(dim=1)


def _flat(by_name: Mapping[str, NDArray[Any]]) -> _FloatArray:
    return np.concatenate([each.reshape(len(each), -1) for each in by_name.values()], axis=1)
