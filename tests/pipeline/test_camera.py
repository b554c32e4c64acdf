"""Known cameras: the principal point is in every formula, from the crop's place to what is drawn."""

import json

import numpy as np
import pytest

from cliffvid import ConvertOptions, Options, convert, process, read_meta, read_tracks
from cliffvid.errors import InputError, UsageError
from cliffvid.geometry import camera_to_transl, principal_point_px, project
from cliffvid.pipeline.crop import crop
from cliffvid.pipeline.detect import given
from cliffvid.tables import Frames, image_column
from cliffvid.tracks.boxes import Boxes
from cliffvid.video.images.rgb import RgbImage
from clips import film, picture

FOCAL_PX, CENTER_PX = 700.0, (250.0, 310.5)


def test_a_body_filmed_by_an_off_centre_camera_is_where_it_was():
    """The crop camera of a body, found by projecting it, gives its place in the full frame's camera back."""
    transl = np.array([[0.7, 0.2, 6.0]])
    points = np.array([[[0.0, 0, 0], [0, 0.4, 0], [0.3, 0, 0]]])
    seen = project(points + transl[:, None], np.array([FOCAL_PX]), CENTER_PX)[0]
    size_px, middle = 300.0, seen[0] + [12, -7]  # of a crop that is not centred on the person
    # weak perspective: a point at the body's depth lands at (s x + s tx, s y + s ty) half crops from the crop's middle
    half = (seen - middle) / (size_px / 2)
    scale = (half[2, 0] - half[0, 0]) / 0.3
    assert scale == pytest.approx((half[1, 1] - half[0, 1]) / 0.4)
    camera = np.array([[scale, *half[0] / scale]])
    found = camera_to_transl(camera, np.array([[*middle, size_px]]), np.array([FOCAL_PX]), np.array([CENTER_PX]))
    np.testing.assert_allclose(found, transl, atol=1e-6)


@pytest.fixture
def wide(tmp_path):
    """A clip, the same cut to an off-centre window, and boxes of the people in both."""
    left, top, width, height = 32, 16, 128, 96
    pictures = [picture(index, 2, 192, 144) for index in range(4)]
    lossless = {"codec": "ffv1", "pix_fmt": "bgr0", "options": {}}
    whole = film(tmp_path / "whole.mkv", pictures, **lossless)
    cut = [np.ascontiguousarray(each[top : top + height, left : left + width]) for each in pictures]
    part = film(tmp_path / "part.mkv", cut, **lossless)
    for name, x, y in (("whole", 0, 0), ("part", left, top)):
        box = 70 - x, 45 - y, 90 - x, 75 - y
        rows = ["frame_idx,x0,y0,x1,y1", *(",".join(map(str, (frame, *box))) for frame in range(4))]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    return whole, part, (96 - left, 72 - top)


def test_cutting_a_frame_changes_nothing_where_the_principal_point_moves_along(wide, toys, tmp_path):
    whole, part, (cx_px, cy_px) = wide
    common = {"models_dir": toys, "regressor": "toy-regressor", "threads": 1, "focal_px": 240.0}
    process(whole, tmp_path / "a.npz", Options(boxes=tmp_path / "whole.csv", **common))
    process(part, tmp_path / "b.npz", Options(boxes=tmp_path / "part.csv", cx_px=cx_px, cy_px=cy_px, **common))
    process(part, tmp_path / "c.npz", Options(boxes=tmp_path / "part.csv", **common))
    a, b, centred = (read_tracks(tmp_path / f"{name}.npz") for name in "abc")
    np.testing.assert_allclose(b.transl, a.transl, atol=1e-5)
    np.testing.assert_array_equal(b.betas, a.betas)  # of the same pixels
    assert np.abs(centred.transl - a.transl).max() > 0.02
    assert read_meta(tmp_path / "b.npz")["settings"]["cx_px"] == cx_px
    assert "cx_px" not in read_meta(tmp_path / "a.npz")["settings"]


def test_the_regressor_is_told_the_place_of_the_crop_from_the_principal_point():
    from cliffvid.models.registry import find_model

    manifest = find_model("regress", "cliff-open", None)
    frames = Frames(
        frame_idx=np.arange(1),
        pts=np.arange(1),
        time_s=np.zeros(1),
        damaged=np.zeros(1, bool),
        images=image_column([RgbImage(np.zeros((480, 640, 3), np.uint8))]),
    )
    boxes = Boxes(np.zeros(1, np.int64), np.float32([[200, 200, 300, 400]]), np.ones(1, np.float32))
    scale = manifest.rules["bbox_info"].centre_scale
    for center in (None, (250.0, 310.5)):
        cx_px, cy_px = center or (None, None)
        (made,) = crop([given(frames, boxes)], manifest, Options(focal_px=500, cx_px=cx_px, cy_px=cy_px))
        expected = np.subtract((250, 300), principal_point_px((640, 480), cx_px, cy_px)) / 500 * scale
        np.testing.assert_allclose(made.bbox_info[0, :2], expected, atol=1e-6)


