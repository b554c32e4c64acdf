from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from cliffvid import geometry as geo
from cliffvid.rotations import axis_angle, rotation_matrix
from cliffvid.rules import BboxInfo, CropRule, Letterbox

CLIFF_CROP = CropRule(192, 256, 1.1, "height")
CLIFF_INFO = BboxInfo(2.8, 0.24, 0.06)
sides = st.integers(16, 5000)
coordinates = st.floats(-2000, 2000, allow_nan=False, width=32)


@st.composite
def boxes(draw, least=2.0):
    x, y = draw(coordinates), draw(coordinates)
    return np.array([[x, y, x + draw(st.floats(least, 900)), y + draw(st.floats(least, 900))]], np.float32)


@given(sides, sides, st.sampled_from([320, 416, 608]))
def test_letterbox_and_back(w, h, side):
    rule = Letterbox(side, side, "cubic", 128)
    ratio, (new_w, new_h), (left, top) = geo.letterbox_layout((w, h), rule)
    assert (1 <= new_w <= side and 1 <= new_h <= side and side in (new_w, new_h)) or abs(max(new_w, new_h) - side) == 1
    assert 0 <= left <= side - new_w and 0 <= top <= side - new_h
    # a frame's corners lie on the canvas where its picture was pasted, to the rounding of size and offset
    frame = np.array([[0, 0, w, h]], np.float32)
    canvas = frame * ratio + np.array([(side - ratio * w) / 2, (side - ratio * h) / 2] * 2)
    assert np.abs(canvas - [[left, top, left + new_w, top + new_h]]).max() <= 1 + 1e-3
    np.testing.assert_allclose(geo.canvas_to_frame(canvas, (w, h), rule), frame, atol=1e-3)


@given(sides, sides, st.sampled_from([320, 416, 608]), st.sampled_from([32, 160]))
def test_a_smaller_canvas_scales_alike_and_is_the_smallest_that_holds_the_frame(w, h, side, least):
    rule = Letterbox(side, side, "cubic", 128, least_px=least)
    small = geo.shrunk(rule, (w, h))
    canvas_wh = small.width_px, small.height_px
    assert replace(small, width_px=side, height_px=side) == rule
    ratio, size_wh, (left, top) = geo.letterbox_layout((w, h), small)
    assert (ratio, size_wh) == geo.letterbox_layout((w, h), rule)[:2]  # to the last bit
    assert 0 <= left <= canvas_wh[0] - size_wh[0] and 0 <= top <= canvas_wh[1] - size_wh[1]
    scale = min(Fraction(side, w), Fraction(side, h))
    for canvas, frame in zip(canvas_wh, (w, h), strict=True):
        assert canvas % 32 == 0 and max(frame * scale, least) <= canvas < max(frame * scale + 32, least + 1)
    assert side in canvas_wh
    frame = np.array([[0, 0, w, h]], np.float32)
    canvas = frame * ratio + np.array([(small.width_px - ratio * w) / 2, (small.height_px - ratio * h) / 2] * 2)
    np.testing.assert_allclose(geo.canvas_to_frame(canvas, (w, h), small), frame, atol=1e-3)


def test_a_wide_frame_takes_little_more_than_half_the_canvas():
    square = Letterbox(416, 416, "cubic", 128, least_px=96)
    for wh, canvas_wh in {(1920, 1080): (416, 256), (1080, 1920): (256, 416), (640, 480): (416, 320)}.items():
        assert geo.shrunk(square, wh) == replace(square, width_px=canvas_wh[0], height_px=canvas_wh[1])


def test_the_longer_side_alone_counts_where_the_manifest_says_so():
    box = np.array([[10, 20, 110, 60]], np.float32)
    square = CropRule(192, 256, 1.5, "width", fit="square")
    center_size = geo.crop_boxes(box, square)
    np.testing.assert_allclose(center_size, [[60, 40, 150]])
    np.testing.assert_array_equal(geo.crop_corners(center_size, square), [[-15, -60, 135, 140]])
    cut = CropRule(224, 224, 1.0, "height", fit="square", corners="truncate")
    np.testing.assert_array_equal(geo.crop_corners(np.array([[10.7, 20.2, 41.0]]), cut), [[-9, 0, 31, 40]])


def test_boxes_are_clamped_to_the_frame():
    rule = Letterbox(416, 416, "cubic", 128)
    np.testing.assert_array_equal(
        geo.canvas_to_frame(np.array([[-9e3, -9e3, 9e3, 9e3]]), (640, 480), rule), [[0, 0, 640, 480]]
    )


