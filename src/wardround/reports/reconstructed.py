"""What gradient inversion got of made-up records, as lines of tables, pictures and sentences.

Left out on purpose: records of hospitals, of which none has a part in what is shown.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wardround.audits.records import Reconstruction, ReconstructionView
from wardround.reports.numbers import number_text, percent_text

__all__ = ["Reconstructed", "ViewLine", "picture_of", "reconstructed", "reconstruction_sentences", "view_lines"]

_MOST_FEATURES = 12
_ORIGINAL = "made up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewLine:
    """One line: what the server sees, and texts of figures."""

    seen: str
    error: str
    identified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """What the page shows.

    Attributes:
        sentences: what was done, and what it is no measure of.
        num_candidates: among which a record is to be told.
        views: a line each.
        columns: the made-up record, and the views, by name.
        rows: of features: name, and a text for each column; of an image none.
        left_out: words on features that have no row.
        pictures: of an image: a name and a data URI for each column.
    """

    sentences: tuple[str, ...]
    num_candidates: int
    views: tuple[ViewLine, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    left_out: str
    pictures: tuple[tuple[str, str], ...]


def reconstructed(found: Reconstruction, *, has_shown: bool = True) -> Reconstructed:
    """Return what a page shows of a reconstruction.

    Args:
        found: of an audit.
        has_shown: whether the made-up record is shown, and what is made of it.
    """
    shown = {_ORIGINAL: found.shown, **{name: view.shown for name, view in found.views.items()}} if has_shown else {}
    is_image = not found.feature_names
    names = () if is_image or not has_shown else found.feature_names[:_MOST_FEATURES]
    left = len(found.feature_names) - len(names)
    return Reconstructed(
        sentences=tuple(reconstruction_sentences(found)),
        num_candidates=found.num_candidates,
        views=tuple(view_lines(found)),
        columns=tuple(shown),
        rows=tuple(
            (name, tuple(number_text(values[place], 2) for values in shown.values()))
            for place, name in enumerate(names)
        ),
        left_out=f"; {left} more features are in audit.json" if left else "",
        pictures=tuple((name, picture_of(values, found.input_shape)) for name, values in shown.items())
        if is_image
        else (),
    )


def view_lines(found: Reconstruction) -> list[ViewLine]:
    """Return a line for each view, and one for whoever has received nothing."""
    nothing = ViewLine(
        seen="nothing: the average is guessed",
        error=number_text(found.guessed_error, 2),
        identified=percent_text(1 / found.num_candidates),
    )
    return [*(_line(name, view) for name, view in found.views.items()), nothing]


def _line(name: str, view: ReconstructionView) -> ViewLine:
    of_sum = f", {view.num_summed} hospitals" if view.num_summed > 1 else ""
    low, high = view.error_interval
    least, most = view.identified_interval
    return ViewLine(
        seen=f"{name}{of_sum}",
        error=f"{number_text(view.error, 2)} ({number_text(low, 2)} to {number_text(high, 2)})",
        identified=f"{percent_text(view.identified)} ({percent_text(least)} to {percent_text(most)})",
    )


def reconstruction_sentences(found: Reconstruction) -> list[str]:
    """Return what has to be said beside the figures."""
    noise = max(view.noise_multiplier for view in found.views.values())
    how = "a search for what has such a gradient" if found.model == "cnn" else "the closed form of the first layer"
    return [
        f"{found.num_records} made-up records, each used in one step in a batch of its own, "
        f"are reconstructed by {how}; noise is that of one step, a noise multiplier of {number_text(noise, 2)}. They "
        "are drawn from public knowledge or are public images: no record of a hospital is used or shown.",
        f"Told apart: the server takes the one of {found.num_candidates} made-up records whose gradient points most "
        "nearly where what it received does. It is one step, and not the run: what all steps tell together is what "
        "canaries are for.",
        "Whatever the run's own placement is, all three are shown: without protection, with noise of each hospital's "
        "own, and as a sum whose noise hospitals share, each with the run's clip and noise multiplier.",
    ]


def picture_of(values: Sequence[float], shape: Sequence[int]) -> str:
    """Return an image as a data URI of PNG; more channels than three are one, their mean.

    Args:
        values: pixels, of which the darkest and the lightest are clipped to 0 and 1.
        shape: (channels, height, width).
    """
    from matplotlib import image

    no_version: Any = {"Software": None}  # which would make the bytes differ
    pixels = np.clip(np.reshape(values, shape), 0.0, 1.0)
    shades = np.moveaxis(pixels, 0, -1) if shape[0] == 3 else np.repeat(pixels.mean(axis=0)[:, :, None], 3, axis=2)
    buffer = io.BytesIO()
    image.imsave(buffer, shades, format="png", metadata=no_version)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
