"""A camera that moves is told from one that stands, whatever people and light do."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cliffvid import process, read_meta
from cliffvid.tables import Frames
from cliffvid.video.shots import CameraMotion
from clips import COLORS, person_box
from clips import film as make_film
from plane_frames import rgb_images

FILM = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
RATE, WH = 10.0, (480, 360)  # of the film, and of the part of it that is seen


@pytest.fixture(scope="module")
def film():
    with av.open(str(FILM)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def seen(image, x=144.0, y=108.0, zoom=1.0):
    """What a camera sees that is turned so far, in pixels, or zoomed in."""
    to = np.float32([[zoom, 0, -x - (zoom - 1) * 384], [0, zoom, -y - (zoom - 1) * 288]])
    return cv2.warpAffine(image, to, WH, flags=cv2.INTER_AREA)


def light(image, gain):
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def hidden(image, k):
    """Somebody close to the camera walks by, and hides most of the frame for a second."""
    left, right = (min(max(at, 0), WH[0]) for at in (30 * k - 400, 30 * k - 60))
    image[40:, left:right] = image[320:0:-1, : right - left] // 2
    return image


def before_a_wall(image, k):
    """Somebody walks before a plain wall: all that is to be seen moves, but it is in few places."""
    wall, x = np.full((*WH[::-1], 3), 120, np.uint8), 130 + k
    wall[120:, x : x + 110] = seen(image)[120:, :110]
    return wall


def train(image, k):
    """A train in most places of the frame, and what stands in the rest."""
    stands = seen(image)
    stands[120:] = seen(image[::-1], 20 + 3 * k)[120:]
    return stands


def fast(image, k):
    """Each 1.5 s all that was in sight has gone out of it."""
    return seen(image[:: 1 - 2 * (k // 15 % 2)], 20 + 4 * (k % 15))


JITTER = np.random.default_rng(0).uniform(-1, 1, (60, 2))
NOISE = np.random.default_rng(1).normal(0, 15, (60, *WH[::-1], 1))
MOVES = {
    "pan": lambda image, k: seen(image, 20 + 0.77 * k),  # 1.6 % of the width a second
    "fast pan": lambda image, k: seen(image, 4.8 * k),
    "tilt": lambda image, k: seen(image, y=20 + 1.0 * k),
    "zoom": lambda image, k: seen(image, zoom=1 + 0.003 * k),
    "handheld": lambda image, k: seen(image, 144 + 15 * np.sin(0.2 * k) + 0.5 * k, 108 + 10 * np.sin(0.31 * k)),
    "fast, and lost at times": fast,
}
STANDS = {
    "stands": lambda image, k: seen(image),
    "jitter": lambda image, k: seen(image, *([144, 108] + JITTER[k])),
    "exposure": lambda image, k: light(seen(image), 0.5 + k / 60),
    "flicker": lambda image, k: light(seen(image), 1 + 0.3 * np.sin(1.7 * k)),
    "fade": lambda image, k: light(seen(image), abs(1 - k / 30)),
    "noise": lambda image, k: np.clip(seen(image) + NOISE[k], 0, 255).astype(np.uint8),
    "somebody close": lambda image, k: hidden(seen(image), k),
    "somebody before a wall": before_a_wall,
    "train": train,
}


def watched(images, batch=16, stride=1, shots=()):
    """The shots in which the camera is found to move, and the watcher."""
    watcher = CameraMotion(list(shots), [], RATE, stride)
    watcher.kept = []
    for start in range(0, len(images), batch * stride):
        at = np.arange(start, min(start + batch * stride, len(images)), stride)
        some = rgb_images(images[index] for index in at)
        watcher.watch(Frames(at, at, at / RATE, np.zeros(len(at), bool), some))
    return watcher.moving, watcher


@pytest.mark.parametrize("kind", MOVES)
def test_a_camera_that_moves_is_told(film, kind):
    assert watched([MOVES[kind](image, k) for k, image in enumerate(film)])[0] == [0]


@pytest.mark.parametrize("kind", STANDS)
def test_a_camera_that_stands_is_not(film, kind):
    assert watched([STANDS[kind](image, k) for k, image in enumerate(film)])[0] == []


def test_each_shot_is_judged_by_itself_whatever_the_batches_and_parts(film):
    """The second of two shots moves, seen in batches, with a stride, and in parts that are joined later."""
    images = [seen(image) for image in film] + [MOVES["pan"](image[::-1], k) for k, image in enumerate(film)]
    for batch, stride in ((1, 1), (7, 1), (120, 1), (4, 3), (1, 7)):
        assert watched(images, batch, stride, [(60, 1)])[0] == [1]
    kept = watched(images)[1].kept
    later = CameraMotion([(60, 1)], [])  # shots are known once all parts are there
    for part in (slice(0, 7), slice(7, None)):
        later.watch_in(kept[part])
    assert later.moving == [1]


def test_tracks_of_a_camera_that_moves_are_the_same_bytes_whatever_the_batches(film, tmp_path, toy_options):
    def pictures():
        for k, image in enumerate(film):
            image = cv2.resize(seen(image, 20 + 3 * k), (192, 144), interpolation=cv2.INTER_AREA) // 2
            x0, y0, x1, y1 = person_box(0, k, 192, 144)
            image[y0:y1, x0:x1] = next(iter(COLORS.values()))
            yield image

    clip, out, files = make_film(tmp_path / "pan.mp4", pictures(), rate=10), tmp_path / "a.npz", set()
    for frames, people, prefetch, threads in ((1, 1, 0, 1), (7, 5, 2, 2), (64, 64, 3, 1)):
        sizes = {"frame_batch": frames, "person_batch": people, "prefetch": prefetch, "threads": threads}
        process(clip, out, replace(toy_options(), overwrite=True, **sizes))
        files.add(out.read_bytes())
    counts = read_meta(out)["counts"]
    assert len(files) == 1 and counts["moving"] == [0] and counts["rows"] > 50
