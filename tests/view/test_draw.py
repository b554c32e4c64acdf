import numpy as np

from cliffvid.geometry import project
from cliffvid.models.body import load_body
from cliffvid.tables import Tracks
from cliffvid.tracks.colors import track_color
from cliffvid.view.draw import draw_boxes, draw_ids, draw_skeletons


def one_person(transl, focal_px=500.0):
    columns = {
        name: np.zeros((1, *column.shape[1:]), column.dtype)
        for name, column in Tracks.empty(pose=69, shape=10).columns().items()
    }
    columns["global_orient"][:] = [np.pi, 0, 0]
    columns["transl"][:] = transl
    columns["focal_px"][:] = focal_px
    columns["track_id"][:] = 7
    columns["bbox_xyxy"][:] = [10, 10, 20, 30]
    return Tracks(**columns)


def test_joints_are_drawn_where_they_project():
    """A white dot at every joint's pixel, bones in the track's colour between them, nothing elsewhere."""
    person, body = one_person([0.3, 0.1, 3.0]), load_body("open-body")
    image = np.zeros((480, 640, 3), np.uint8)
    joints = body.joints(person.global_orient, person.body_pose, person.betas, person.transl)
    draw_skeletons(image, person, joints, body.parents, (320, 240))
    points = project(joints, person.focal_px, (320, 240))[0]
    dots = np.argwhere(image.min(axis=2) > 200)[:, ::-1] + 0.5
    gap = np.linalg.norm(points[:, None] - dots[None], axis=-1)
    assert gap.min(axis=1).max() < 1 and gap.min(axis=0).max() < 2.5
    for joint, parent in enumerate(body.parents):
        x, y = (points[joint] + points[max(parent, 0)]) / 2
        around = image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].reshape(-1, 3).astype(int)
        colored = np.abs(around - track_color(7)).max(axis=1) < 100  # two pixels share a thin line
        assert colored.any() or (around.min(axis=1) > 200).any()
    drawn = np.argwhere(image.any(axis=2))[:, ::-1]
    assert (drawn >= points.min(axis=0) - 3).all() and (drawn <= points.max(axis=0) + 3).all()


def test_an_impossible_camera_draws_no_skeleton_and_its_box():
    image, person, body = np.zeros((48, 64, 3), np.uint8), one_person([0, 0, 1e-9]), load_body("open-body")
    joints = body.joints(person.global_orient, person.body_pose, person.betas, person.transl)
    draw_skeletons(image, person, joints, body.parents, (320, 240))
    assert not image.any()
    draw_boxes(image, person)
    assert image[10:31, 10].any(axis=1).all() and not image[32:].any()
    before = image.copy()
    draw_ids(image, person)
    assert (image != before).any()


def test_colours_are_steady_and_told_apart():
    assert track_color(3) == track_color(3)
    colors = np.array([track_color(i) for i in range(1, 9)])
    far = np.abs(colors[:, None] - colors[None]).max(axis=-1) + 255 * np.eye(8)
    assert far.min() > 40


def test_labels_of_people_at_one_place_are_all_readable():
    """Each label has as many pixels of its colour as if it were alone."""
    places = [
        [40, 30, 60, 90],
        [44, 27, 80, 99],
        [42, 44, 70, 90],
        [38, 2, 60, 90],
        [41, 3, 60, 90],
        [200, 30, 220, 90],
    ]

    def written(boxes, ids):
        people = Tracks(
            **{name: column.repeat(len(ids), axis=0) for name, column in one_person([0, 0, 3]).columns().items()}
        )
        people.bbox_xyxy[:], people.track_id[:] = boxes, ids
        image = np.zeros((480, 2560, 3), np.uint8)  # pens two pixels wide
        draw_ids(image, people, scores=True)
        return [int((image == track_color(i)).all(axis=2).sum()) for i in ids]

    ids = [1, 2, 3, 4, 5, 6]
    alone = [written([box], [i])[0] for box, i in zip(places, ids, strict=True)]
    assert written(places, ids) == alone and min(alone) > 10
