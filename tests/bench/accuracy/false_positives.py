"""Tell false positives from detections of people whom the truth lacks."""

import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from cliffvid.evaluate.ground_truth import Truth
from cliffvid.geometry import box_iou
from cliffvid.tables import Tracks

from .follow import EXPLAINED_IOU, frames
from .landmarks import Landmarker
from .scenes import Camera
from .triangulate import LEAST_VIEWS, off_px, triangulate
from .truth import People

Array = np.ndarray
SAME_PLACE = 0.15  # maximum distance of a box's centre from the place that cameras agree on, in heights of the box
APART_M = 0.4  # minimum distance of that place from all known people


def agreed_on(
    cameras: Sequence[Camera], people: People, tables: Sequence[Tracks], unmatched: Sequence[Array]
) -> list[Array]:
    """Return, for each camera, the ``unmatched`` rows whose boxes three cameras or more see in one place.

    A person stands there whom the truth lacks: its landmarks fail on some poses. A place beside a known person is none:
    boxes that doubly detect that person would agree on it.
    """
    found: list[set[int]] = [set() for _ in cameras]
    for frame in np.unique(np.concatenate([t.frame_idx[u] for t, u in zip(tables, unmatched, strict=True)])):
        rows = [[None, *u[t.frame_idx[u] == frame].tolist()] for t, u in zip(tables, unmatched, strict=True)]
        with warnings.catch_warnings():  # of people none of whose points is known
            warnings.simplefilter("ignore", RuntimeWarning)
            known = np.nanmean(people.points_m[people.frame_idx == frame], axis=1)
        for chosen in product(*rows):
            views = [c for c, row in enumerate(chosen) if row is not None]
            if len(views) < LEAST_VIEWS:
                continue
            boxes = np.array([tables[c].bbox_xyxy[chosen[c]] for c in views], np.float64)
            centres, some = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, [cameras[c] for c in views]
            place = triangulate(some, centres)
            off = off_px(some, place, centres)[:, 0] / (boxes[:, 3] - boxes[:, 1])
            apart = np.nan_to_num(np.linalg.norm(known - place, axis=1), nan=np.inf).min(initial=np.inf)
            if (off <= SAME_PLACE).all() and apart >= APART_M:
                for c in views:
                    found[c].add(int(chosen[c]))
    return [np.array(sorted(rows), np.int64) for rows in found]


def of_nobody(film: Path, truth: Truth, rows: Tracks, false_positives: Array, landmarker: Landmarker) -> Array:
    """Return those of the rows ``false_positives`` in whose boxes the landmarks find no person, or a known one.

    A known person has a row already, or this row's box is not theirs.
    """
    wrong = []
    for frame, image in enumerate(frames(film)) if len(false_positives) else ():
        known = truth.bbox_xyxy[truth.frame_idx == frame]
        known = known[np.isfinite(known).all(axis=1)]
        for row in false_positives[rows.frame_idx[false_positives] == frame]:
            points = landmarker.find(image, rows.bbox_xyxy[row].reshape(2, 2), passes=2)
            box = None if points is None else np.hstack([points.min(axis=0), points.max(axis=0)])[None]
            if box is None or box_iou(box, known).max(initial=0) > EXPLAINED_IOU:
                wrong.append(row)
    return np.array(wrong, np.int64)
