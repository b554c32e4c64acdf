"""Pictures made by the small graph are those of OpenCV, which the exact path uses."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import reference
from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from cliffvid.rules import CropRule, Letterbox
from cliffvid.tables import Frames, image_column
from cliffvid.video.images.base import kind_of
from cliffvid.video.images.gpu import Block, GpuImage, Surface
from cliffvid.video.images.orientation import Orientation
from cliffvid.video.images.rgb import RgbImage, crop_pixels
from cliffvid.video.images.yuv import YuvImage
from cliffvid.video.reader import DecodeCounts, Video
from cliffvid.video.shots import ShotDetector
from plane_frames import UPRIGHT, displayed, rgb_images, smooth, stored

EXAMPLE = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
LETTERBOX = Letterbox(96, 64, "linear", 128)
CROP = CropRule(24, 32, 1.1, "height")


@pytest.fixture
def pictures(toys):
    with open_session(read_manifest(toys / "toy-detector"), "onnxruntime", "cpu", 1) as session:
        yield session.pictures


def film(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def there(pictures, frames):
    """Frames on the device, as a column."""
    return Block(pictures.upload(frames), len(frames), frames.shape[2:0:-1], pictures).images()


def letterboxed(frames, rule):
    return RgbImage.letterboxed(rgb_images(frames), rule)


def thumbnails(frames):
    return np.stack(list(RgbImage.thumbnails(rgb_images(frames))))


def cuts(images, corners, rule):
    """A crop of each of the images."""
    return GpuImage.cropped(images, np.arange(len(corners)), corners, rule, "float32")


@pytest.mark.parametrize("size", [(270, 480), (97, 31), (33, 48), (64, 96), (20, 1000), (128, 192)])
@pytest.mark.parametrize(("interpolation", "mean"), [("linear", 0.3), ("cubic", 0.06), ("area", 0.3)])
def test_canvases_are_those_of_opencv(pictures, size, interpolation, mean):
    frames, rule = film(3, *size), replace(LETTERBOX, interpolation=interpolation, fill=77)
    got = pictures.make(GpuImage.letterboxed(there(pictures, frames), rule), "uint8").numpy()
    want = letterboxed(frames, rule)
    off = np.abs(want.astype(int) - got)
    # rounding alone: with linear weights, and where area enlarges, OpenCV cuts fractions off; sums here are float16
    assert got.dtype == np.uint8 and off.max() <= 1 and off.mean() <= mean


@pytest.mark.parametrize(
    "corners", [(3, 2, 15, 18), (-5, -7, 9, 12), (20, 10, 40, 37), (-10, -10, 50, 50), (0, 0, 1, 1), (60, 70, 90, 110)]
)
def test_crops_are_those_of_the_slow_reference(pictures, corners):
    """Inside of the frame, over each edge, and where there is nothing of it."""
    frames = film(2, 30, 32)
    made = cuts(there(pictures, frames), np.array([corners] * 2), CROP)
    exact, rounded = (pictures.make(made, dtype).numpy() for dtype in ("float32", "uint8"))
    want = np.stack([reference.bilinear_crop(image, corners, (24, 32)) for image in frames])
    np.testing.assert_allclose(exact, want, atol=1e-3)
    assert np.abs(rounded - exact).max() < 0.75


@pytest.mark.parametrize("corners", [(3.3, 2.7, 33.3, 42.7), (-7.25, -9.5, 22.75, 30.5), (10.1, 4.2, 16.1, 12.2)])
def test_crops_between_pixels_are_those_of_opencv(pictures, corners):
    """On a smooth picture, since its warp knows but 32 places between two pixels."""
    y, x = np.mgrid[:50, :60]
    frames = np.stack([2 * x + 40, 3 * y + 20, x + y + 60], axis=-1).astype(np.uint8)[None]
    rule, corners = replace(CROP, corners="exact"), np.array([corners])
    got = pictures.make(cuts(there(pictures, frames), corners, rule), "uint8").numpy()[0]
    want = crop_pixels(frames[0], corners[0], rule)
    inside = (want > 0).all(axis=2)
    assert inside.mean() > 0.5 and np.abs(got.astype(int) - want)[inside].max() <= 1
    # at the frame's edge it goes to black, and 1/32 of a pixel is a good part of that
    assert np.abs(got.astype(int) - want).max() <= 8


def test_rounding_stays_within_a_byte(pictures):
    """Cubic weights reach beyond black and white."""
    frames = np.repeat(np.repeat(film(1, 8, 8) // 128 * 255, 4, axis=1), 4, axis=2)
    rule = replace(LETTERBOX, interpolation="cubic")
    exact, rounded = (
        pictures.make(GpuImage.letterboxed(there(pictures, frames), rule), dtype).numpy()
        for dtype in ("float32", "uint8")
    )
    assert exact.min() < -1 and exact.max() > 256
    assert np.abs(rounded - np.clip(exact, 0, 255)).max() < 0.75


def test_people_of_several_frames_and_films_come_in_order(pictures):
    films = [film(3, 40, 60, 1), film(2, 80, 30, 2)]
    columns = [there(pictures, frames) for frames in films]
    rng, rows, want = np.random.default_rng(3), [], []
    for which, place in [(0, [2, 0, 0]), (1, [1]), (0, [1, 1]), (1, [0, 1])]:
        low = rng.integers(-20, 30, (len(place), 2))
        corners = np.concatenate([low, low + rng.integers(3, 40, (len(place), 2))], axis=1)
        rows.append(GpuImage.cropped(columns[which], np.array(place), corners, CROP, "float32"))
        for i, corner in zip(place, corners, strict=True):
            want.append(crop_pixels(films[which][i], corner, CROP, "float32"))
    rows.append(cuts(columns[0], np.zeros((0, 4), np.int64), CROP))  # a frame without people
    pending, want = np.concatenate(rows), np.stack(want)
    assert pending.shape == want.shape and rows[-1].shape == (0, 32, 24, 3)
    np.testing.assert_allclose(pictures.make(pending, "float32").numpy(), want, atol=1e-3)
    for some in (slice(2, 7), slice(5, None), np.arange(len(want)) % 3 == 1):  # batches are cut anew; nobody in a crop
        np.testing.assert_allclose(pictures.make(pending[some], "float32").numpy(), want[some], atol=1e-3)
    assert pending[:0].shape == (0, 32, 24, 3)


def test_a_narrow_crop_beside_a_wide_one_ends_with_the_frames(pictures):
    """As many tiles are taken for each, and there is nothing behind the last line of the last frame."""
    frames = film(1, 48, 256)
    corners = np.array([(0, 0, 256, 48), (240, 30, 256, 48)])
    made = GpuImage.cropped(there(pictures, frames), np.array([0, 0]), corners, CROP, "float32")
    want = [crop_pixels(frames[0], corner, CROP, "float32") for corner in corners]
    np.testing.assert_allclose(pictures.make(made, "float32").numpy(), want, atol=1e-3)


def test_pictures_of_several_sizes_are_not_made_at_once(pictures):
    column = there(pictures, film(2, 30, 32))
    made = [GpuImage.letterboxed(column, replace(LETTERBOX, width_px=width)) for width in (96, 64)]
    with pytest.raises(ValueError, match="several sizes at once"):
        pictures.make(np.concatenate(made), "uint8")


def table(images):
    index, zeros = np.arange(len(images)), np.zeros(len(images))
    return Frames(index, index, zeros, zeros.astype(bool), image_column(images))


TURNS = [Orientation(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
KINDS = [("bt601", False), ("bt709", False), ("bt2020", False), ("bt709", True)]


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_planes_are_seen_as_displayed(pictures, turn, kind):
    """In their own colours: frames of other ones are in another batch."""
    image = smooth()
    planes = stored(image, turn, *kind)
    there = YuvImage.uploaded(image_column([planes] * 2), pictures)
    want = turn.show(image)
    assert there[1].size_wh == want.shape[1::-1]
    assert np.abs(displayed(there).astype(int) - want).max() <= 4
    assert planes.kind not in [stored(image, turn, *other).kind for other in KINDS if other != kind]


def surface(pictures, image, pitch, turn, matrix, full_range):
    """The image as NVDEC would leave it, in lines of ``pitch`` bytes that end in garbage; and as YuvImages."""
    planes = stored(image, turn, matrix, full_range)
    height, width = planes.y.shape
    y, uv = np.full((height, pitch), 0xA5, np.uint8), np.full((height // 2, pitch), 0x5A, np.uint8)
    y[:, :width] = planes.y
    uv[:, :width:2], uv[:, 1:width:2] = planes.u, planes.v
    places = [SimpleNamespace(buffer_ptr=p.ctypes.data, line_size=pitch, memory=p) for p in (y, uv)]
    frame = SimpleNamespace(width=width, height=height, planes=places)
    return Surface(frame, matrix, full_range, turn, pictures), planes


@pytest.mark.parametrize("pitch", [160, 256, 1024])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_surfaces_become_the_rgb_of_their_planes(pictures, matrix, full_range, pitch):
    """Whatever stands behind the end of a line."""
    rng = np.random.default_rng(0)
    noise = rng.integers(70, 186, (96, 160, 3), np.uint8)  # its colours are within a byte after they were averaged
    (one, a), (other, b) = (surface(pictures, image, pitch, UPRIGHT, matrix, full_range) for image in (smooth(), noise))
    there = Surface.batch([one, other])
    rgb, thumbs = displayed(there), GpuImage.thumbnails(there)
    want = np.stack([a.rgb(), b.rgb()])
    assert there[1].row == 1 and rgb.shape == (2, 96, 160, 3)
    assert np.abs(rgb.astype(int) - want).max() <= 1  # OpenCV has whole weights
    assert thumbs.shape == (2, 18, 32, 3)
    np.testing.assert_allclose(thumbs, thumbnails(rgb), atol=1.01 / 255)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_surfaces_are_seen_as_displayed(pictures, turn):
    """They lie there as they are stored; canvases, crops and thumbnails are upright."""
    there = Surface.batch([surface(pictures, smooth(), 256, turn, "bt709", False)[0]] * 2)
    shown = displayed(there)
    assert np.abs(shown - turn.show(smooth())[None].astype(int)).max() <= 4
    assert there[0].size_wh == table(there).size_wh == shown.shape[2:0:-1]
    rule = replace(LETTERBOX, interpolation="cubic")
    got = pictures.make(GpuImage.letterboxed(there, rule), "uint8").numpy()
    assert np.abs(got.astype(int) - letterboxed(shown, rule)).max() <= 1
    corners = np.array([(-7, 5, 40, 66), (60, 20, 200, 90)])
    got = pictures.make(cuts(there, corners, CROP), "float32").numpy()
    want = [crop_pixels(image, corner, CROP, "float32") for image, corner in zip(shown, corners, strict=True)]
    assert np.abs(got - want).max() <= 1.5 and np.abs(got - want).mean() < 0.3  # rounded, as on the host
    np.testing.assert_allclose(GpuImage.thumbnails(there), thumbnails(shown), atol=1.01 / 255)


@pytest.mark.parametrize("size", [(1080, 1920), (98, 34), (144, 192), (18, 32), (720, 1278)])
def test_thumbnails_are_those_of_the_host(pictures, size):
    frames = film(2, *size)
    assert np.abs(GpuImage.thumbnails(there(pictures, frames)) - thumbnails(frames)).max() <= 1.01 / 255


def test_cuts_are_found_by_thumbnails_from_the_device(pictures):
    """The same that the host finds by its own."""
    rng, pixels = np.random.default_rng(1), []
    for length in (9, 14, 2, 8):
        scene = rng.integers(0, 256, (6, 10, 3)).repeat(30, axis=0).repeat(32, axis=1)
        noisy = np.clip(scene + rng.normal(0, 4, (length, *scene.shape)), 0, 255)
        pixels += list(noisy.astype(np.uint8))
    both = [surface(pictures, image, 512, UPRIGHT, "bt709", False) for image in pixels]
    there, host = ShotDetector(), ShotDetector()
    found = there.find(table(Surface.batch([s for s, _ in both])))
    want = host.find(table([planes for _, planes in both]))
    assert found == want == [(9, 1), (23, 2), (25, 3)]


@pytest.fixture(scope="module")
def example():
    """Four frames of the example clip in planes, and in FFmpeg's RGB."""
    tables = []
    for planes in (True, False):
        with Video(EXAMPLE) as video:
            tables.append(next(video.frames(4, DecodeCounts(), planes=planes)))
    return tables


