"""The pseudo-ground-truth workflow: process images, make the file, look through it in a real browser, keep it."""

import base64
import io
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

import browser
import needs
from cliffvid.evaluate.options import PseudoGTViewOptions
from clips import make_clip
from pseudogt_files import SIZES, gt_arrays, save_images


@pytest.fixture
def gt(tmp_path):
    """A file in the official layout and its images: six people, two an image, made with no licensed body."""
    from cliffvid.evaluate.pseudogt.files import write_npz

    save_images(tmp_path / "images", 6)
    write_npz(tmp_path / "gt.npz", gt_arrays(6), {"body": {"name": "open-body"}})
    return tmp_path / "gt.npz"


def pictures_of(page):
    text = page.read_text(encoding="utf-8")
    items = json.loads(text.split('id="data">')[1].split("</script>")[0])
    for item in items:
        item["pictures"] = [np.array(Image.open(io.BytesIO(base64.b64decode(p)))).astype(int) for p in item["pictures"]]
    return items


@pytest.mark.usefixtures("egl")
def test_from_images_to_a_file_and_a_page(cliffvid, tmp_path):
    """All of it by the command line, on images with people whose number is known."""
    import av

    with av.open(make_clip(tmp_path / "clip.mp4", frames=3, people=2)) as clip:
        for i, frame in enumerate(clip.decode(video=0)):
            (tmp_path / "im").mkdir(exist_ok=True)
            frame.to_image().save(tmp_path / "im" / f"{i}.png")
    assert cliffvid("process", "im", "-o", "im.parquet")[0] == 0
    code, out, err = cliffvid("pseudogt", "make", "im.parquet", "im", "-o", "gt.npz", toy_models=False)
    assert (code, out) == (0, "") and "gt.npz: 6 rows, 3 images" in err and "have confidence 0" in err
    code, out, err = cliffvid("pseudogt", "info", "gt.npz", "--images", "im", toy_models=False)
    assert (code, err) == (0, "") and "gt.npz: 6 rows, 3 images, up to 2 people in one" in out
    assert "body open-body" in out and "nowhere sure: head top, thorax, spine" in out
    told = json.loads(cliffvid("pseudogt", "info", "gt.npz", "--json", toy_models=False)[1])
    assert told["rows"] == 6 and told["reprojection_px"]["max"] < 1e-3 and told["bad"]["reprojection"] == 0
    assert cliffvid("pseudogt", "convert", "gt.npz", "-o", "gt.parquet", toy_models=False)[0] == 0
    assert cliffvid("pseudogt", "convert", "gt.parquet", "-o", "again.npz", toy_models=False)[0] == 0
    with np.load("gt.npz") as before, np.load("again.npz") as after:
        assert {key: after[key].tobytes() for key in after} == {key: before[key].tobytes() for key in before}
    code, _, err = cliffvid(
        "pseudogt", "view", "gt.npz", "--images", "im", "-o", "v.html", "--max", 2, toy_models=False
    )
    assert code == 0 and "v.html: 2 of 3 images" in err
    assert [item["name"] for item in pictures_of(tmp_path / "v.html")] == ["0.png", "1.png"]


@pytest.mark.usefixtures("egl")
def test_pictures_show_people_where_they_are(gt, tmp_path):
    from cliffvid.evaluate.pseudogt.page import view
    from cliffvid.models.body import load_body

    arrays = gt_arrays(6)
    page = view(gt, tmp_path / "images", tmp_path / "v.html")
    assert (page.shown, page.total, page.missing) == (3, 3, 0)
    body = load_body("open-body")
    for k, item in enumerate(pictures_of(tmp_path / "v.html")):
        image, keypoints, front, side = item["pictures"]
        size = np.array(SIZES[k % 3])
        scale = image.shape[1] / size[0]
        assert all(picture.shape == image.shape for picture in item["pictures"]) and len(item["subjects"]) == 2
        assert abs(int(image[:, 5].mean()) - 160) < 4 and abs(int(image[:, -5].mean()) - 90) < 4
        for row in (2 * k, 2 * k + 1):
            given = (arrays[key][row : row + 1] for key in ("pose", "shape", "global_t"))
            pose, betas, place = given
            joints = body.joints(pose[:, :3], pose[:, 3:], betas, place)[0]
            depth = arrays["global_t"][2 * k : 2 * k + 2, 2].mean()
            turned = np.stack([depth - joints[:, 2], joints[:, 1], depth + joints[:, 0]], axis=1)
            for picture, at, least in ((keypoints, joints, 40), (front, joints, 20), (side, turned, 40)):
                seen = (at[:, :2] / at[:, 2:] * arrays["focal_l"][row] + size / 2) * scale
                for joint in (4, 5, 16, 17):  # knees, shoulders
                    u, v = np.rint(seen[joint]).astype(int)
                    if 2 <= u < image.shape[1] - 2 and 2 <= v < image.shape[0] - 2:
                        was = image[v, u] if picture is not side else [22, 24, 27]
                        assert np.abs(picture[v, u] - was).max() > least, (k, row, joint)


