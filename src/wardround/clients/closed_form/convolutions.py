"""Convolutions, run with those of several hospitals, and the gradients of records by them.

A record's gradient by the weight is a product of matrices: the loss' gradient by the outputs (positions, out)
transposed, times the windows (positions, kernel) that the outputs were made of. It is formed, in float32, for all
records in one batched product. Values stand in memory channel by channel within a position ("channels last"), which is
how a processor runs convolutions and pooling fastest, and in which a window is few pieces of memory; beside group norms
they stand position by position within a channel, as norms are far slower otherwise. On a processor hospitals are run
one after the other, as their arithmetic is all that costs; on a GPU they are a batch of products. What is left out on
purpose: other padding than zeros.

Source: Rochette, Manoel, Tramel 2019 (arXiv 1912.06015), section 3, on windows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wardround.clients.closed_form.by_record import Formed
from wardround.clients.closed_form.parts import Parametrised, of_hospitals
from wardround.clients.closed_form.portions import numbers_at_a_time
from wardround.clients.closed_form.windows import Kernel, products_of_windows, windows_of

__all__ = ["Convolution", "convolution", "is_faster_channels_last", "with_channels_last"]

_Pair = tuple[int, int]
_Ordered = Callable[[Tensor], Tensor] | None

_MOST_FLOATS = 2**17
"""Numbers of windows that are made at a time: they stay in the processor's caches until they are used."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Convolution(Parametrised):
    """A convolution over two dimensions, or over one, which is the last of two.

    Attributes:
        shape: of the weight, (out, in / groups, height, width).
        stride: of the windows.
        padding: zeros before and after each dimension, from the last to the first.
        dilation: between the elements of a window.
        groups: of channels that don't meet.
        is_flat: whether records are (channels, positions).
        are_joined: whether hospitals are a batch of products, or one convolution is run after the other.
        is_channels_last: whether values are laid out so, where that can be (`runs_channels_last`).
    """

    shape: torch.Size
    stride: _Pair
    padding: tuple[int, int, int, int]
    dilation: _Pair
    groups: int
    is_flat: bool
    are_joined: bool
    is_channels_last: bool = True

    def outputs(self, given: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the inputs, and the outputs."""
        images = given.unsqueeze(3) if self.is_flat else given
        weights = of_hospitals(self.weight, parameters, len(given)).view(len(given), *self.shape)
        biases = None if self.bias is None else of_hospitals(self.bias, parameters, len(given))
        if self.are_joined:
            wide = functional.pad(images, self.padding) if any(self.padding) else images
            outputs = products_of_windows(wide, weights, self._kernel)
            outputs = outputs if biases is None else outputs + biases[:, None, :, None, None]
        else:
            outputs = self._one_by_one(images, weights, biases)
        return images, outputs.squeeze(3) if self.is_flat else outputs

    def by_record(self, given: Tensor, gradient: Tensor) -> Formed:
        """Return gradients by the weight, whose channels stand last, and by the bias."""
        images = given.flatten(0, 1).to(memory_format=torch.channels_last)
        outputs = (gradient.unsqueeze(3) if self.is_flat else gradient).flatten(0, 1)
        # (n, out, positions), of whatever lies last in memory.
        is_last = outputs.is_contiguous(memory_format=torch.channels_last)
        positions = outputs.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2) if is_last else outputs.flatten(2)
        found: list[tuple[int | Tensor | None, Callable[[], Tensor], _Ordered]] = [
            (self.weight, lambda: self._of_weight(images, positions, outputs.shape[2:]), self._ordered),
            (self.bias, lambda: positions.sum(dim=2), None),
        ]
        kept = [(place, rows(), ordered) for place, rows, ordered in found if isinstance(place, int)]
        return Formed(
            [place for place, _, _ in kept],
            [rows.view(*given.shape[:2], -1) for _, rows, _ in kept],
            [ordered for _, _, ordered in kept],
        )

    def sums(self, given: Tensor, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the sums, one product for each hospital, and group."""
        outputs = gradient.unsqueeze(3) if self.is_flat else gradient
        if isinstance(self.weight, int):
            wide = functional.pad(given, self.padding) if any(self.padding) else given
            windows, _ = windows_of(wide, self._kernel)
            # (hospitals, groups, out of a group, records, positions)
            positions = outputs.view(*outputs.shape[:2], self.groups, -1, *outputs.shape[3:]).permute(0, 2, 3, 1, 4, 5)
            products = torch.bmm(positions.reshape(len(windows), -1, windows.shape[1]), windows)
            yield self.weight, products.view(len(given), -1)
        if isinstance(self.bias, int):
            yield self.bias, outputs.sum(dim=(1, 3, 4))

    def floats(self, given: Tensor, made: Tensor) -> int:
        """Return inputs, outputs and gradients, and windows unless they are made for a few records at a time."""
        windows = made.numel() // self.shape[0] * self.groups * self.shape[1:].numel()
        return given.numel() + made.numel() + self.shape.numel() + self.are_joined * windows

    @property
    def runs_channels_last(self) -> bool:
        """Whether it may be run on images whose channels lie last in memory.

        Torch's processor kernels (2.13) then read memory that is not theirs for one input channel, a stride above 1 and
        outputs of width 1, and crash for several groups and images of width 1, and for windows of padding alone. None
        of either kind is run so, whatever its width is; in 12,600 random convolutions of the others, outputs and
        gradients by images were right.
        """
        _, channels, *kernel = self.shape
        reaches = [distance * (length - 1) + 1 for length, distance in zip(kernel, self.dilation, strict=True)]
        sees_records = max(self.padding[2:]) < reaches[0] and max(self.padding[:2]) < reaches[1]
        return self.groups == 1 and (channels > 1 or set(self.stride) == {1}) and sees_records

    @property
    def _kernel(self) -> Kernel:
        _, channels, height, width = self.shape
        return Kernel(channels, (height, width), self.stride, self.dilation, self.groups)

    def _one_by_one(self, images: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        """Return what each hospital's own convolution makes."""
        # A kernel pads for itself where it can, which costs nothing.
        is_even = self.padding[0] == self.padding[1] and self.padding[2] == self.padding[3]
        padding = (self.padding[2], self.padding[0]) if is_even else (0, 0)
        wide = images if is_even else functional.pad(images, self.padding)
        # Of one hospital, a view: what is selected has a gradient that is copied into zeros.
        own = (wide.squeeze(0),) if len(wide) == 1 else wide.unbind()
        made = [
            functional.conv2d(
                self._laid_out(own[hospital]),
                weights[hospital],
                None if biases is None else biases[hospital],
                self.stride,
                padding,
                self.dilation,
                self.groups,
            )
            for hospital in range(len(wide))
        ]
        return made[0][None] if len(made) == 1 else torch.cat(made).view(*wide.shape[:2], *made[0].shape[1:])

    def _of_weight(self, images: Tensor, positions: Tensor, size: torch.Size) -> Tensor:
        """Return the gradients of images (n, in, height, width), whose outputs have a size, as (n x groups, ...)."""
        wide = functional.pad(images, self.padding) if any(self.padding) else images
        of_groups = positions.view(len(wide), self.groups, -1, size.numel()).flatten(0, 1)
        made = wide.new_empty(len(of_groups), of_groups.shape[1], self.shape[1:].numel())
        most = numbers_at_a_time(wide.device, _MOST_FLOATS)
        rows = max(1, most // (self.groups * size.numel() * made.shape[2]))
        for start in range(0, len(wide), rows):
            some = slice(start * self.groups, (start + rows) * self.groups)
            torch.bmm(of_groups[some], self._windows(wide[start : start + rows], size), out=made[some])
        return made

    def _windows(self, wide: Tensor, size: torch.Size) -> Tensor:
        """Return (n x groups, positions, kernel) of padded images, the channels last in a kernel."""
        _, channels, height, width = self.shape
        record, channel, row, column = wide.stride()
        kernel, moves = (height, width, channels), (row * self.dilation[0], column * self.dilation[1], channel)
        places, steps = tuple(size), (row * self.stride[0], column * self.stride[1])
        groups, apart = (len(wide), self.groups), (record, channel * channels)
        # Whichever is longer in memory is copied in one piece.
        if channels * width < size[1]:
            found = wide.as_strided((*groups, *kernel, *places), (*apart, *moves, *steps))
            return found.reshape(len(wide) * self.groups, -1, size.numel()).transpose(1, 2)
        found = wide.as_strided((*groups, *places, *kernel), (*apart, *steps, *moves))
        return found.reshape(len(wide) * self.groups, size.numel(), -1)

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return images (n, channels, height, width) as they lie in memory for the kernel that runs them."""
        if self.is_channels_last and self.runs_channels_last:
            return with_channels_last(images)
        # One channel may have strides of either order (`with_channels_last`), unless they are new.
        return images.contiguous().flatten().view(images.shape)

    def _ordered(self, rows: Tensor) -> Tensor:
        """Return rows (n, out x height x width x channels) with the channels first in a kernel."""
        out, channels, height, width = self.shape
        return rows.view(len(rows), out, height, width, channels).permute(0, 1, 4, 2, 3).flatten(1)


def convolution(
    module: nn.Conv1d | nn.Conv2d, weight: int | Tensor, bias: int | Tensor | None, *, is_flat: bool
) -> Convolution:
    """Return a layer of the framework with zeros for padding, of which the parameters stand elsewhere."""
    out, channels, *kernel = module.weight.shape
    height, width = (1, *kernel) if is_flat else kernel
    return Convolution(
        weight,
        bias,
        shape=torch.Size((out, channels, height, width)),
        stride=_pair(module.stride),
        # Of "same" and of numbers alike, from the last dimension to the first; one of one dimension has no other.
        padding=(*module._reversed_padding_repeated_twice, 0, 0)[:4],  # type: ignore[arg-type]
        dilation=_pair(module.dilation),
        groups=module.groups,
        is_flat=is_flat,
        are_joined=module.weight.device.type != "cpu",
    )


def is_faster_channels_last(model: nn.Module) -> bool:
    """Return whether a processor runs a model's images faster with channels last: not where group norms see them."""
    return not any(isinstance(module, nn.GroupNorm) for module in model.modules())


def with_channels_last(images: Tensor) -> Tensor:
    """Return the same images (n, channels, height, width), whose channels lie last in memory, and whose strides say so.

    One channel lies first and last at once, and torch's own `contiguous` leaves its strides as they are: a convolution
    takes them for channels first, and pools what it makes ten times as slowly.
    """
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    return images.contiguous().flatten().view(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)


def _pair(values: tuple[int, ...]) -> _Pair:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])