def test_what_is_converted_and_drawn_has_the_same_camera(wide, toys, tmp_path):
    import struct

    from cliffvid.tracks.meta import center_px
    from cliffvid.view.options import OverlayOptions
    from cliffvid.view.overlay import Painter

    part, cx_px = wide[1], wide[2][0]
    options = Options(
        models_dir=toys, regressor="toy-regressor", boxes=tmp_path / "part.csv", focal_px=240, cx_px=cx_px
    )
    process(part, tmp_path / "b.parquet", options)
    rows, meta = read_tracks(tmp_path / "b.parquet"), read_meta(tmp_path / "b.parquet")
    assert center_px(meta, (128, 96)) == (cx_px, 48.0)
    painter = Painter(OverlayOptions(view="skeleton"), "open-body", meta)
    image = np.zeros((96, 128, 3), np.uint8)
    person = rows[:1]
    joints = painter.body.joints(person.global_orient, person.body_pose, person.betas, person.transl)
    painter.views(image, person, joints, None, None)
    at = project(joints, person.focal_px, (cx_px, 48.0))[0]
    dots = np.argwhere(image.min(axis=2) > 200)[:, ::-1] + 0.5
    inside = at[((at > 2) & (at < [126, 94])).all(axis=1)]
    assert len(inside) and np.linalg.norm(inside[:, None] - dots[None], axis=-1).min(axis=1).max() < 1.5
    convert(tmp_path / "b.parquet", tmp_path / "b.glb", ConvertOptions(to="gltf", skeleton_only=True))
    data = (tmp_path / "b.glb").read_bytes()
    camera = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])["cameras"][0]["perspective"]
    assert camera["aspectRatio"] == pytest.approx(2 * max(cx_px, 128 - cx_px) / 96)


GOOD = {"focal_px": 240, "cx_px": 64, "cy_px": 56}


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"cx_px": 3}, "needs focal_px or fov_deg"),
        (GOOD | {"fov_deg": 60}, "--focal-px and --fov-deg"),
        (GOOD | {"focal_px": 0}, "--focal-px 0: must be a number, 1 to 1e+09"),
        ({"focal_px": 1e39}, "--focal-px 1e+39: must be"),  # infinite in a row's float32
        ({"fov_deg": 1e-39}, "--fov-deg 1e-39: must be"),
        (GOOD | {"focal_px": "a"}, "focal_px is 'a', expected a number"),
        (GOOD | {"cx_px": float("nan")}, "cx_px is nan"),
        (GOOD | {"focal": 3}, "unknown key 'focal'"),
        (GOOD | {"width_px": 128}, "width_px and height_px"),
        (GOOD | {"width_px": 0, "height_px": 96}, "width_px is 0"),
        ([], "expected an object"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_impossible_camera_files_are_refused_by_name(camera, words, tmp_path):
    path = tmp_path / "cam.json"
    path.write_text(camera if isinstance(camera, str) else json.dumps(camera))
    with pytest.raises((InputError, UsageError)) as error:
        Options().with_camera(path)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_cameras_that_do_not_fit_the_options_or_the_video_are_refused(wide, cliffvid, tmp_path):
    with pytest.raises(UsageError, match="need the focal length"):
        Options(cx_px=3)
    path = tmp_path / "cam.json"
    for camera, words, more in (
        (GOOD | {"width_px": 192, "height_px": 144}, "frames of 128 x 96, the camera is of frames of 192 x 144", []),
        (GOOD | {"cx_px": 500}, "principal point 500, 56 is far outside the frame of 128 x 96", []),
        (GOOD, "--camera and --focal-px: give one of them", ["--focal-px", 3]),
        (GOOD | {"width_px": 128, "height_px": 96}, "", []),
    ):
        path.write_text(json.dumps(camera))
        code, _, err = cliffvid("process", wide[1], "--camera", path, "-o", "x.npz", *more)
        assert words in err and (code == 0) == (not words) == (tmp_path / "x.npz").exists()