@given(boxes(), st.sampled_from([(192, 256), (256, 256), (224, 224)]), st.sampled_from(["height", "width"]))
def test_a_crop_holds_its_box_and_has_the_networks_aspect(box, wh, side):
    rule = CropRule(*wh, 1.1, side)
    center_size = geo.crop_boxes(box, rule)
    x0, y0, x1, y1 = geo.crop_corners(center_size, rule)[0]
    assert x0 <= box[0, 0] + 0.5 and y0 <= box[0, 1] + 0.5 and x1 >= box[0, 2] - 0.5 and y1 >= box[0, 3] - 0.5
    assert abs((x1 - x0) / wh[0] * wh[1] - (y1 - y0)) <= 2 * max(1, wh[1] / wh[0])
    assert abs({"height": y1 - y0, "width": x1 - x0}[side] - center_size[0, 2]) < 1 + 1e-9


@given(
    boxes(least=20.0),
    st.floats(0.3, 3),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.tuples(st.integers(100, 4000), st.integers(100, 4000)),
)
def test_crop_camera_and_full_camera_see_a_point_on_the_same_pixel(box, s, tx, ty, x, y, frame_wh):
    center_size = geo.crop_boxes(box, CLIFF_CROP)
    focal_px = np.array([geo.diagonal_focal_px(frame_wh)])
    camera = np.array([[s, tx, ty]])
    transl = geo.camera_to_transl(camera, center_size, focal_px, np.array([frame_wh]) / 2)
    pixel = geo.project(np.array([[[x, y, 0.0]]]) + transl[:, None], focal_px, geo.principal_point_px(frame_wh))[0, 0]
    cx, cy, size = center_size[0]
    in_crop = np.array([cx, cy]) + size / 2 * s * (np.array([x, y]) + [tx, ty])  # weak perspective, CLIFF's head
    np.testing.assert_allclose(pixel, in_crop, rtol=1e-6, atol=1e-2)
    assert not geo.camera_is_bad(transl)[0] or not 0.1 < transl[0, 2] < 1000


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf])
def test_an_impossible_camera_is_told(scale):
    args = np.array([[100, 100, 50.0]]), np.array([800.0]), np.array([[640, 480.0]])
    with np.errstate(invalid="ignore"):
        assert geo.camera_is_bad(geo.camera_to_transl(np.array([[scale, 0, 0]]), *args))[0]
    assert not geo.camera_is_bad(geo.camera_to_transl(np.array([[0.9, 0, 0]]), *args))[0]


vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)
angles = st.one_of(st.floats(0, np.pi), st.sampled_from([0.0, 1e-12, 1e-7, np.pi - 1e-7, np.pi - 1e-10, np.pi / 2]))


@given(vectors, angles)
def test_rotations_agree_with_opencv_and_come_back(axis, angle):
    rotvec = np.array(axis) / np.linalg.norm(axis) * angle
    matrix = rotation_matrix(rotvec[None])[0]
    np.testing.assert_allclose(matrix, cv2.Rodrigues(rotvec)[0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [1, 2, 3], reference.turned(np.array([1, 2, 3.0]), rotvec), atol=1e-12)
    np.testing.assert_allclose(axis_angle(matrix[None])[0], rotvec, atol=2e-8)


def test_half_turns_and_no_turn():
    for axis in np.concatenate([np.eye(3), np.ones((1, 3)) / np.sqrt(3)]):
        matrix = 2 * np.outer(axis, axis) - np.eye(3)
        back = axis_angle(matrix[None])[0]
        np.testing.assert_allclose(np.abs(back), np.pi * np.abs(axis), atol=1e-9)
    np.testing.assert_array_equal(axis_angle(np.eye(3)[None]), np.zeros((1, 3)))
    assert axis_angle(np.zeros((0, 24, 3, 3))).shape == (0, 24, 3)


@given(
    st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=4), st.sampled_from([0.0, 1.0])
)
def test_iou_is_that_of_the_slow_reference(left, right, offset):
    a, b = np.concatenate(left).astype(float), np.concatenate(right).astype(float)
    want = [[reference.iou(x, y, offset) for y in b] for x in a]
    np.testing.assert_allclose(geo.box_iou(a, b, offset), want, atol=1e-12)


def test_iou_of_empty_boxes_is_zero():
    nothing = np.zeros((1, 4))
    assert geo.box_iou(nothing, nothing)[0, 0] == 0
    assert geo.box_iou(np.zeros((0, 4)), nothing).shape == (0, 1)
