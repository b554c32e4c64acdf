"""Images as the official demo takes them: pictures beside the result, and its npz."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cliffvid import read_tracks
from cliffvid.models.body import load_body
from cliffvid.view.stills import distinct_stems
from clips import person_box, picture

ALL = "bbox,front,side"


def photo(path, people=2, size=(192, 144), index=0):
    """People of known places, stored without loss under whatever name."""
    image = picture(index, people, *size)
    Image.fromarray(image).save(path, quality=100, subsampling=0)
    return path


def changed(path, before):
    """Where a picture is far from the image it was drawn on."""
    return np.abs(pixels(path) - pixels(before)).max(axis=2) > 60


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize(("name", "stem"), [("a.b.jpg", "a.b"), ("a.jpeg", "a")])
def test_an_image_as_the_official_demo_shows_it(name, stem, cliffvid, tmp_path):
    photo(tmp_path / name)
    code, out, err = cliffvid("process", name, "--visuals", ALL, "--format", "cliff")
    assert (code, out) == (0, "") and f"3 pictures: {stem}_bbox.jpg, {stem}_front.jpg, {stem}_side.jpg" in err
    made = {f"{stem}_cliff.npz", *(f"{stem}_{kind}.jpg" for kind in ALL.split(","))}
    assert set(names(tmp_path)) == {name, *made}
    tracks = read_tracks(tmp_path / f"{stem}_cliff.npz")
    front, boxes = (changed(tmp_path / f"{stem}_{kind}.jpg", tmp_path / name) for kind in ("front", "bbox"))
    crops, inside = np.zeros_like(front), np.zeros_like(front)
    for row in range(2):
        cx, cy, height = tracks.crop_center_size_px[row]
        crop = (
            slice(max(int(cy - height / 2), 0), int(cy + height / 2) + 1),
            slice(max(int(cx - 0.375 * height), 0), int(cx + 0.375 * height) + 1),
        )
        crops[crop] = True
        assert front[crop].sum() > 60  # a body is there
        x0, y0, x1, y1 = np.rint(tracks.bbox_xyxy[row]).astype(int)
        inside[y0 + 14 : y1 - 1, x0 + 2 : x1 - 1] = True
        assert boxes[y0 : y1 + 1, x0 - 1 : x0 + 2].any() and boxes[y0 : y1 + 1, x1 - 1 : x1 + 2].any()
    assert not front[~crops].any()
    assert boxes[4:12, 30:40].any()  # the score, beside a box at the upper edge
    assert not boxes[inside].any()
    side = pixels(tmp_path / f"{stem}_side.jpg")
    assert side.shape == (144, 192, 3) and np.median(side) < 40 < side.max()


@pytest.mark.usefixtures("egl")
def test_the_side_is_seen_from_the_right_angle(cliffvid, tmp_path):
    """Two people at one distance, left and right, stand one behind the other from the side: in one column."""
    image = np.full((144, 192, 3), 90, np.uint8)
    image[40:100, 20:50], image[40:100, 142:172] = (255, 0, 0), (0, 255, 0)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert cliffvid("process", "a.png", "--visuals", "side")[0] == 0
    assert names(tmp_path) == ["a.parquet", "a.png", "a_side.jpg"]
    columns = np.nonzero((pixels(tmp_path / "a_side.jpg").max(axis=2) > 60).any(axis=0))[0]
    depth_m = read_tracks(tmp_path / "a.parquet").transl[:, 2]
    assert np.ptp(depth_m) < 0.02 * depth_m.mean()
    assert abs(columns.mean() - 96) < 6 and np.ptp(columns) < 70  # far less than the 122 px between them in front


@pytest.mark.usefixtures("egl")
def test_a_folder_of_mixed_sizes_and_one_image_without_anybody(cliffvid, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "a.jpg", people=1)
    photo(folder / "a.png", people=2, size=(160, 200))
    photo(folder / "b.c.jpeg", people=0)
    photo(folder / "d.png", people=3, size=(321, 241), index=5)
    (folder / "notes.txt").write_text("")
    code, out, _ = cliffvid("process", "in", "-o", "out/r.parquet", "--visuals", ALL, "--json")
    patterns = [f"out/r_visuals/*_{kind}.jpg" for kind in ("bbox", "front", "side")]
    assert code == 0 and json.loads(out)["visuals"] == patterns
    shown = {"a.jpg": "a.jpg", "a.png": "a.png", "b.c.jpeg": "b.c", "d.png": "d"}
    place = tmp_path / "out" / "r_visuals"
    assert names(place) == sorted(f"{stem}_{kind}.jpg" for stem in shown.values() for kind in ALL.split(","))
    for name, stem in shown.items():
        for kind in ALL.split(","):
            assert pixels(place / f"{stem}_{kind}.jpg").shape == pixels(folder / name).shape
        drawn = [changed(place / f"{stem}_{kind}.jpg", folder / name).any() for kind in ("bbox", "front")]
        assert drawn == [name != "b.c.jpeg"] * 2
    assert pixels(place / "b.c_side.jpg").max() < 40
    assert cliffvid("process", "in/*.png", "-o", "p.npz", "--format", "cliff", "--visuals", "bbox")[0] == 0
    assert names(tmp_path / "p_visuals") == ["a_bbox.jpg", "d_bbox.jpg"]
    with np.load(tmp_path / "p.npz", allow_pickle=False) as cliff:
        assert cliff["imgname"].tolist() == ["a.png", "d.png"]


def test_stems_stay_apart():
    assert distinct_stems(["a.jpg", "b.x.jpg"]) == ["a", "b.x"]
    assert distinct_stems(["a.jpg", "a.png", "b.png"]) == ["a.jpg", "a.png", "b"]
    assert distinct_stems(["a.jpg", "a.png", "a.jpg.png"]) == ["a.jpg", "a.png", "a.jpg.png"]


@pytest.mark.parametrize("kind", ["images", "video"])
def test_the_official_npz_says_what_the_parquet_says(kind, cliffvid, clip, tmp_path):
    """The same run twice; the joints are the body's, and both are drawn from alike."""
    if kind == "images":
        (tmp_path / "in").mkdir()
        for index, people in enumerate((2, 0, 3)):
            photo(tmp_path / "in" / f"{index}.png", people, index=index)
    source = "in" if kind == "images" else clip
    assert cliffvid("process", source, "-o", "r.parquet")[0] == 0
    assert cliffvid("process", source, "--format", "cliff", "-o", ".")[0] == 0
    told = read_tracks(tmp_path / "r.parquet")
    path = tmp_path / ("in_cliff.npz" if kind == "images" else "clip_cliff.npz")
    with np.load(path, allow_pickle=False) as archive:
        cliff = dict(archive)
    assert len(told) == (5 if kind == "images" else 90)
    np.testing.assert_array_equal(cliff["pose"], np.hstack([told.global_orient, told.body_pose]))
    for key, column in {"shape": told.betas, "global_t": told.transl, "focal_l": told.focal_px}.items():
        np.testing.assert_array_equal(cliff[key], column)
    np.testing.assert_array_equal(cliff["detection_all"][:, 0], told.frame_idx)
    np.testing.assert_array_equal(cliff["detection_all"][:, 1:5], told.bbox_xyxy)
    np.testing.assert_array_equal(cliff["detection_all"][:, 5], told.det_score)
    assert (cliff["detection_all"][:, 6:] == [1, 0]).all()
    files = ["0.png", "1.png", "2.png"] if kind == "images" else [f"{i + 1:06d}.png" for i in range(30)]
    assert cliff["imgname"].tolist() == files
    joints = load_body("open-body").joints(told.global_orient, told.body_pose, told.betas, told.transl)
    np.testing.assert_allclose(cliff["pred_joints"][:, :24], joints, atol=1e-5)
    for row in cliff["detection_all"][:5]:  # what detection_all names is where the people were painted
        boxes = [person_box(k, int(row[0]), 192, 144) for k in range(3)]
        assert min(np.abs(row[1:5] - box).max() for box in boxes) <= 3


