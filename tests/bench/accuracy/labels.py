"""Recall and precision on films and stills whose people were labelled by hand.

labels.json says of each file where it comes from. None is shipped here: name a folder that has them.
"""

import json
from pathlib import Path

import numpy as np

from cliffvid.evaluate.evaluate import match
from cliffvid.evaluate.ground_truth import Truth
from cliffvid.evaluate.scores import Sums
from cliffvid.tables import Tracks

LABELS = Path(__file__).parent / "labels.json"
IOU_MIN = 0.4  # labels are drawn loosely


def read_labels() -> dict[str, dict]:
    """Return by file name: ``from``, and ``frames`` with the boxes of people and of what is not to be judged."""
    return json.loads(LABELS.read_text(encoding="utf-8"))


def labelled(name: str, frames: dict[str, dict]) -> Truth:
    """Return the labelled people of a file; what is to be ignored is there and not evaluated."""
    boxes, index, evaluated = [], [], []
    for frame, people in frames.items():
        for key, judged in (("people_xyxy", True), ("ignore_xyxy", False)):
            given = people.get(key, [])
            boxes += given
            index += [int(frame)] * len(given)
            evaluated += [judged] * len(given)
    return Truth(
        name=name,
        dataset="labels",
        frame_idx=np.array(index, np.int64),
        person=np.arange(len(index)),
        evaluated=np.array(evaluated, bool),
        bbox_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        joints_m=np.zeros((len(index), 1, 3)),
        focal_px=np.ones(len(index)),
        size_wh=(1.0, 1.0),
        surface=None,
        no_surface="boxes alone are labelled",
        everybody=True,
    )


def counts(truth: Truth, rows: Tracks) -> Sums:
    """Return who was found on the labelled frames."""
    theirs, _, false_positives = match(truth, rows.frame_idx, truth.bbox_xyxy, rows.bbox_xyxy, IOU_MIN)
    return Sums(int(truth.evaluated.sum()), len(theirs), len(false_positives), truth.everybody)


def facts(name: str, sums: Sums) -> dict[str, str | int | float | None]:
    """Return recall and precision as plain values."""
    judged = sums.found + sums.false_positives
    return {
        "name": name,
        "people": sums.people,
        "found": sums.found,
        "recall": sums.found / sums.people if sums.people else None,
        "precision": sums.found / judged if judged else None,
    }
