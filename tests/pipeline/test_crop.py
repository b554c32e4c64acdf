from dataclasses import replace

import numpy as np
import pytest

from cliffvid.geometry import lengthened
from cliffvid.models.manifest import Manifest, Tensor
from cliffvid.options import Options
from cliffvid.pipeline.crop import crops
from cliffvid.pipeline.detect import Found
from cliffvid.rules import BboxInfo, CropRule
from cliffvid.tables import Frames, People
from cliffvid.video.images.rgb import crop_pixels
from plane_frames import rgb_images

OFFICIAL = CropRule(12, 16, 1.1, "height")
SQUARE = CropRule(20, 20, 1.0, "height", "square", "truncate", "antialias")
UNROUNDED = CropRule(12, 16, 1.0, "width", "square", "exact")


def cropped(rgb, box, rule):
    """The crop of one box in the one picture of ``rgb`` (1,H,W,3), by a manifest with that rule."""
    frames = Frames(np.array([5]), np.array([0]), np.zeros(1), np.zeros(1, bool), rgb_images(rgb))
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