def test_what_cannot_be_is_refused_before_the_work(cliffvid, clip, tmp_path):
    photo(tmp_path / "a.jpg")

    def refused(words, *args):
        before = names(tmp_path)
        code, _, err = cliffvid("process", *args)
        assert code == 2 and words in err and names(tmp_path) == before, err

    refused("--visuals draws images; for a video use --overlay", clip, "--visuals", "bbox")
    refused("--visuals top: choose one of bbox, front, side", "a.jpg", "--visuals", "top")
    refused(": choose one of bbox, front, side", "a.jpg", "--visuals", "")
    (tmp_path / "a_bbox.jpg").write_text("mine")
    refused("a_bbox.jpg: exists already", "a.jpg", "--visuals", "bbox,front")
    assert (tmp_path / "a_bbox.jpg").read_text() == "mine"
    assert cliffvid("process", "a.jpg", "--visuals", "bbox", "--overwrite")[0] == 0
    assert pixels(tmp_path / "a_bbox.jpg").shape == (144, 192, 3)
    (tmp_path / "x_visuals").mkdir()
    photo(tmp_path / "x_visuals" / "i_bbox.jpg")
    photo(tmp_path / "x_visuals" / "i.jpg")
    refused("a_bbox.jpg: is one of the images to process", "a.jpg", "a_bbox.jpg", "--visuals", "bbox", "--overwrite")
    refused("is one of the images to process", "x_visuals", "-o", "x.npz", "--visuals", "bbox", "--overwrite")


def test_boxes_need_no_renderer_and_bodies_say_so_first(toys, tmp_path):
    photo(tmp_path / "a.jpg")
    toy = ["--models", toys, "--detector", "toy-detector", "--regressor", "toy-regressor"]

    def run(kinds):
        command = [sys.executable, "-m", "cliffvid", "process", "a.jpg", "--format", "cliff", "--visuals", kinds, *toy]
        blind = os.environ | {"__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)}
        return subprocess.run(command, env=blind, cwd=tmp_path, capture_output=True, text=True)

    done = run("side")
    assert done.returncode == 1 and "apt-get install libegl1" in done.stderr and names(tmp_path) == ["a.jpg"]
    assert run("bbox").returncode == 0
    assert names(tmp_path) == ["a.jpg", "a_bbox.jpg", "a_cliff.npz"]


def test_a_picture_that_cannot_be_written_leaves_no_half(cliffvid, tmp_path, monkeypatch):
    """The disk is full at the third picture: the first two are whole, of it there is nothing."""
    (tmp_path / "in").mkdir()
    for index in range(4):
        photo(tmp_path / "in" / f"{index}.png", index=index)
    save, saved = Image.Image.save, []

    def full(image, file, *given, **more):
        saved.append(image)
        if len(saved) == 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(image, file, *given, **more)

    monkeypatch.setattr(Image.Image, "save", full)
    code, _, err = cliffvid("process", "in", "--visuals", "bbox")
    assert code == 1 and "2_bbox.jpg: cannot write it" in err and "No space left" in err
    assert names(tmp_path / "in_visuals") == ["0_bbox.jpg", "1_bbox.jpg"]
    assert pixels(tmp_path / "in_visuals" / "1_bbox.jpg").shape == (144, 192, 3)
