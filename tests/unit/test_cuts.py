"""Cuts are found where scenes change, and not where people, cameras or lights move."""

import numpy as np
import pytest

from cliffvid.bulk.units import joined_shots
from cliffvid.cuts import CutFinder
from cliffvid.types import Frames


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """A picture (90,160,3) of patches and a little noise, seen by a camera turned by ``shift`` pixels."""
    rng = np.random.default_rng(seed)
    patches = rng.uniform(0, 255, (6, 30, 3)).repeat(15, axis=0).repeat(16, axis=1)
    return patches[:, shift : shift + 160]


def found(pictures, batch: int = 4) -> list[tuple[int, int]]:
    noise, finder, begun = np.random.default_rng(0), CutFinder(), []
    rgb = np.empty(len(pictures), object)
    rgb[:] = [np.clip(p + noise.normal(0, 4, p.shape), 0, 255).astype(np.uint8) for p in pictures]
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


def test_shots_of_a_split_film_go_on_from_part_to_part():
    whole = [(10, 1), (12, 0), (30, 2), (50, 3)]
    assert joined_shots([whole, []]) == whole
    assert joined_shots([[(10, 1), (12, 0)], [(30, 1)], [], [(50, 1), (52, 0)]]) == [
        *whole[:2],
        (30, 2),
        (50, 3),
        (52, 2),
    ]
