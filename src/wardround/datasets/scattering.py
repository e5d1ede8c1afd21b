"""The scattering transform of images: features from fixed wavelets, of each image by itself, with nothing learned.

An image is filtered by wavelets of `SCALES` scales and `ANGLES` angles, the modulus is taken, filtered by the coarser
wavelets and its modulus taken again; image and moduli are averaged over windows of some 2^SCALES pixels, and one value
in 2^SCALES is kept along each axis. What is left out on purpose: other scales and orders, and what features are for.

Source: Bruna and Mallat 2013, "Invariant scattering convolution networks", arXiv 1203.1513, equations 4 to 8. The
constants of the filters, their order and the padding are those that Kymatio publishes (Andreux et al. 2020, arXiv
1812.11214), with whose values the tests compare.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["ANGLES", "LEAST_PIXELS", "NUM_PATHS", "SCALES", "normalised_by_groups", "scattered", "scattered_shape"]

SCALES = 2
ANGLES = 8
NUM_PATHS = 1 + SCALES * ANGLES + ANGLES * ANGLES
"""Channels that one channel of an image becomes: its mean, those of the wavelets, and those of fine then coarse."""
LEAST_PIXELS = 8
"""The smallest height and width: below it there would be more padding than image."""

_STEP: int = 2**SCALES
_WIDTH = 0.8
"""Standard deviation of the finest wavelet's envelope, in pixels; it doubles with every scale."""
_FREQUENCY = 3 * np.pi / 4
"""Of the finest wavelet, in radians a pixel; it halves with every scale."""
_SLANT = 4 / ANGLES
_LOW_PASS_WIDTH = _WIDTH * 2 ** (SCALES - 1)
_WRAPS = range(-2, 3)
"""How many times the padded image's width filters are wrapped around it: further out they are below float32."""
_VARIANCE_FLOOR = 1e-5
"""Added to a group's variance, as torch's GroupNorm does."""

_Real = NDArray[np.float32]
_Spectrum = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Filters:
    """What images of one size are filtered with.

    Attributes:
        rows: int64 (padded height,): the row of the image that stands at each row of the padded one.
        columns: int64 (padded width,), likewise.
        wavelets: by scale, float32 (ANGLES, padded height, padded width), in frequency.
        averages: by scale of what is averaged, two float32 matrices (positions, pixels), along height and width.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    wavelets: tuple[_Real, ...]
    averages: tuple[tuple[_Real, _Real], ...]


def scattered_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of a record's features.

    Args:
        shape: (channels, height, width) of an image, at least 8 pixels high and wide.

    >>> scattered_shape((1, 28, 28))
    (81, 7, 7)
    """
    channels, height, width = shape
    return NUM_PATHS * channels, _padded(height) // _STEP - 2, _padded(width) // _STEP - 2


def scattered(images: _Real, num_groups: int | None = None) -> _Real:
    """Return the scattering features of images, every record's computed from that record alone.

    Records go through the same operations on arrays of the same shapes one by one, so that not even a rounding error
    of one depends on which others there are.

    Args:
        images: (n, channels, height, width), at least 8 pixels high and wide.
        num_groups: of channels that are normalised together (see `normalised_by_groups`); None does not.

    Returns:
        (n, 81 channels, height', width') of `scattered_shape`: channel by channel of the image its average, those of
        the 16 wavelets from fine to coarse, and those of the 64 pairs.
    """
    features = np.empty((len(images), *scattered_shape(images.shape[1:])), dtype=np.float32)
    filters = _filters_of(*images.shape[2:])
    for image, row in zip(images, features, strict=True):
        for number, channel in enumerate(image):
            row[NUM_PATHS * number : NUM_PATHS * (number + 1)] = _scattered_channel(channel, filters)
        if num_groups is not None:
            row[:] = normalised_by_groups(row, num_groups)
    return features


def normalised_by_groups(record: _Real, num_groups: int) -> _Real:
    """Return one record's features with mean 0 and variance 1 in every group of neighbouring channels.

    Nothing is learned, and no other record is looked at. A group without variance becomes 0.

    Args:
        record: (channels, height, width).
        num_groups: divides the channels.

    Source: Wu and He 2018, "Group normalization", equation 7; on scattering features Tramer and Boneh 2021,
    "Differentially private learning needs better features (or much more data)", section 2.
    """
    groups = record.reshape(num_groups, -1).astype(np.float64)
    groups -= groups.mean(axis=1, keepdims=True)
    groups /= np.sqrt((groups**2).mean(axis=1, keepdims=True) + _VARIANCE_FLOOR)
    return groups.reshape(record.shape).astype(np.float32)


def _scattered_channel(channel: _Real, filters: _Filters) -> _Real:
    """Return (81, height', width') of one channel (height, width)."""
    fine, coarse = filters.wavelets
    by_fine, by_coarse = filters.averages
    padded = channel[filters.rows[:, np.newaxis], filters.columns]
    spectrum = scipy.fft.fft2(padded)
    first_fine = _modulus(spectrum * fine)
    first_coarse = _modulus(_halved(spectrum * coarse))
    second = _modulus(_halved(scipy.fft.fft2(first_fine)[:, np.newaxis] * coarse))
    second = second.reshape(ANGLES * ANGLES, *second.shape[2:])
    return np.concatenate(
        [
            _averaged(padded[np.newaxis], by_fine),
            _averaged(first_fine, by_fine),
            _averaged(first_coarse, by_coarse),
            _averaged(second, by_coarse),
        ]
    )


