"""The scattering transform: another library's values, what the wavelets promise, and records apart bit for bit.

data/scattering.npz was made by Kymatio 0.3.0 (NumPy 2.2.6, SciPy 1.14.1; later SciPys it can't be imported with):
`Scattering2D(J=2, shape=shape, L=8, max_order=2)` of images in float64, which are uniform in [-1, 1].
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from wardround.datasets.scattering import NUM_PATHS, normalised_by_groups, scattered, scattered_shape

MADE = np.load(Path(__file__).parent.parent / "data" / "scattering.npz")


def images(seed, number=5, shape=(1, 28, 28)):
    return np.random.default_rng(seed).uniform(-1, 1, size=(number, *shape)).astype(np.float32)


@pytest.mark.parametrize("size", ["28x28", "8x8", "13x30"])
def test_values_are_those_of_kymatio(size):
    found = scattered(MADE[f"images-{size}"])
    wanted = MADE[f"features-{size}"]
    assert found.shape == (*wanted.shape[:1], *scattered_shape((1, *map(int, size.split("x"))))) == wanted.shape
    # Kymatio takes 3.1415 for pi in its filters: a part in 34,000 for each of up to three of them.
    np.testing.assert_allclose(found, wanted, rtol=1.2e-4, atol=1e-6)


@pytest.mark.parametrize("num_groups", [None, 27])
def test_a_record_is_the_same_bit_for_bit_whatever_others_there_are(num_groups):
    rows = images(1)
    whole = scattered(rows, num_groups)
    others = images(2)
    for index in range(len(rows)):
        alone = scattered(rows[index : index + 1], num_groups)
        among = scattered(np.concatenate([others[:2], rows[index : index + 1], others]), num_groups)
        np.testing.assert_array_equal(whole[index], alone[0])
        np.testing.assert_array_equal(whole[index], among[2])
    spread = np.asfortranarray(np.repeat(rows, 2, axis=0))[::-2]
    np.testing.assert_array_equal(scattered(spread, num_groups), whole[::-1])


def test_channels_of_an_image_are_transformed_one_by_one():
    rows = images(3, shape=(3, 12, 16))
    found = scattered(rows)
    assert found.shape == (5, 3 * NUM_PATHS, *scattered_shape((3, 12, 16))[1:])
    for channel in range(3):
        one = scattered(rows[:, channel : channel + 1])
        np.testing.assert_array_equal(found[:, NUM_PATHS * channel : NUM_PATHS * (channel + 1)], one)


def test_an_even_image_has_its_own_value_and_no_wavelet_sees_it():
    found = scattered(np.full((1, 1, 16, 16), 0.75, dtype=np.float32))[0]
    np.testing.assert_allclose(found[0], 0.75, rtol=1e-4)
    assert np.abs(found[1:]).max() < 1e-6


def test_a_brighter_image_has_features_in_proportion_and_a_negative_one_the_same_moduli():
    rows = images(4)
    found = scattered(rows)
    np.testing.assert_allclose(scattered(4 * rows), 4 * found, rtol=1e-5, atol=1e-6)
    negative = scattered(-rows)
    np.testing.assert_allclose(negative[:, 0], -found[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(negative[:, 1:], found[:, 1:], rtol=1e-5, atol=1e-6)


def test_energy_and_distances_do_not_grow():
    """Of images that are 0 at their edges, so that padding doubles nothing; one position stands for 16 pixels."""
    rows, others = (np.pad(images(seed, shape=(1, 20, 20)), ((0, 0), (0, 0), (6, 6), (6, 6))) for seed in (5, 6))
    found, of_others = (scattered(these).astype(np.float64) for these in (rows, others))
    for pixels, features in ((rows, found), (rows - others, found - of_others)):
        energy = (pixels.astype(np.float64) ** 2).sum(axis=(1, 2, 3))
        assert (16 * (features**2).sum(axis=(1, 2, 3)) <= 1.1 * energy).all()


def test_a_shift_by_the_step_moves_features_by_one_position_and_a_smaller_one_changes_them_little():
    row = np.zeros((1, 1, 48, 48), dtype=np.float32)
    row[0, 0, 16:30, 17:31] = images(7, 1, (1, 14, 14))[0, 0]
    found = scattered(row)
    moved = scattered(np.roll(row, 4, axis=3))
    np.testing.assert_allclose(moved[..., 2:10], found[..., 1:9], rtol=1e-4, atol=1e-5)
    little = scattered(np.roll(row, 1, axis=2))
    changed = np.linalg.norm(little - found) / np.linalg.norm(found)
    assert changed < 0.5 < 1.2 < np.linalg.norm(np.roll(row, 1, axis=2) - row) / np.linalg.norm(row)


def test_an_angle_sees_stripes_across_it():
    rows, columns = np.mgrid[:32, :32]
    along = scattered(np.cos(3 * np.pi / 4 * columns).astype(np.float32)[None, None])[0, 1:9, 3, 3]
    across = scattered(np.cos(3 * np.pi / 4 * rows).astype(np.float32)[None, None])[0, 1:9, 3, 3]
    assert (int(along.argmax()), int(across.argmax())) in ((7, 3), (3, 7))
    assert along.max() > 5 * np.median(along) and across.max() > 5 * np.median(across)


def test_groups_have_mean_zero_and_variance_one_and_constant_ones_become_zero():
    record = images(8, 1, (6, 4, 5))[0]
    record[:2] = 3.0
    found = normalised_by_groups(record, 3).reshape(3, -1).astype(np.float64)
    assert not found[0].any()
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(found[1:].var(axis=1), 1, rtol=1e-3)
    wanted = torch.nn.functional.group_norm(torch.from_numpy(record)[None], 3)[0].numpy()
    np.testing.assert_allclose(normalised_by_groups(record, 3), wanted, atol=1e-5)
