"""What is made of a decoder's planes, against the same made of the displayed frame in RGB."""

from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bench.fakes import Constant, constant_models
from cliffvid import Options, process
from cliffvid.errors import UsageError
from cliffvid.models.manifest import Manifest
from cliffvid.pipeline.crop import check_crop, crop
from cliffvid.pipeline.detect import detect
from cliffvid.pipeline.regress import regress
from cliffvid.rules import CropRule, Letterbox
from cliffvid.tables import image_column
from cliffvid.video.color import Display
from cliffvid.video.images.orientation import Orientation
from cliffvid.video.images.rgb import RgbImage, crop_pixels
from cliffvid.video.images.yuv import YuvImage
from cliffvid.video.reader import DecodeCounts, Video
from plane_frames import smooth, stored

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
RULE = CropRule(192, 256, 1.1, "height")
CANVAS = Letterbox(416, 416, "cubic", 128)


def frames(planes):
    with Video(CLIP) as video:
        return next(video.frames(8, DecodeCounts(), planes=planes)).images


def cropped(planes, corners):
    (crop,) = YuvImage.cropped(image_column([planes]), np.zeros(1, int), np.array([corners]), RULE, "float32")
    return crop


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_colours_are_those_of_every_matrix_and_range(matrix, full_range):
    image = smooth()
    planes = stored(image, matrix=matrix, full_range=full_range)
    assert isinstance(planes, YuvImage) and planes.size_wh == (160, 96)
    got = planes.scaled((160, 96), cv2.INTER_LINEAR).astype(int)
    np.testing.assert_allclose(got, image, atol=4)  # whole numbers of Y, U and V cost 2 to 3


@pytest.mark.parametrize("corners", [(20, 10, 90, 60), (-30, -7, 60, 50), (101, 33, 190, 120), (-9, -9, 170, 105)])
@pytest.mark.parametrize("turn", [Orientation(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)], ids=str)
def test_crops_of_every_orientation_are_those_of_the_displayed_frame(turn, corners):
    image = smooth()
    shown = np.ascontiguousarray(turn.show(image))
    planes = stored(image, turn)
    assert planes.size_wh == shown.shape[1::-1]
    want = crop_pixels(shown, np.array(corners), RULE).astype(int)
    error = np.abs(cropped(planes, corners) - want)
    black = (want == 0).all(axis=2).astype(np.uint8)
    near_edge, deep = (f(black, np.ones((41, 41))).astype(bool) for f in (cv2.dilate, cv2.erode))
    assert error[~near_edge].max(initial=0) <= 6 and error.mean() <= 2
    assert error[deep].max(initial=0) <= 1


def test_inputs_of_the_networks_differ_from_the_exact_ones_by_a_level_or_two():
    exact, planes = frames(False), frames(True)
    assert all(isinstance(image, YuvImage) for image in planes)
    canvas = np.abs(RgbImage.letterboxed(exact, CANVAS).astype(int) - YuvImage.letterboxed(planes, CANVAS))
    rng, crops, large = np.random.default_rng(0), [], []  # of large crops the colours shrink too
    for i, (made, heights) in product(range(len(exact)), ((crops, (60, 300)), (large, (512, 600)))):
        x, y, high = rng.integers(-20, 700), rng.integers(-20, 400), rng.integers(*heights)
        corners = np.array([x, y, x + high * 3 // 4, y + high])
        made.append(np.abs(crop_pixels(exact[i].rgb(), corners, RULE).astype(int) - cropped(planes[i], corners)))
    for error in (canvas, np.stack(crops), np.stack(large)):
        assert error.mean() < 1.5 and np.median(error) <= 2 and np.percentile(error, 99) <= 10


def test_crops_of_planes_stay_bytes_on_their_way_to_a_network():
    class Network(Constant):
        def run(self, inputs):
            given.append(inputs["crop"])
            return super().run(inputs)

    given, models, options = [], constant_models(3), Options(pixels="planes")
    assert models.regressor.manifest.inputs["crop"].dtype == "float32"
    with Video(CLIP, options) as video:
        frames = next(video.frames(2, DecodeCounts(), planes=True))
    crops = crop(detect([frames], models.detector, options), models.regressor.manifest, options)
    regress(crops, Network(models.regressor.manifest, models.regressor.answers))
    assert given[0].dtype == np.uint8 and given[0].shape == (6, 256, 192, 3) and given[0].std() > 10


@pytest.mark.parametrize("corners", [(-50, -60, -10, -20), (500, 10, 540, 60), (10, 10, 10, 10)])
def test_a_crop_that_shows_nothing_of_the_frame_is_black_or_a_pixel(corners):
    got = cropped(stored(smooth()), corners)
    assert got.shape == (256, 192, 3) and (corners[0] == 10 or got.max() <= 1)


def test_frames_that_are_not_8_bit_planes_of_square_pixels_are_shown_as_without():
    display = Display(Options())
    for kind in ("yuv420p10le", "yuv444p", "gray", "rgb24"):
        frame = av.VideoFrame.from_ndarray(smooth(), format="rgb24").reformat(format=kind)
        np.testing.assert_array_equal(display.planes(frame, None).pixels, Display(Options()).show(frame, None))
    frame = av.VideoFrame.from_ndarray(smooth(), format="rgb24").reformat(format="yuv420p")
    assert isinstance(display.planes(frame, None), YuvImage)
    assert display.planes(frame, Fraction(4, 3)).pixels.shape == (96, 213, 3)
    odd = av.VideoFrame.from_ndarray(smooth(161, 97), format="rgb24").reformat(format="yuv420p")
    assert isinstance(display.planes(odd, None), RgbImage)


@pytest.mark.parametrize(("corners", "resample"), [("exact", "bilinear"), ("truncate", "antialias")])
def test_crops_that_planes_cannot_make_are_refused(corners, resample, tmp_path):
    rule = CropRule(20, 20, 1.0, "height", "square", corners, resample)
    manifest = Manifest(Path("bedlam"), "m", "regress", "", "", 0, {}, rules={"crop": rule})
    check_crop(manifest, Options())
    with pytest.raises(UsageError, match="--pixels planes: bedlam"):
        check_crop(manifest, Options(pixels="planes"))
    models = constant_models(1)
    given = replace(models, regressor=Constant(manifest, {}))  # opened for other options
    with pytest.raises(UsageError, match="--pixels planes: bedlam"):
        process(CLIP, tmp_path / "a.parquet", Options(pixels="planes"), models=given)
    assert not list(tmp_path.iterdir())
