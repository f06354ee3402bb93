"""The robust scale: the fast exact solver against its readable twin, and against outliers."""

import numpy as np
import pytest

from alignment.robust import (
    huber_scale,
    huber_weights,
    solve_scale,
    truncated_l1_scale,
    truncated_l1_scale_readable,
)


@pytest.mark.parametrize("seed", range(20))
def test_truncated_l1_equals_brute_force(seed: int) -> None:
    """C12.10: the cost at the found scale is the least over all candidates y_i / x_i."""
    rng = np.random.default_rng(seed)
    x, weight = rng.uniform(0.5, 3, 80), rng.uniform(0.2, 2, 80)
    y = 1.7 * x * rng.normal(1, 0.1, 80)
    y[:30] *= rng.uniform(0.1, 4, 30)
    threshold = rng.uniform(0.02, 1.0)
    fast = truncated_l1_scale(x, y, weight, threshold)
    slow = truncated_l1_scale_readable(x, y, weight, threshold)

    def cost(a: float) -> float:
        return float(np.minimum(threshold, weight * np.abs(a * x - y)).sum())

    assert cost(fast) == pytest.approx(cost(slow), rel=1e-9)


def test_gross_outliers_do_not_move_the_scale() -> None:
    """C12.4: of 300 depths with 3 % noise, 35 % lie far behind. Least squares is clearly biased,
    truncated L1 (tau 0.15, w 1 / z) is right to 0.5 % and Huber's refinement no worse; rms of 20
    draws, of which noise alone is 0.2 %."""
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.uniform(1.8, 2.2, 300)
        y = 1.3 * x * rng.normal(1, 0.03, 300)
        y[:105] *= rng.uniform(1.3, 2.5, 105)
        plain = (x * y).sum() / (x * x).sum()
        found = (plain, truncated_l1_scale(x, y, 1 / y, 0.15), solve_scale(x, y, 0.15))
        errors.append([scale / 1.3 - 1 for scale in found])
    plain, start, refined = np.sqrt(np.mean(np.square(errors), axis=0))
    assert plain > 0.2 and start < 0.005 and refined < 0.003


@pytest.mark.parametrize("truncation", [0.1, 0.3])
def test_noise_of_single_pixels_does_not_draw_the_scale(truncation: float) -> None:
    """5 % of it on 2000 points, mean of 50 draws, whose standard error is 0.016 %; weights of
    1 / Q_z draw it by -0.3 %."""
    found = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x = rng.uniform(1, 3, 2000)
        found.append(solve_scale(x, 1.3 * x * rng.normal(1, 0.05, 2000), truncation) / 1.3)
    assert abs(np.mean(found) - 1) < 3e-4


def test_exact_data_gives_the_exact_scale() -> None:
    x = np.linspace(1, 2, 50)
    assert huber_scale(x, 0.37 * x, 1 / x, 1.0) == pytest.approx(0.37, abs=1e-12)
    assert solve_scale(x, 0.37 * x, 0.1) == pytest.approx(0.37, abs=1e-12)


def test_nothing_to_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="no points"):
        truncated_l1_scale(np.zeros(0), np.zeros(0), np.zeros(0), 0.1)
    with pytest.raises(ValueError, match="no points"):
        solve_scale(np.zeros(0), np.zeros(0), 0.1)


def test_depths_behind_the_camera_have_no_scale() -> None:
    with pytest.raises(ValueError, match="zero or less"):
        solve_scale(np.linspace(1, 2, 50), -np.linspace(1, 2, 50), 0.1)


def test_huber_weights_drop_what_lies_beyond_the_truncation() -> None:
    residual = np.array([0.0, 0.01, 0.01, 0.01, 0.02, 0.04, 0.3, 2.0])
    weight = huber_weights(residual, 0.1)
    delta = 1.345 * 1.4826 * 0.01
    np.testing.assert_allclose(weight[:6], [1, 1, 1, 1, delta / 0.02, delta / 0.04])
    np.testing.assert_array_equal(weight[6:], 0)


def test_huber_weights_keep_half_of_the_points_of_a_poor_start() -> None:
    weight = huber_weights(np.linspace(1, 3, 101), 0.1)
    assert (weight > 0).sum() >= 51
