from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

import reference
from cliffvid.geometry import lengthened
from cliffvid.models.manifest import Manifest, Tensor
from cliffvid.options import Options
from cliffvid.pipeline.crop import crop_pixels, crops
from cliffvid.pipeline.detect import Found
from cliffvid.rules import BboxInfo, CropRule
from cliffvid.tables import Frames, People, image_column

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


def cropped(rgb, box, rule):
    """The crop of one box in the one picture of ``rgb`` (1,H,W,3), by a manifest with that rule."""
    frames = Frames(np.array([5]), np.array([0]), np.zeros(1), np.zeros(1, bool), image_column(rgb))
    people = People(
        np.array([5]),
        np.array([0]),
        np.zeros(1),
        np.ones(1, np.float32),
        np.array([box], np.float32),
        np.zeros(1, np.uint16),
    )
    tensors = {"crop": Tensor("float32", ("N", rule.height_px, rule.width_px, 3))}
    rules = {"crop": rule, "bbox_info": BboxInfo(1.0, 0.0, 1.0)}
    manifest = Manifest(None, "m", "regress", "", "", 0, {}, tensors, rules=rules)
    return crops(Found(frames, people), manifest, Options(focal_px=100))


@pytest.mark.parametrize(("rule", "size"), [(OFFICIAL, 44.0), (SQUARE, 40.0), (UNROUNDED, 40.0)])
def test_the_manifest_decides_what_a_crop_is(rule, size):
    """A box 24 wide and 40 tall: the size is the side that the rule names, and bbox_info follows the manifest."""
    rgb = np.random.default_rng(1).integers(0, 256, (1, 100, 80, 3), np.uint8)
    found = cropped(rgb, [20.75, 30.0, 44.75, 70.0], rule)
    np.testing.assert_allclose(found.crop_center_size_px, [[32.75, 50.0, size]])
    np.testing.assert_allclose(found.bbox_info, [[-0.0725, 0.0, size / 100]], rtol=1e-6)
    half_w, half_h = {OFFICIAL: (16.5, 22.0), SQUARE: (20.0, 20.0), UNROUNDED: (20.0, 20 / 0.75)}[rule]
    corners = np.array([32.75 - half_w, 50 - half_h, 32.75 + half_w, 50 + half_h])
    if rule is not UNROUNDED:
        corners = corners.astype(int) if rule is SQUARE else np.rint(corners).astype(int)
    np.testing.assert_array_equal(found.pixels[0], crop_pixels(rgb[0], corners, rule, "float32"))


@pytest.mark.parametrize(
    ("box", "bottom"),
    [
        ((10, 40, 50, 100), 128),  # cut: 60 px become 88 of a width of 40
        ((10, 41, 50, 99.5), 129),  # half a pixel short of the edge
        ((0, 70, 80, 100), 139),  # 30 px become 69 at most
        ((10, 0, 50, 100), 100),  # tall enough to be whole
        ((10, 30, 50, 90), 90),  # ends before the edge
        ((0, 10, 50, 70), 70),  # cut at the side
    ],
)
def test_a_box_that_the_bottom_cuts_is_longer_for_the_crop(box, bottom):
    boxes = np.array([box], np.float32)
    longer = lengthened(boxes, (80, 100), replace(OFFICIAL, cut_aspect=2.2))
    np.testing.assert_allclose(longer, [[*box[:3], bottom]], atol=1e-3)
    assert longer.dtype == np.float32


def test_a_crop_holds_what_the_bottom_cuts_and_the_row_keeps_its_box():
    rgb = np.random.default_rng(1).integers(0, 256, (1, 100, 80, 3), np.uint8)
    found = cropped(rgb, [20, 40, 60, 100], replace(OFFICIAL, cut_aspect=2.2))
    np.testing.assert_allclose(found.crop_center_size_px, [[40, 40 + 88 / 2, 1.1 * 88]], rtol=1e-6)
    np.testing.assert_array_equal(found.bbox_xyxy, [[20, 40, 60, 100]])
    assert (found.pixels[0, -5:] == 0).all() and found.pixels[0, 8].any()  # nothing is known of what is below


def test_a_manifest_that_does_not_ask_for_it_gets_boxes_as_detected():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 99, (50, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 3] = rng.uniform(99, 100, 50)
    np.testing.assert_array_equal(lengthened(boxes, (200, 100), OFFICIAL), boxes)
