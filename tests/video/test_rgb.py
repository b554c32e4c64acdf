"""Crops and canvases of RGB images, against slow references and scipy."""

import numpy as np
import pytest
from scipy import ndimage

import reference
from cliffvid.rules import CropRule, Letterbox
from cliffvid.video.images.rgb import RgbImage, crop_pixels
from plane_frames import rgb_images

OFFICIAL = CropRule(12, 16, 1.1, "height")
SQUARE = CropRule(20, 20, 1.0, "height", "square", "truncate", "antialias")
UNROUNDED = CropRule(12, 16, 1.0, "width", "square", "exact")


@pytest.mark.parametrize(
    "corners", [(3, 2, 15, 18), (-5, -7, 9, 12), (20, 10, 40, 37), (-10, -10, 50, 50), (0, 0, 1, 1), (4, 4, 34, 24)]
)
def test_crop_is_that_of_the_slow_reference(corners):
    image = np.random.default_rng(0).integers(0, 256, (30, 32, 3), np.uint8)
    want = reference.bilinear_crop(image, corners, (12, 16))
    np.testing.assert_allclose(crop_pixels(image, np.array(corners), OFFICIAL, "float32"), want, atol=1e-3)
    np.testing.assert_allclose(crop_pixels(image, np.array(corners), OFFICIAL), want, atol=1)


@pytest.mark.parametrize("corners", [(3, 2, 63, 59), (-30, -20, 50, 60), (5, 5, 12, 40), (8, 8, 28, 28), (0, 0, 1, 1)])
def test_antialiased_crop_is_what_scipy_makes_in_the_steps_of_skimage(corners):
    image = np.random.default_rng(0).integers(0, 256, (60, 64, 3), np.uint8)
    patch = reference.patch(image, corners)
    factors = np.array([patch.shape[0] / 20, patch.shape[1] / 20, 1])
    blurred = ndimage.gaussian_filter(patch, np.maximum(0, (factors - 1) / 2), mode="mirror")
    want = ndimage.zoom(blurred, 1 / factors, order=1, mode="mirror", grid_mode=True)
    np.testing.assert_allclose(crop_pixels(image, np.array(corners), SQUARE, "float32"), want, atol=1e-3)
    rounded = crop_pixels(image, np.array(corners), SQUARE)
    np.testing.assert_allclose(rounded, want, atol=0.501)
    np.testing.assert_array_equal(rounded, np.rint(rounded))


@pytest.mark.parametrize("corners", [(3.3, 2.7, 33.3, 42.7), (-7.25, -9.5, 22.75, 30.5), (10.1, 4.2, 16.1, 12.2)])
def test_unrounded_crop_samples_between_pixels(corners):
    # smooth, so that the 32 steps between two pixels that OpenCV's warp knows are fine enough
    y, x = np.mgrid[:50, :60]
    image = np.stack([2 * x + 40, 3 * y + 20, x + y + 60], axis=-1).astype(np.uint8)
    got = crop_pixels(image, np.array(corners), UNROUNDED, "float32")
    x0, y0, x1, y1 = corners
    at_x = x0 + np.arange(12) * (x1 - x0) / 12
    at_y = (y0 + np.arange(16) * (y1 - y0) / 16)[:, None]
    want = np.stack(np.broadcast_arrays(2 * at_x + 40, 3 * at_y + 20, at_x + at_y + 60), axis=-1)
    inside = ((at_x >= 0) & (at_x <= 59)) & ((at_y >= 0) & (at_y <= 49))
    assert inside.any()
    np.testing.assert_allclose(got[inside], want[inside], atol=0.6)
    assert (got[(at_y < -1).ravel()] == 0).all() and (got[:, at_x < -1] == 0).all()


def test_letterbox_leaves_the_margin_grey_and_the_picture_in_the_middle():
    frames = np.full((2, 50, 100, 3), 7, np.uint8)
    canvas = RgbImage.letterboxed(rgb_images(frames), Letterbox(64, 64, "area", 128))
    assert (canvas[:, 16:48] == 7).all() and (canvas[:, :16] == 128).all() and (canvas[:, 48:] == 128).all()