def test_subjects_one_by_one_without_a_body_or_a_renderer(gt, tmp_path):
    from cliffvid.evaluate.pseudogt.page import view

    page = view(gt, tmp_path / "images", tmp_path / "v.html", PseudoGTViewOptions("subject", 3, 1, skeleton_only=True))
    assert (page.shown, page.total) == (3, 6)
    items = pictures_of(tmp_path / "v.html")
    assert [item["subjects"][0].split(" · ")[0] for item in items] == ["row 1", "row 2", "row 3"]
    assert f"annot_id {gt_arrays(6)['annot_id'][1]}" in items[0]["subjects"][0]
    for item in items:
        image, keypoints, front, _ = item["pictures"]
        mask, solid = (np.abs(picture - image).max(axis=2) > 60 for picture in (keypoints, front))
        assert (mask & solid).sum() > 0.8 * mask.sum() > 50  # S lies on part
    arrays = gt_arrays(6)
    side = items[1]["pictures"][3]
    drawn = np.argwhere(np.abs(side - [22, 24, 27]).max(axis=2) > 60)
    joints = arrays["S"][2][arrays["S"][2][:, 3] > 0]
    wide, high = np.ptp(joints[:, 2]), np.ptp(joints[:, 1])  # from the side depth is width
    assert np.ptp(drawn[:, 1]) / np.ptp(drawn[:, 0]) == pytest.approx(wide / high, rel=0.2)
    os.remove(tmp_path / "images" / "train" / "000000.jpg")
    page = view(gt, tmp_path / "images", tmp_path / "w.html", PseudoGTViewOptions(skeleton_only=True))
    assert (page.shown, page.missing) == (2, 1)


def test_mistakes_are_told(cliffvid, gt):
    def told(*args):
        code, out, err = cliffvid("pseudogt", *args, toy_models=False)
        assert out == ""
        return code, err

    code, err = told("view", gt, "--images", "none", "-o", "v.html")
    assert code == 1 and "none: no such folder" in err
    code, err = told("view", gt, "--images", "images", "-o", "v.html", "--per", "day")
    assert code == 2 and "choose one of image, subject" in err
    code, err = told("view", gt, "--images", ".", "-o", "v.html", "--skeleton-only")
    assert code == 1 and "none of the 3 requested images exists, for example train/000000.jpg" in err
    code, err = told("view", gt, "--images", "images", "-o", "v.html", "--start", 3, "--skeleton-only")
    assert code == 1 and "holds 3 images, none from --start 3 on" in err
    code, err = told("view", gt, "--images", "images", "-o", "v.html", "--body", "smpl")
    assert code == 2 and "SMPL_NEUTRAL.pkl" in err and "add-body" in err
    code, err = told("convert", gt, "-o", "b.csv")
    assert code == 2 and "from .npz to .parquet" in err
    code, err = told("convert", gt, "-o", gt)
    assert code == 2
    code, err = told("make", gt, "images", "-o", "b.npz")
    assert code == 1 and "gt.npz: not a tracks file" in err
    assert not any(os.path.exists(name) for name in ("v.html", "b.csv", "b.npz", "v.html.part"))


@pytest.mark.usefixtures("egl")
def test_arrow_keys_move_in_a_real_browser(gt, tmp_path):
    """No console error, nothing fetched, the pictures there, and no way past either end."""
    from cliffvid.evaluate.pseudogt.page import view

    if lacking := browser.missing():
        needs.lacks("chromium", f"{', '.join(lacking)} is not installed")
    page = tmp_path / "v.html"
    view(gt, tmp_path / "images", page)
    with browser.Browser(tmp_path / "profile") as window:
        window.requests()
        window.open(page)
        assert window.until("document.body.dataset.ready") == "true"

        def state():
            window.until("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
            return window.run(
                "return [document.body.dataset.item, document.querySelector('h1').textContent,"
                " document.querySelector('output').textContent, document.querySelectorAll('li').length]"
            )

        first, last = ["0", "train/000000.jpg", "1 / 3", 2], ["2", "train/000002.jpg", "3 / 3", 2]
        assert state() == first
        boxes = "[...document.images].map((i) => i.getBoundingClientRect()).map((b) => [b.x, b.y, b.width, b.height])"
        places = np.array(window.run(f"return {boxes}"))
        assert (places[:, 2:] > 150).all() and (places[:, :2] + places[:, 2:] <= [1200, 900]).all()
        shot = cv2.imdecode(np.frombuffer(window.picture(), np.uint8), cv2.IMREAD_COLOR)
        x, y, width, height = places[0]
        shown = 640 / 480 * height  # object-fit: contain
        v, u = int(y + height / 2), int(x + width / 2 - shown / 4)
        assert abs(int(shot[v, u].mean()) - 160) < 4  # the image's bright half
        window.key("ArrowLeft")
        assert state() == first
        window.key("ArrowRight")
        assert state() == ["1", "train/000001.jpg", "2 / 3", 2]
        for _ in range(3):
            window.key("ArrowRight")
        assert state() == last
        window.key("Home")
        assert state() == first
        window.click("button[data-do='1']")
        assert state()[0] == "1"
        assert window.log() == []
        assert window.requests() == [page.as_uri()]