def test_rgb_of_planes_is_ffmpegs_but_for_rounding(pictures, example):
    """Which cuts fractions off."""
    planes, exact = example
    assert kind_of(planes.images) is YuvImage and kind_of(exact.images) is RgbImage
    rgb = displayed(YuvImage.uploaded(planes.images, pictures))
    off = rgb.astype(int) - np.stack([image.rgb() for image in exact.images])
    assert off.max() <= 4 and off.min() >= -2 and np.abs(off).mean() < 1.2


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "area"])
def test_inputs_made_of_planes_are_those_made_of_their_rgb(pictures, example, interpolation):
    """But where RGB would be clipped: fewer than 2 pixels in 100, and less than between planes and RGB on the host."""
    images = example[0].images
    there, rgb = YuvImage.uploaded(images, pictures), rgb_images([image.rgb() for image in images])
    rule = Letterbox(416, 416, interpolation, 128)
    canvases = [RgbImage.letterboxed(rgb, rule), pictures.make(GpuImage.letterboxed(there, rule), "uint8").numpy()]
    corners = np.array([[100, 50, 250, 250], [200, 100, 1350, 300], [-50, -9, 360, 480], [300, 100, 340, 154]])
    people = np.arange(4), corners, replace(CROP, height_px=256, width_px=192), "float32"
    crops = [RgbImage.cropped(rgb, *people), pictures.make(GpuImage.cropped(there, *people), "float32").numpy()]
    for want, got in (canvases, crops):
        off = np.abs(got - want.astype(float))
        assert (off <= 1.01).mean() > 0.98 and off.mean() < 0.33
    host = YuvImage.letterboxed(images, rule)
    assert np.abs(canvases[1] - canvases[0].astype(float)).mean() < np.abs(host - canvases[0].astype(float)).mean()
