"""Detect people in frames: letterbox, detector, non-maximum suppression; or take them by known boxes."""

from dataclasses import dataclass, field, replace

import numpy as np

from ..geometry import Array, area, by_corner, canvas_to_frame, iou_by_corner, shrunk
from ..models.manifest import Manifest, canvas_shape
from ..models.session import Runnable, together
from ..options import Options
from ..rules import Letterbox, Selection
from ..tables import AT_BORDER, DAMAGED_FRAME, Arrays, Bool, Float32, Frames, Int64, People
from ..tracks.boxes import Boxes
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


def select(boxes: Array, objectness: Array, class_prob: Array, rule: Selection) -> tuple[Int64, Int64, Array, Bool]:
    """Return ``(frame, slot, score, full)``: the candidates that score threshold and greedy NMS keep, best first.

    Takes the candidates (F,S,4), (F,S), (F,S) of several frames, and keeps the order of the frames. ``full`` (F,): all
    exceed the threshold, so the network may have run out of slots and missed people.
    """
    score = objectness * class_prob if rule.score == "product" else objectness
    frame, slot = np.nonzero(score > rule.score_min)
    best = np.lexsort((-score[frame, slot], frame))  # equal scores keep their order
    frame, slot = frame[best], slot[best]
    count = np.bincount(frame, minlength=len(score))
    rank, most = np.arange(len(frame)) - (np.cumsum(count) - count)[frame], int(count.max(initial=0))
    ranked = np.zeros((len(score), most, 4), boxes.dtype)
    ranked[frame, rank] = boxes[frame, slot]
    kept = suppress(ranked, np.arange(most) < count[:, None], rule)[frame, rank]
    frame, slot = frame[kept], slot[kept]
    return frame, slot, score[frame, slot], count == score.shape[1]


def suppress(boxes: Array, left: Bool, rule: Selection) -> Bool:
    """Return which boxes (F,S) of several frames (F,S,4), best first, greedy NMS keeps; ``left`` (F,S) are there.

    In each round the best box that is left in each frame is kept, and those that it overlaps go.
    """
    frames, kept, offset_px = np.arange(len(boxes)), np.zeros_like(left), rule.iou_offset_px
    columns = by_corner(boxes)
    areas = area(columns, offset_px)
    while left.any():
        best = left.argmax(axis=1)
        kept[frames, best] |= left[frames, best]
        chosen, chosen_area = columns[:, frames, best][..., None], areas[frames, best][:, None]
        left &= iou_by_corner(chosen, columns, chosen_area, areas, offset_px) < rule.iou_max
        left[frames, best] = False
    return kept


def _found(frames: Frames, answer: Arrays, rule: Letterbox, selection: Selection, options: Options) -> Found:
    frame, slot, score, full = select(answer["box_px"], answer["objectness"], answer["class_prob"], selection)
    counts = DetectCounts(frames=len(frames), frames_full=int(full.sum()))
    size_wh = frames.size_wh
    box = canvas_to_frame(answer["box_px"][frame, slot], size_wh, rule)
    good: Bool = np.all(box[:, 2:] - box[:, :2] >= LEAST_SIDE_PX, axis=1)
    counts.too_thin += len(good) - int(good.sum())
    if options.max_people:
        place = np.cumsum(good) - np.concatenate([[0], np.cumsum(good)])[np.searchsorted(frame, frame)]
        few = good & (place <= options.max_people)
        counts.over_max_people += int(good.sum() - few.sum())
        good = few
    box, score, frame = box[good], score[good], frame[good]
    counts.people += len(box)
    return Found(frames, people_in(frames, frame, box, score), counts)


def given(frames: Frames, boxes: Boxes) -> Found:
    """Return the people in frames by boxes that are known; no detector runs."""
    first, end = (np.searchsorted(boxes.frame_idx, frames.frame_idx, side) for side in ("left", "right"))
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])
    frame = np.repeat(np.arange(len(frames)), end - first)
    people = people_in(frames, frame, boxes.bbox_xyxy[rows], boxes.det_score[rows])
    return Found(frames, people, DetectCounts(people=len(rows)))


def people_in(frames: Frames, frame: Int64, box: Float32, score: Array, flags: int = 0) -> People:
    """Return people by their boxes and scores; ``frame`` has each one's row in ``frames``."""
    at_border = ((box[:, :2] <= 0) | (box[:, 2:] >= frames.size_wh)).any(axis=1)
    return People(
        frame_idx=frames.frame_idx[frame],
        pts=frames.pts[frame],
        time_s=frames.time_s[frame],
        det_score=score.astype(np.float32),
        bbox_xyxy=box,
        flags=(at_border * AT_BORDER + frames.damaged[frame] * DAMAGED_FRAME + flags).astype(np.uint16),
    )
