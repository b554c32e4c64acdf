"""People followed through all views of a scene at once: where each was a frame ago tells where to look now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np

from cliffvid.geometry import box_iou
from cliffvid.tables import Tracks
from cliffvid.video.open import open_source
from cliffvid.video.reader import DecodeCounts

from .landmarks import COUNT, Landmarker
from .scenes import Camera, Scene
from .triangulate import agreed, off_px, triangulate

Array = np.ndarray
LEAST_POINTS = 20  # of the 33 that three views must agree on
LOST_FRAMES = 5  # without them a person is gone
PAIR_OFF_PX = 20.0  # median of two views of one person
SAME_M = 0.3  # two people whose middles are nearer are one
EXPLAINED_IOU = 0.3  # a box that overlaps a known person more is theirs


@dataclass(eq=False)
class Person:
    """One person: frames, points (33,3) in world metres, views (C,33,2) in pixels and which of them agree (C,33)."""

    frame_idx: list[int] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    pixels: list[Array] = field(default_factory=list)
    used: list[Array] = field(default_factory=list)

    def add(self, frame: int, points: Array, pixels: Array, used: Array) -> None:
        for column, value in zip(("frame_idx", "points", "pixels", "used"), (frame, points, pixels, used), strict=True):
            getattr(self, column).append(value)

    def is_near(self, points: Array) -> bool:
        apart = np.linalg.norm(np.nanmean(self.points[-1], axis=0) - np.nanmean(points, axis=0))
        return bool(apart < SAME_M)


@dataclass(frozen=True, eq=False)
class Sightings:
    """What was seen of all people; a row is one person in one frame, the columns are those of Person."""

    frame_idx: Array
    person: Array
    points: Array  # (P,33,3)
    pixels: Array  # (P,C,33,2)
    used: Array  # (P,C,33)

    def views(self, landmarks: Sequence[int] = range(COUNT)) -> Array:
        """Return where each camera sees some landmarks of all rows: (C,P*L,2) pixels."""
        chosen = self.pixels[:, :, list(landmarks)]
        return chosen.transpose(1, 0, 2, 3).reshape(chosen.shape[1], -1, 2)

    def by(self, cameras: Sequence[Camera]) -> "Sightings":
        """Return the same sightings with the points where these cameras see them."""
        points, used = agreed(list(cameras), self.views())
        shape = self.points.shape
        return replace(self, points=points.reshape(shape), used=used.reshape(-1, *shape[:2]).transpose(1, 0, 2))


class Follower:
    """The state while a scene's frames go by."""

    def __init__(self, scene: Scene, landmarker: Landmarker) -> None:
        self.cameras, self._landmarker = list(scene.cameras), landmarker
        self.people: list[Person] = []
        self._alive: list[Person] = []

    def step(self, frame: int, images: list[Array], seeds: list[Array]) -> None:
        """Take one frame of all views, and boxes (P,4) in each where somebody may be."""
        for person in self._alive:
            self._look(person, frame, images, person.points[-1])
        self._alive = [p for p in self._alive if frame - p.frame_idx[-1] <= LOST_FRAMES and not self._double(p)]
        self._welcome(frame, images, seeds)

    def _look(self, person: Person, frame: int, images: list[Array], near: Array) -> bool:
        """Look for somebody near points (33,3) in all views; True, and a row more, if enough views agree."""
        pixels = np.full((len(images), COUNT, 2), np.nan)
        for c, (camera, image) in enumerate(zip(self.cameras, images, strict=True)):
            around = camera.project(near)
            inside = ((around >= 0) & (around < image.shape[1::-1])).all(axis=1)
            if inside.sum() > COUNT / 2:
                found = self._landmarker.find(image, around)
                pixels[c] = pixels[c] if found is None else found
        points, used = agreed(self.cameras, pixels)
        good = int(np.isfinite(points[:, 0]).sum()) >= LEAST_POINTS
        if good:
            person.add(frame, points, pixels, used)
        return good

    def _double(self, person: Person) -> bool:
        """Whether somebody who has been there longer stands in the same place."""
        older = self._alive[: self._alive.index(person)]
        return any(other.frame_idx[-1] == person.frame_idx[-1] and other.is_near(person.points[-1]) for other in older)

    def _welcome(self, frame: int, images: list[Array], seeds: list[Array]) -> None:
        """Begin with those whom two views show where nobody is known, and others confirm."""
        open_views = [
            self._unknown(c, image, boxes) for c, (image, boxes) in enumerate(zip(images, seeds, strict=True))
        ]
        for a, b in combinations(range(len(images)), 2):
            for one, other in product(open_views[a], open_views[b]):
                pair, both = [self.cameras[a], self.cameras[b]], np.stack([one, other])
                points = triangulate(pair, both)
                person = Person()
                if np.nanmedian(off_px(pair, points, both)) > PAIR_OFF_PX or np.isnan(points).any():
                    continue
                if any(known.is_near(points) for known in self._alive):
                    continue
                if self._look(person, frame, images, points):
                    self.people.append(person)
                    self._alive.append(person)

    def _unknown(self, c: int, image: Array, boxes: Array) -> list[Array]:
        """Return the landmarks (33,2) in one view of those in whose boxes nobody is known."""
        known = [self.cameras[c].project(person.points[-1]) for person in self._alive]
        known = np.array([[*np.nanmin(p, axis=0), *np.nanmax(p, axis=0)] for p in known]).reshape(-1, 4)
        taken = box_iou(boxes.astype(np.float64), known).max(axis=1, initial=0) > EXPLAINED_IOU
        found = (self._landmarker.find(image, box.reshape(2, 2), passes=2) for box in boxes[~taken])
        return [points for points in found if points is not None]


def follow(scene: Scene, seeds: list[Tracks], landmarker: Landmarker) -> Sightings:
    """Return the people of a scene; ``seeds``: tracks of each film, of which only the boxes are looked at."""
    follower = Follower(scene, landmarker)
    for frame, images in enumerate(zip(*map(frames, scene.films), strict=True)):
        boxes = [rows.bbox_xyxy[rows.frame_idx == frame] for rows in seeds]
        follower.step(frame, list(images), boxes)
    return sightings(follower.people)


def sightings(people: list[Person]) -> Sightings:
    """Return the rows of all people. Raises ValueError if there are none."""
    if not people:
        raise ValueError("nobody was seen by three cameras")
    number = np.repeat(np.arange(len(people)), [len(person.frame_idx) for person in people])
    columns = {
        name: np.concatenate([getattr(person, name) for person in people])
        for name in ("frame_idx", "points", "pixels", "used")
    }
    return Sightings(person=number, **columns)


def frames(film: Path) -> Iterator[Array]:
    """Yield the frames of a film as RGB (H,W,3)."""
    with open_source(film) as video:
        for batch in video.frames(1, DecodeCounts()):
            yield batch.images[0].rgb()
