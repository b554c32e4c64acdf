"""Rows besides the known people: of somebody whom too few cameras see, or of nobody."""

from pathlib import Path

import numpy as np

from cliffvid.evaluate.ground_truth import Truth
from cliffvid.geometry import box_iou
from cliffvid.tables import Tracks

from .follow import EXPLAINED_IOU, frames
from .landmarks import Landmarker

Array = np.ndarray


def of_nobody(film: Path, truth: Truth, rows: Tracks, false_positives: Array, landmarker: Landmarker) -> Array:
    """Return those of the rows ``false_positives`` in whose boxes the landmarks see nobody, or somebody who is known.

    Whoever is known has a row already, or this row's box is not theirs.
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
