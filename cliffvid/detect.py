"""Frames to people: letterbox, detector, non-maximum suppression."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .backends import Session
from .errors import UsageError
from .geometry import box_iou, canvas_to_frame, letterbox_layout, shrunk
from .models import Letterbox, Manifest, Selection
from .options import Options
from .types import AT_BORDER, DAMAGED_FRAME, Frames, People

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
LEAST_SIDE_PX = 2.0  # a box thinner than this, after clamping to the frame, shows nobody


@dataclass
class DetectCounts:
    """What became of the detector's answers, in people."""

    people: int = 0  # handed on
    too_thin: int = 0
    over_max_people: int = 0
    frames_full: int = 0  # frames in which every candidate slot of the network was taken: some people may be missing


@dataclass(frozen=True, eq=False)
class Found:
    """Frames and the people in them."""

    frames: Frames
    people: People

    def __len__(self) -> int:
        return len(self.frames)


def detect(frames: Iterator[Frames], session: Session, options: Options, counts: DetectCounts) -> Iterator[Found]:
    """Each batch of frames with its people, best score first within a frame."""
    whole, selection = session.manifest.rules["letterbox"], session.manifest.rules["selection"]
    shape = canvas_shape(session.manifest, options)
    if options.score is not None:
        selection = replace(selection, score_min=options.score)
    if options.iou_max is not None:
        selection = replace(selection, iou_max=options.iou_max)
    for batch in frames:
        h, w = batch.rgb.shape[1:3]
        letterbox = shrunk(whole, (w, h)) if shape == "frame" else whole
        outputs = session.run({"image": letterboxed(batch.rgb, letterbox)})
        people = [
            _people(batch[i : i + 1], box, select(box, *scores, selection), letterbox, options, counts)
            for i, (box, *scores) in enumerate(
                zip(outputs["box_px"], outputs["objectness"], outputs["class_prob"], strict=True)
            )
        ]
        people = People.concat(people)
        counts.people += len(people)
        yield Found(batch, people)


def canvas_shape(manifest: Manifest, options: Options) -> str:
    """``square``: each frame gets the detector's whole canvas; ``frame``: the part that holds it. Raises UsageError."""
    rule = manifest.rules["letterbox"]
    if options.detector_shape == "frame" and not rule.least_px:
        raise UsageError(
            f"--detector-shape frame: {manifest.folder} takes pictures of {rule.width_px} x {rule.height_px} alone; "
            "export the model again, or leave the option out"
        )
    return rule.shape if options.detector_shape == "auto" else options.detector_shape


def letterboxed(rgb: np.ndarray, rule: Letterbox) -> np.ndarray:
    """Frames (N,H,W,3) uint8 scaled into the middle of the rule's canvases, uint8, aspect kept."""
    n, h, w, _ = rgb.shape
    _, (new_w, new_h), (left, top) = letterbox_layout((w, h), rule)
    canvas = np.full((n, rule.height_px, rule.width_px, 3), rule.fill, np.uint8)
    for image, target in zip(rgb, canvas, strict=True):
        target[top : top + new_h, left : left + new_w] = cv2.resize(
            image, (new_w, new_h), interpolation=INTERPOLATION[rule.interpolation]
        )
    return canvas


def select(
    boxes: np.ndarray, objectness: np.ndarray, class_prob: np.ndarray, rule: Selection
) -> tuple[np.ndarray, np.ndarray, bool]:
    """``(rows, scores, full)``: the candidates that are people, best first, after greedy suppression of doubles.

    ``full``: even the last candidate was good enough, so the network may have had more to say than it has slots.
    """
    score = objectness * class_prob if rule.score == "product" else objectness
    rows = np.flatnonzero(score > rule.score_min)
    full = len(rows) == len(score)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    iou = box_iou(boxes[rows], boxes[rows], rule.iou_offset_px)
    alive = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if alive[i]:
            alive[i + 1 :] &= iou[i, i + 1 :] < rule.iou_max
    return rows[alive], score[rows[alive]], full


def _people(frame: Frames, boxes, selected, rule: Letterbox, options: Options, counts: DetectCounts) -> People:
    rows, score, full = selected
    counts.frames_full += full
    h, w = frame.rgb.shape[1:3]
    box = canvas_to_frame(boxes[rows], (w, h), rule)
    wide = (box[:, 2:] - box[:, :2] >= LEAST_SIDE_PX).all(axis=1)
    counts.too_thin += int((~wide).sum())
    box, score = box[wide], score[wide]
    if options.max_people and len(box) > options.max_people:
        counts.over_max_people += len(box) - options.max_people
        box, score = box[: options.max_people], score[: options.max_people]
    n = len(box)
    at_border = ((box[:, :2] <= 0) | (box[:, 2:] >= (w, h))).any(axis=1)
    flags = at_border * np.uint16(AT_BORDER) | np.uint16(DAMAGED_FRAME if frame.damaged[0] else 0)
    return People(
        frame_idx=np.repeat(frame.frame_idx, n),
        pts=np.repeat(frame.pts, n),
        time_s=np.repeat(frame.time_s, n),
        det_score=score.astype(np.float32),
        bbox_xyxy=box,
        flags=flags.astype(np.uint16),
    )
