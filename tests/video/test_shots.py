"""Cuts are found where scenes change, and not where people, cameras or lights move."""

import numpy as np
import pytest

from cliffvid.tables import Frames
from cliffvid.video.shots import ShotDetector
from plane_frames import rgb_images


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """A picture (90,160,3) of patches and a little noise, seen by a camera turned by ``shift`` pixels."""
    rng = np.random.default_rng(seed)
    patches = rng.uniform(0, 255, (6, 30, 3)).repeat(15, axis=0).repeat(16, axis=1)
    return patches[:, shift : shift + 160]


def found(pictures, batch: int = 4) -> list[tuple[int, int]]:
    noise, finder, begun = np.random.default_rng(0), ShotDetector(), []
    rgb = rgb_images(np.clip(p + noise.normal(0, 4, p.shape), 0, 255).astype(np.uint8) for p in pictures)
    index = np.arange(len(rgb)) + 5
    for start in range(0, len(rgb), batch):
        some = slice(start, start + batch)
        at = index[some]
        begun += finder.find(Frames(at, at, at / 25, np.zeros(len(at), bool), rgb[some]))
    return begun


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_cuts_between_scenes_whatever_the_batches(batch):
    film = [scene(0)] * 20 + [scene(1)] * 20 + [scene(2)] * 2 + [scene(3)] * 10
    assert found(film, batch) == [(25, 1), (45, 2), (47, 3)]


def test_a_camera_that_moves_and_light_that_changes_are_no_cuts():
    assert found([scene(0, 3 * k) for k in range(60)]) == []
    assert found([scene(0, 12 * k) for k in range(25)]) == []  # a tenth of the picture a frame
    assert found([scene(0)] * 20 + [scene(0) * 0.3] * 20) == []


def test_somebody_large_who_comes_in_is_no_cut():
    film = []
    for k in range(40):
        picture = scene(0).copy()
        picture[:, : 4 * k] = [200, 180, 160]
        film.append(picture)
    assert found(film) == []


def test_after_a_flash_the_shot_goes_on():
    film = [scene(0)] * 20 + [np.full((90, 160, 3), 255.0)] * 2 + [scene(0)] * 20
    assert found(film) == [(25, 1), (27, 0)]


def test_nothing_at_all_and_black_frames():
    assert found([np.zeros((90, 160, 3))] * 10) == []
    assert found([scene(0)] * 5 + [np.zeros((90, 160, 3))] * 8 + [scene(1)] * 5) == [(10, 1), (18, 2)]


def test_of_many_photos_most_are_shots_of_their_own():
    assert len(found([scene(k) for k in range(20)])) >= 14


def test_cuts_of_a_film_in_parts_are_those_of_the_whole():
    """A part keeps its small pictures; all tell what one alone cannot: a cut at its first frame, a flash."""
    film = [scene(0)] * 20 + [np.full((90, 160, 3), 255.0)] * 2 + [scene(0)] * 20 + [scene(1)] * 9
    rgb = rgb_images(image.astype(np.uint8) for image in film)
    index = np.arange(len(rgb))

    def frames(some: slice) -> Frames:
        at = index[some]
        return Frames(at, at, at / 25, np.zeros(len(at), bool), rgb[some])

    kept = []
    for some in (slice(0, 21), slice(21, 42), slice(42, None)):
        part = ShotDetector()
        part.kept = []
        part.find(frames(some))
        kept += part.kept
    whole = ShotDetector().find(frames(slice(None)))
    indices, thumbs = map(np.array, zip(*kept, strict=True))
    assert ShotDetector().find_in(indices, thumbs.astype(np.float32) / 255) == whole == [(20, 1), (22, 0), (42, 2)]
