"""Convolutions of several hospitals as products of matrices: all windows of a hospital's images, times its kernels.

A library's convolution in groups runs one small kernel for each group; a batch of products is one for all. What is left
out on purpose: padding, which is there already, and biases.

Source: Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks for document processing", on
unrolled convolutions.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Kernel", "products_of_windows", "windows_of"]

_Pair = tuple[int, int]


class Kernel(NamedTuple):
    """The geometry of a convolution: channels of a group, height and width of a window, how windows lie, groups."""

    channels: int
    size: _Pair
    stride: _Pair
    dilation: _Pair
    groups: int


def windows_of(images: Tensor, kernel: Kernel) -> tuple[Tensor, _Pair]:
    """Return windows (hospitals x groups, records x positions, kernel), and the height and width of the positions.

    Of images (hospitals, records, channels, height, width); the channels stand first in a kernel.
    """
    rows, columns = (
        (size - dilation * (length - 1) - 1) // stride + 1
        for size, length, stride, dilation in zip(
            images.shape[3:], kernel.size, kernel.stride, kernel.dilation, strict=True
        )
    )
    hospital, record, channel, row, column = images.stride()
    found = images.as_strided(
        (len(images), kernel.groups, images.shape[1], rows, columns, kernel.channels, *kernel.size),
        (
            *(hospital, channel * kernel.channels, record),
            *(row * kernel.stride[0], column * kernel.stride[1]),
            *(channel, row * kernel.dilation[0], column * kernel.dilation[1]),
        ),
    )
    length = kernel.channels * kernel.size[0] * kernel.size[1]
    return found.reshape(len(images) * kernel.groups, -1, length), (rows, columns)


def products_of_windows(images: Tensor, kernels: Tensor, kernel: Kernel) -> Tensor:
    """Return (hospitals, records, out, height, width): what convolutions without padding make.

    Args:
        images: (hospitals, records, channels, height, width).
        kernels: (hospitals, out, channels of a group, height, width); no gradient by them is to be had.
        kernel: their geometry.
    """
    made: Tensor = _Products.apply(images, kernels, kernel)  # type: ignore[no-untyped-call]
    return made


class _Products(torch.autograd.Function):
    """The backward ends at the images, and keeps the kernels alone."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernels: Tensor, kernel: Kernel) -> Tensor:
        ctx.kernel, ctx.shape = kernel, images.shape
        ctx.save_for_backward(kernels)
        windows, size = windows_of(images, kernel)
        made = torch.bmm(windows, kernels.reshape(len(windows), -1, windows.shape[2]).transpose(1, 2))
        made = made.view(len(images), kernel.groups, images.shape[1], *size, -1)
        return made.permute(0, 2, 1, 5, 3, 4).flatten(2, 3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (kernels,), kernel, shape = ctx.saved_tensors, ctx.kernel, ctx.shape
        num_hospitals, num_records = shape[:2]
        of_groups = kernels.reshape(num_hospitals * kernel.groups, -1, kernels[0, 0].numel())
        outputs = gradient.view(*gradient.shape[:2], kernel.groups, -1, *gradient.shape[3:]).permute(0, 2, 1, 4, 5, 3)
        windows = torch.bmm(outputs.reshape(len(of_groups), -1, of_groups.shape[1]), of_groups)
        windows = windows.view(num_hospitals, kernel.groups, num_records, -1, of_groups.shape[2])
        columns = windows.permute(0, 2, 1, 4, 3).reshape(num_hospitals * num_records, -1, windows.shape[3])
        images = functional.fold(columns, shape[3:], kernel.size, dilation=kernel.dilation, stride=kernel.stride)
        return images.view(shape), None, None
