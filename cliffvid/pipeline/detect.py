"""Detect people in frames: letterbox, detector, non-maximum suppression."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array, box_iou, canvas_to_frame, shrunk
from ..models.manifest import Manifest, canvas_shape
from ..models.session import Runnable, together
from ..options import Options
from ..rules import Letterbox, Selection
from ..tables import AT_BORDER, DAMAGED_FRAME, Arrays, Bool, Frames, People
from ..video.images.base import kind_of
from .counts import DetectCounts

LEAST_SIDE_PX = 2.0  # a box thinner than this after clamping to the frame is dropped


@dataclass(frozen=True, eq=False)
class Found:
    """Frames, the people detected in them, and counts."""

    frames: Frames
    people: People
    counts: DetectCounts = field(default_factory=DetectCounts)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes


def detect(frames: list[Frames], session: Runnable, options: Options) -> list[Found]:
    """Return the people in each of several tables of frames, best score first within a frame."""
    rules = [canvas_rule(session.manifest, each, options) for each in frames]
    canvases = [kind_of(each.images).letterboxed(each.images, rule) for each, rule in zip(frames, rules, strict=True)]
    answers = together(session, [{"image": canvas} for canvas in canvases])
    selection: Selection = session.manifest.rules["selection"]
    if options.score is not None:
        selection = replace(selection, score_min=options.score)
    if options.iou_max is not None:
        selection = replace(selection, iou_max=options.iou_max)
    return [_found(*each, selection, options) for each in zip(frames, answers, rules, strict=True)]


def canvas_rule(manifest: Manifest, frames: Frames, options: Options) -> Letterbox:
    """Return the rule that letterboxes these frames to the detector's canvas."""
    whole = manifest.rules["letterbox"]
    return shrunk(whole, frames.size_wh) if canvas_shape(manifest, options) == "frame" else whole


def select(
    boxes: Array, objectness: Array, class_prob: Array, rule: Selection
) -> tuple[NDArray[np.int64], Array, bool]:
    """Return ``(rows, scores, full)``: the candidates kept by score threshold and greedy NMS, best score first.

    ``full``: all candidates exceed the score threshold, so the network may have run out of slots and missed people.
    """
    score = objectness * class_prob if rule.score == "product" else objectness
    rows = np.flatnonzero(score > rule.score_min)
    full = len(rows) == len(score)
    if not len(rows):
        return rows, score[rows], full
    rows = rows[np.argsort(-score[rows], kind="stable")]
    iou = box_iou(boxes[rows], boxes[rows], rule.iou_offset_px)
    alive = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if alive[i]:
            alive[i + 1 :] &= iou[i, i + 1 :] < rule.iou_max
    return rows[alive], score[rows[alive]], full


def _found(frames: Frames, answer: Arrays, rule: Letterbox, selection: Selection, options: Options) -> Found:
    counts = DetectCounts()
    boxes, scores, per_frame = [], [], []
    for box, *each in zip(answer["box_px"], answer["objectness"], answer["class_prob"], strict=True):
        rows, score, full = select(box, each[0], each[1], selection)
        counts.frames_full += full
        boxes.append(box[rows])
        scores.append(score)
        per_frame.append(len(rows))
    frame = np.repeat(np.arange(len(frames)), per_frame)
    size_wh = frames.size_wh
    box, score = canvas_to_frame(np.concatenate(boxes), size_wh, rule), np.concatenate(scores)
    good: Bool = np.all(box[:, 2:] - box[:, :2] >= LEAST_SIDE_PX, axis=1)
    counts.too_thin += len(good) - int(good.sum())
    if options.max_people:
        place = np.cumsum(good) - np.concatenate([[0], np.cumsum(good)])[np.searchsorted(frame, frame)]
        few = good & (place <= options.max_people)
        counts.over_max_people += int(good.sum() - few.sum())
        good = few
    box, score, frame = box[good], score[good], frame[good]
    at_border = ((box[:, :2] <= 0) | (box[:, 2:] >= size_wh)).any(axis=1)
    counts.people += len(box)
    people = People(
        frame_idx=frames.frame_idx[frame],
        pts=frames.pts[frame],
        time_s=frames.time_s[frame],
        det_score=score.astype(np.float32),
        bbox_xyxy=box,
        flags=(at_border * AT_BORDER + frames.damaged[frame] * DAMAGED_FRAME).astype(np.uint16),
    )
    return Found(frames, people, counts)
