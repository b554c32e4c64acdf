"""Golden scenes: both renderers against a plain numpy rasteriser, and against each other."""

import sys
import threading

import numpy as np
import pytest

import needs
import reference
from cliffvid.errors import BackendError, UsageError
from cliffvid.geometry import camera_to_side
from cliffvid.models.body import load_body
from cliffvid.view.renderers import RENDERERS, Patch, Scene, compose, groups, open_renderer
from scenes import SCENES, scene

needs.package("pyrender")

pytestmark = pytest.mark.usefixtures("egl")
CASES = [(name, renderer) for name in SCENES for renderer in RENDERERS]


def picture(renderer: str, what: Scene) -> np.ndarray:
    """The whole frame (H,W,4): colours times coverage, coverage."""
    width, height = what.size_wh
    whole = np.zeros((height, width, 4), np.uint8)
    for patch in open_renderer(renderer).render(what):
        h, w = patch.rgba.shape[:2]
        part = whole[patch.top_px : patch.top_px + h, patch.left_px : patch.left_px + w]
        assert part.shape == patch.rgba.shape and not part.any()
        part[:] = patch.rgba
    return whole


@pytest.fixture(scope="module")
def truth():
    """For each scene the depth (P,H,W) of each person alone."""
    return {
        name: np.stack([reference.depth_map(v, made.levels[0][1], made.focal_px, made.size_wh) for v in made.vertices])
        for name, made in ((name, scene(*what)) for name, what in SCENES.items())
    }


@pytest.mark.parametrize("name, renderer", CASES)
def test_people_are_drawn_where_they_project_and_the_nearer_hides_the_farther(name, renderer, truth):
    drawn = picture(renderer, scene(*SCENES[name]))
    depth = truth[name]
    seen = np.isfinite(depth).any(axis=0)
    assert reference.mask_iou(drawn[..., 3] >= 128, seen) >= 0.98
    winner, colored = depth.argmin(axis=0), drawn[..., :3].argmax(axis=2)
    for person in range(len(depth)):
        mine = seen & (winner == person)
        assert mine.sum() > 300
        assert reference.mask_iou(mine, (drawn[..., 3] >= 128) & (colored == person)) >= 0.97


@pytest.mark.parametrize("name", SCENES)
def test_the_renderers_agree(name):
    fast, slow = (picture(renderer, scene(*SCENES[name])) for renderer in RENDERERS)
    masks = fast[..., 3] >= 128, slow[..., 3] >= 128
    assert reference.mask_iou(*masks) >= 0.99
    both = masks[0] & masks[1]
    assert (fast[both][:, :3].argmax(axis=1) == slow[both][:, :3].argmax(axis=1)).mean() >= 0.99


@pytest.mark.parametrize("renderer", RENDERERS)
def test_edges_are_smooth_and_bodies_are_shaded(renderer):
    drawn = picture(renderer, scene(*SCENES["plain"]))
    coverage = drawn[..., 3]
    partly = (coverage > 0) & (coverage < 255)
    outline = (coverage >= 128) ^ np.roll(coverage >= 128, 1, axis=1)
    assert partly.sum() > 0.5 * outline.sum()
    assert (drawn[..., :3].max(axis=2) <= np.maximum(coverage, 1)).mean() > 0.99  # multiplied by coverage
    red = drawn[(coverage == 255) & (drawn[..., :3].argmax(axis=2) == 0)][:, 0]
    assert np.percentile(red, 95) > 1.3 * np.percentile(red, 5)


def test_the_light_comes_from_above():
    made = scene(*SCENES["plain"])
    for renderer in RENDERERS:
        drawn = picture(renderer, made)
        normals = made.normals[0]
        at = made.vertices[0][:, :2] / made.vertices[0][:, 2:] * made.focal_px + np.array(made.size_wh) / 2
        x, y = np.clip(at.astype(int), 0, np.array(made.size_wh) - 1).T
        depth = reference.depth_map(made.vertices[0], made.levels[0][1], made.focal_px, made.size_wh)
        front = np.abs(made.vertices[0][:, 2] - depth[y, x]) < 0.01
        up, down = front & (normals[:, 1] < -0.5), front & (normals[:, 1] > 0.5)
        assert drawn[y, x, 0][up].mean() > 1.2 * drawn[y, x, 0][down].mean()


def test_who_is_behind_the_camera_is_not_drawn():
    for renderer in RENDERERS:
        assert not picture(renderer, scene([[0, 0, -5.0]], 300, (160, 120))).any()
        assert picture(renderer, scene([[0, 0, -5.0], [0, 0, 4.0]], 300, (160, 120))).any()


def test_the_side_view_is_the_same_body_seen_from_the_right_angle():
    """+90 degrees about the vertical axis: what was far is on the left, what was on the right is far."""
    body = load_body("open-body")
    made = scene(*SCENES["plain"])
    centre = np.array([0, 0, 4.7])
    side = camera_to_side(made.vertices, 4.7)
    angle = np.pi / 2
    about_y = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    camera_axes = about_y  # the camera's axes turned by +90 degrees, as columns
    np.testing.assert_allclose(side, (made.vertices - centre) @ camera_axes + centre, atol=1e-5)
    for renderer in RENDERERS:
        turned = Scene(
            made.size_wh, made.focal_px, made.center_px, made.levels, side, camera_to_side(made.normals, 0), made.colors
        )
        drawn = picture(renderer, turned)
        seen = [np.isfinite(reference.depth_map(v, body.faces, made.focal_px, made.size_wh)) for v in side]
        assert reference.mask_iou(drawn[..., 3] >= 128, seen[0] | seen[1]) >= 0.98


def test_a_renderer_serves_one_thread_after_another_and_sizes_in_turn():
    def draw(size):
        for renderer in RENDERERS:
            pictures[size, renderer] = picture(renderer, scene([[0, 0.1, 4.0]], size[0], size))

    pictures = {}
    for size in [(160, 120), (320, 240), (160, 120), (200, 300)]:
        thread = threading.Thread(target=draw, args=(size,))
        thread.start()
        thread.join()
    assert len(pictures) == 6
    for (size, _), drawn in pictures.items():
        assert drawn.shape == (size[1], size[0], 4) and (drawn[..., 3] > 0).sum() > 500


def test_composing():
    image = np.full((4, 6, 3), 100, np.uint8)
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0] = [200, 0, 40, 255]
    rgba[1] = [100, 0, 20, 128]
    compose(image, [Patch(2, 1, rgba)], 0.5)
    np.testing.assert_allclose(image[1, 2:5], [[150, 50, 70]] * 3, atol=1)
    np.testing.assert_allclose(image[2, 2:5], [[125, 75, 85]] * 3, atol=1)
    image[1:3, 2:5] = 100
    assert (image == 100).all()


def test_people_are_grouped_by_overlap():
    boxes = np.array([[0, 0, 10, 10], [40, 0, 50, 10], [8, 8, 20, 20], [5, 5, 5, 9], [18, 0, 30, 9]])
    found = sorted((box.tolist(), sorted(people.tolist())) for box, people in groups(boxes))
    assert found == [([0, 0, 30, 20], [0, 2, 4]), ([40, 0, 50, 10], [1])]


def test_a_renderer_that_is_not_there_says_what_to_install(monkeypatch):
    with pytest.raises(UsageError, match="choose one of auto, gl, pyrender"):
        open_renderer("vulkan")
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(BackendError, match=r'pip install "cliffvid\[overlay\]", or draw skeletons'):
        open_renderer.__wrapped__("gl")