def _modulus(spectrum: _Spectrum) -> _Real:
    """Return the modulus, in space, of what has a spectrum, complex64 as all of them."""
    modulus: _Real = np.abs(scipy.fft.ifft2(spectrum))
    return modulus


def _halved(spectrum: _Spectrum) -> _Spectrum:
    """Return the spectrum of every second value along both axes: aliases are added."""
    height, width = spectrum.shape[-2] // 2, spectrum.shape[-1] // 2
    upper = spectrum[..., :height, :] + spectrum[..., height:, :]
    folded: _Spectrum = (upper[..., :width] + upper[..., width:]) * np.float32(0.25)
    return folded


def _averaged(values: _Real, averages: tuple[_Real, _Real]) -> _Real:
    along_height, along_width = averages
    return np.asarray(along_height @ values @ along_width.T, dtype=np.float32)


@cache
def _filters_of(height: int, width: int) -> _Filters:
    shape = _padded(height), _padded(width)
    return _Filters(
        rows=_reflected(height),
        columns=_reflected(width),
        wavelets=tuple(
            np.array([_morlet(shape, scale, angle) for angle in range(ANGLES)], dtype=np.float32)
            for scale in range(SCALES)
        ),
        averages=tuple((_average(shape[0], scale), _average(shape[1], scale)) for scale in range(SCALES)),
    )


def _padded(pixels: int) -> int:
    """Return the length of a padded axis: a multiple of the step, with half a step or more on both sides."""
    return ((pixels + _STEP) // _STEP + 1) * _STEP


def _reflected(pixels: int) -> NDArray[np.int64]:
    before, both = (_padded(pixels) - pixels) // 2, _padded(pixels) - pixels
    return np.pad(np.arange(pixels), (before, both - before), mode="reflect")


def _morlet(shape: tuple[int, int], scale: int, angle: int) -> NDArray[np.float64]:
    """Return a wavelet in frequency: a wave under a Gaussian, less as much of the Gaussian as makes its mean 0."""
    direction = (ANGLES // 2 - 1 - angle) * np.pi / ANGLES
    wave = _gabor(shape, _WIDTH * 2**scale, direction, _FREQUENCY / 2**scale)
    envelope = _gabor(shape, _WIDTH * 2**scale, direction, 0.0)
    spectrum = np.fft.fft2(wave - wave.sum() / envelope.sum() * envelope)
    return spectrum.real  # the rest is 0: at -u a wavelet is its own conjugate


def _gabor(shape: tuple[int, int], deviation: float, direction: float, frequency: float) -> NDArray[np.complex128]:
    """Return exp(i frequency u) under a Gaussian that is longer across the direction of u, wrapped around the image."""
    height, width = shape
    rows = np.arange(_WRAPS[0] * height, (_WRAPS[-1] + 1) * height)[:, np.newaxis]
    columns = np.arange(_WRAPS[0] * width, (_WRAPS[-1] + 1) * width)
    along = rows * np.cos(direction) + columns * np.sin(direction)
    across = columns * np.cos(direction) - rows * np.sin(direction)
    gaussian = np.exp(-(along**2 + (_SLANT * across) ** 2) / (2 * deviation**2))
    values = gaussian * np.exp(1j * frequency * along) * _SLANT / (2 * np.pi * deviation**2)
    wrapped: NDArray[np.complex128] = values.reshape(len(_WRAPS), height, len(_WRAPS), width).sum(axis=(0, 2))
    return wrapped


def _average(pixels: int, scale: int) -> _Real:
    """Return the matrix that averages one axis with the low pass and keeps what lies in the image, one in some pixels.

    The low pass is a product of one for each axis, so that a matrix for each is all of it.

    Args:
        pixels: of the padded axis.
        scale: of what is averaged: one pixel in 2^scale is left of it.
    """
    places = np.arange(_WRAPS[0] * pixels, (_WRAPS[-1] + 1) * pixels)
    gaussian = np.exp(-(places**2) / (2 * _LOW_PASS_WIDTH**2)) / np.sqrt(2 * np.pi) / _LOW_PASS_WIDTH
    low_pass = np.fft.fft(gaussian.reshape(len(_WRAPS), pixels).sum(axis=0)).real
    left, kept = pixels // 2**scale, pixels // _STEP
    if scale:
        low_pass = np.concatenate([low_pass[: left // 2], low_pass[pixels - left // 2 :]])
    filtered = low_pass[:, np.newaxis] * np.fft.fft(np.eye(left), axis=0)
    folded = filtered.reshape(left // kept, kept, left).mean(axis=0)
    return np.fft.ifft(folded, axis=0).real[1:-1].astype(np.float32)
