"""What the page shows of a reconstruction: pictures pixel by pixel, rows of some features, and the figures."""

import base64
import io

import numpy as np
import pytest
from matplotlib import image

from wardround.audits.records import Reconstruction, ReconstructionView
from wardround.reports.reconstructed import picture_of, reconstructed

RNG = np.random.default_rng(6)


def found(input_shape, feature_names):
    shown = tuple(RNG.random(int(np.prod(input_shape))).tolist())
    view = ReconstructionView(
        noise_multiplier=2.0,
        num_summed=4,
        error=0.5,
        error_interval=(0.4, 0.6),
        identified=0.03,
        identified_interval=(0.01, 0.09),
        shown=shown,
    )
    return Reconstruction(
        model="logistic",
        num_records=100,
        num_candidates=100,
        guessed_error=0.9,
        input_shape=input_shape,
        feature_names=feature_names,
        shown=shown,
        views={"securely summed": view},
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_the_pixels_of_the_image(channels):
    values = RNG.uniform(-0.2, 1.2, size=(channels, 5, 7))
    head, data = picture_of(values.ravel().tolist(), values.shape).split(",")
    assert head == "data:image/png;base64"
    drawn = image.imread(io.BytesIO(base64.b64decode(data)))[:, :, :3]
    expected = np.broadcast_to(np.moveaxis(values.clip(0, 1), 0, -1), (5, 7, 3))
    assert drawn == pytest.approx(expected, abs=1 / 255)


def test_an_image_is_shown_as_pictures_and_a_row_as_some_of_its_features():
    of_image, of_row = reconstructed(found((1, 8, 8), ())), reconstructed(found((20,), tuple("abcdefghijklmnopqrst")))
    assert [name for name, _ in of_image.pictures] == ["made up", "securely summed"]
    assert (of_image.rows, of_row.pictures) == ((), ())
    assert [name for name, _ in of_row.rows] == list("abcdefghijkl")
    assert of_row.left_out == "; 8 more features are in audit.json"


def test_figures_have_their_intervals_and_what_chance_gives_stands_beside():
    summed, nothing = reconstructed(found((3,), tuple("abc"))).views
    assert (summed.seen, summed.error) == ("securely summed, 4 hospitals", "0.50 (0.40 to 0.60)")
    assert summed.identified == "3.0 % (1.0 % to 9.0 %)"
    assert (nothing.error, nothing.identified) == ("0.90", "1.0 %")
