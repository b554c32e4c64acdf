import numpy as np
import pytest

import reference
from cliffvid.crop import crop_pixels


@pytest.mark.parametrize(
    "corners", [(3, 2, 15, 18), (-5, -7, 9, 12), (20, 10, 40, 37), (-10, -10, 50, 50), (0, 0, 1, 1), (4, 4, 34, 24)]
)
def test_crop_is_that_of_the_slow_reference(corners):
    image = np.random.default_rng(0).integers(0, 256, (30, 32, 3), np.uint8)
    want = reference.bilinear_crop(image, corners, (12, 16))
    np.testing.assert_allclose(crop_pixels(image, np.array(corners), (12, 16), "float32"), want, atol=1e-3)
    np.testing.assert_allclose(crop_pixels(image, np.array(corners), (12, 16)), want, atol=1)
