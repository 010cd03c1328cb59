import numpy as np
import pytest

from voxlang.evaluate.calibration import calibration_curve, save_calibration_figure


def test_bins_by_hand():
    curve = calibration_curve(np.array([0.05, 0.07, 0.55, 1.0, 1.2]), np.array([0.0, 0.2, 0.5, 1.0, 0.6]))
    assert curve.count.tolist() == [2, 1, 2]
    np.testing.assert_allclose(curve.predicted, [0.06, 0.55, 1.1])
    np.testing.assert_allclose(curve.true, [0.1, 0.5, 0.8])
    assert curve.expected_error == pytest.approx((2 * 0.04 + 0.05 + 2 * 0.3) / 5)


def test_an_honest_model_has_no_error(rng):
    chance = rng.random(4000)
    curve = calibration_curve(chance, (rng.random(4000) < chance).astype(float))
    assert curve.expected_error < 0.05 < calibration_curve(chance, chance**4).expected_error


def test_the_figure_is_a_picture(tmp_path):
    from PIL import Image

    curve = calibration_curve(np.array([0.1, 0.9]), np.array([0.2, 0.7]))
    path = save_calibration_figure(
        tmp_path / "c.png", {"seeds": {"small": curve, "part": curve}, "names": {"a": curve}}
    )
    picture = Image.open(path)
    assert picture.width > picture.height > 200
