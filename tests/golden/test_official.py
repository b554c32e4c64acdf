"""What the official CLIFF and pytorch-yolo-v3 code answered, see README.md beside this file."""

from pathlib import Path

import numpy as np
import pytest

from cliffvid import geometry as geo
from cliffvid.pipeline.detect import select
from cliffvid.rules import BboxInfo, CropRule, Letterbox, Selection
from cliffvid.tables import image_column
from cliffvid.video.images.rgb import RgbImage, crop_pixels

HERE = Path(__file__).parent
CROP = CropRule(192, 256, 1.1, "height")
LETTERBOX = Letterbox(416, 416, "cubic", 128)
OFFICIAL = Selection("objectness", 0.5, 0.4, 1.0)


@pytest.fixture(scope="module")
def cliff():
    return np.load(HERE / "cliff_preprocessing.npz")


@pytest.fixture(scope="module")
def yolo():
    return np.load(HERE / "yolov3.npz")


def test_corners_and_sizes_of_2000_boxes(cliff):
    center_size = geo.crop_boxes(cliff["many_boxes"], CROP)
    center, scale = cliff["many_center_scale"][:, :2], cliff["many_center_scale"][:, 2]
    np.testing.assert_allclose(center_size, np.c_[center, scale * 200], rtol=1e-6)
    wrong = (geo.crop_corners(center_size, CROP) != cliff["many_ulbr"]).any(axis=1)
    assert wrong.sum() <= 2  # the official float32 arithmetic itself moves 1 box in 10,000 by a pixel


def test_crops(cliff):
    center_size = geo.crop_boxes(cliff["boxes_xyxy"], CROP)
    corners = geo.crop_corners(center_size, CROP)
    np.testing.assert_array_equal(corners, np.concatenate([cliff["crop_ul"], cliff["crop_br"]], axis=1))
    image = cliff["image"][:, :, ::-1]  # the official loader was handed BGR
    crops = np.stack([crop_pixels(image, corner, CROP, "float32") for corner in corners])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(((crops / 255 - mean) / std).transpose(0, 3, 1, 2), cliff["crop_normalised"], atol=1e-4)
    rounded = np.stack([crop_pixels(image, corner, CROP) for corner in corners])
    assert np.abs(rounded - crops).max() <= 1  # OpenCV's 8-bit path has 11-bit weights


def test_bbox_info_and_full_camera(cliff):
    center_size = geo.crop_boxes(cliff["boxes_xyxy"], CROP)
    frame_wh = np.tile([640.0, 480.0], (5, 1))
    focal = np.full(5, geo.diagonal_focal_px((640, 480)))
    np.testing.assert_allclose(focal, cliff["focal"], rtol=1e-9)
    info = geo.bbox_info(center_size, focal, frame_wh / 2, BboxInfo(2.8, 0.24, 0.06))
    np.testing.assert_allclose(info, cliff["bbox_info"], atol=2e-6, rtol=1e-6)
    transl = geo.camera_to_transl(cliff["crop_cam"], center_size, focal, frame_wh / 2)
    np.testing.assert_allclose(transl, cliff["full_cam"], rtol=1e-5)
    assert geo.camera_is_bad(transl).tolist() == [True, True, False, False, False]  # s = 0 and s < 0


def test_letterbox(yolo):
    image = RgbImage(np.ascontiguousarray(yolo["letterbox_in"][:, :, ::-1]))
    (canvas,) = RgbImage.letterboxed(image_column([image]), LETTERBOX)
    off = np.abs(canvas[:, :, ::-1].astype(int) - yolo["letterbox_out"])
    assert off.max() <= 1 and np.count_nonzero(off) < 20  # of 519,168: OpenCV's rounding is the processor's


def test_suppression_and_boxes_in_the_frame(yolo):
    rows, frame_boxes = [], []
    for image, candidates in enumerate(yolo["nms_in"]):
        cx, cy, w, h = candidates[:, :4].T
        boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
        best = candidates[:, 5:].argmax(axis=1)
        for kind in np.unique(best):
            objectness = np.where(best == kind, candidates[:, 4], 0)
            _, kept, score, _ = select(boxes[None], objectness[None], candidates[None, :, 5 + kind], OFFICIAL)
            if not len(kept):
                continue
            kept_boxes = boxes[kept]
            prob = candidates[kept, 5 + kind]
            rows += [[image, *box, s, p, kind] for box, s, p in zip(kept_boxes, score, prob, strict=True)]
            wh = tuple(int(v) for v in yolo["frame_wh"][image])
            frame_boxes.append(geo.canvas_to_frame(kept_boxes, wh, LETTERBOX))
    np.testing.assert_allclose(np.array(rows), yolo["nms_out"], atol=1e-4)
    np.testing.assert_allclose(np.concatenate(frame_boxes), yolo["nms_out_frame"][:, 1:5], atol=1e-3)
