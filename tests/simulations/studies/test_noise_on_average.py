"""The noise on the average of n hospitals, really drawn: its scale and shape, told from wrong scales."""

import math

import numpy as np
import pytest
from scipy import stats

from wardround.simulations.studies.noise_on_average import NUM_HOSPITALS, draw_average, measure_noise

CELLS = [(unit, placement) for unit in ("record", "hospital") for placement in ("local", "distributed", "central")]
Z, C = 1.5, 0.4


def theory(unit, placement, num_hospitals):
    if placement == "local":
        return (2 if unit == "hospital" else 1) * Z * C / math.sqrt(num_hospitals)
    return Z * C / num_hospitals


@pytest.mark.parametrize("num_hospitals", NUM_HOSPITALS)
@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_it_is_normal_of_the_scale_of_theory_and_of_no_other(unit, placement, num_hospitals):
    noise = draw_average(
        unit, placement, num_hospitals, noise_multiplier=Z, max_grad_norm=C, num_coordinates=4000, seed=5
    )
    wanted = theory(unit, placement, num_hospitals)
    assert stats.kstest(noise / wanted, "norm").pvalue > 1e-3
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(noise / (wanted * wrong), "norm").pvalue < 1e-6


def test_the_rows_state_theory_and_lie_on_it():
    rows = measure_noise(
        ("record", "hospital"), ("local", "distributed", "central"), noise_multiplier=Z, max_grad_norm=C
    )
    assert len(rows) == 6 * len(NUM_HOSPITALS)
    for row in rows:
        assert row.stddev_theory == pytest.approx(theory(row.unit, row.placement, row.num_hospitals))
        # Five standard errors of a standard deviation over that many coordinates.
        assert abs(row.stddev_measured / row.stddev_theory - 1) < 5 / math.sqrt(2 * row.num_coordinates)


def test_hospitals_and_sizes_of_the_federation_draw_apart():
    small = draw_average("record", "central", 4, num_coordinates=2000)
    large = draw_average("record", "central", 10, num_coordinates=2000)
    assert abs(np.corrcoef(small, large)[0, 1]) < 0.1
    same = draw_average("record", "central", 4, num_coordinates=2000)
    assert np.array_equal(small, same)
