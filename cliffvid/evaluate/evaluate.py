"""Evaluate tracks against ground truth: detection and the error of each body."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import lap
import numpy as np

from ..errors import InputError, UsageError
from ..geometry import Array, box_iou
from ..models.body import Body, load_body
from ..option import given
from ..tables import Int64, Tracks
from ..tracks.meta import Meta
from ..tracks.read import read_both
from .ground_truth import HIPS, Truth, read_truth, truth_files
from .metrics import acceleration_mm, distances_mm, procrustes, rooted
from .options import EvalKeywords, EvalOptions
from .pseudogt.make import read_regressor
from .scores import Evaluation, Sums

BLOCK = 64  # people posed at once
# The 14 LSP joints among the 17 of the Human3.6M regressor; its first joint is the pelvis.
H36M, LSP = 17, [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
FAR = 0.02  # relative tolerance for image sizes and focal lengths


@dataclass(frozen=True)
class Protocol:
    """How predictions should have been made, and how they are matched."""

    box_scale: float
    known_focal: bool
    iou_min: float
    words: str


PROTOCOLS = {
    "paper": Protocol(1.2, True, 0.9, "boxes of the true joints, crops 1.2 times as large, known focal length"),
    "demo": Protocol(1.1, False, 0.3, "detected boxes, crops 1.1 times as large, focal length the frame's diagonal"),
}


def evaluate(
    tracks: str | Path, truth: str | Path, options: EvalOptions | None = None, **keywords: Unpack[EvalKeywords]
) -> Evaluation:
    """Evaluate tracks against ground truth.

    Args:
        tracks: A tracks file, or a folder of files named after the sequences.
        truth: A file or folder of ground truth, as 3DPW, EMDB and AGORA publish it.
        options: The protocol and its settings; the defaults if None.
        **keywords: The fields of EvalOptions, instead of ``options``.

    Raises:
        UsageError: A required body is missing.
        InputError: Files are unreadable or do not match.
        ModelError: A body's file is damaged.
    """
    options, tracks, truth = given(EvalOptions, options, keywords), Path(tracks), Path(truth)
    rule = PROTOCOLS[options.protocol]
    iou_min = rule.iou_min if options.iou_min is None else options.iou_min
    evaluation = Evaluation(options.protocol, rule.words, iou_min, "", "")
    total, files = Sums(), truth_files(truth)
    for file in files:
        people = read_truth(file, options.truth_body)
        path = tracks_of(tracks, people, only=len(files) == 1)
        if path is None:
            evaluation.without_tracks.append(people.name)
            continue
        sums = _sequence(path, people, rule, iou_min, options.joint_regressor, evaluation)
        evaluation.sequences.append(sums.score(people.name))
        total.add(sums)
    if not evaluation.sequences:
        raise InputError(
            f"{tracks}: no tracks of {', '.join(evaluation.without_tracks[:5])}; name them after the sequences"
        )
    evaluation.overall = total.score("overall")
    evaluation.notes = list(dict.fromkeys(evaluation.notes))
    return evaluation


def tracks_of(place: Path, truth: Truth, only: bool) -> Path | None:
    """Return the tracks file of a sequence: the file itself, or the one of its name in a folder; None if missing.

    Where ground truth identifies images by name, one tracks file may hold all of them. Raises InputError if the path
    does not exist.
    """
    name = truth.name
    if place.is_file():
        return place if only or truth.files or place.stem == name else None
    if not place.is_dir():
        raise InputError(f"{place}: no such file or folder")
    return next((p for p in (place / f"{name}.parquet", place / f"{name}.npz") if p.is_file()), None)


def _sequence(
    path: Path, truth: Truth, rule: Protocol, iou_min: float, regressor: Path | None, evaluation: Evaluation
) -> Sums:
    """Match the people of one sequence and return the sums of their errors."""
    rows, meta = read_both(path)
    frame_idx, times = _frames_of(path, meta, rows, truth)
    focal_px = truth.focal_px / times
    theirs, mine, false_positives = match(truth, frame_idx, truth.bbox_xyxy / times, rows.bbox_xyxy, iou_min)
    evaluation.notes += [f"{truth.name}: {words}" for words in _deviations(meta, rows[mine], rule, focal_px[theirs])]
    sums = Sums(int(truth.evaluated.sum()), len(mine), len(false_positives), truth.everybody)
    if not truth.everybody:
        evaluation.notes.append(
            f"{truth.dataset} does not label all people: unmatched detections are not counted as false positives"
        )
    body = load_body(meta["body"]["name"])
    measure = Measure(body, truth, rows, regressor)
    evaluation.joints, evaluation.root = measure.words, measure.root_words
    if measure.no_vertices:
        evaluation.notes.append(f"no PVE: {measure.no_vertices}")
    found, true = [], []
    for start in range(0, len(mine), BLOCK):
        found_j, true_j, vertex_mm = measure.block(mine[start : start + BLOCK], theirs[start : start + BLOCK])
        found.append(found_j)
        true.append(true_j)
        sums.joint_mm.append(distances_mm(found_j, true_j))
        sums.aligned_mm.append(distances_mm(procrustes(found_j, true_j), true_j).mean(axis=1))
        sums.vertex_mm += [] if vertex_mm is None else [vertex_mm]
    if found and not truth.files:
        all_found, all_true = np.concatenate(found), np.concatenate(true)
        for person in np.unique(truth.person[theirs]):
            one = np.flatnonzero(truth.person[theirs] == person)
            sums.accel_mm.append(acceleration_mm(all_found[one], all_true[one], truth.frame_idx[theirs][one]))
    return sums


def _frames_of(path: Path, meta: Meta, rows: Tracks, truth: Truth) -> tuple[Int64, int]:
    """Return each row's frame index in the ground truth (-1: none), and the scale of its images to the tracks'."""
    settings, video = meta.get("settings", {}), meta["video"]
    if settings.get("stride", 1) != 1 or settings.get("start_s") or settings.get("end_s"):
        raise InputError(f"{path}: made with --stride, --start or --end; process all frames")
    times = max(1, round(truth.size_wh[0] / video["width_px"]))
    for true_px, side_px in zip(truth.size_wh, (video["width_px"], video["height_px"]), strict=True):
        if abs(true_px / times / side_px - 1) > FAR:
            size = f"{video['width_px']} x {video['height_px']}"
            known = " x ".join(f"{side:.0f}" for side in truth.size_wh)
            raise InputError(f"{path}: frames of {size}, but those of {truth.name} have {known}; not the same images")
    if not truth.files:
        return rows.frame_idx, times
    names = {image_key(name): i for i, name in enumerate(truth.files)}
    files = video.get("files")
    if not files:
        raise InputError(f"{path}: tracks of a video; {truth.dataset} needs those of its folder of images")
    place = np.array([names.get(image_key(name), -1) for name in files], np.int64)
    return place[rows.frame_idx], times


def image_key(name: str) -> str:
    """Return the identifier of an AGORA image, the same for both published sizes."""
    return Path(name).stem.removesuffix("_1280x720")


def match(
    truth: Truth, frame_idx: Int64, true_boxes: Array, boxes: Array, iou_min: float
) -> tuple[Int64, Int64, Int64]:
    """Return pairs of matched rows (truth, found), sorted by truth row, and the rows of false positives.

    In each frame, matching maximizes the total IoU of pairs above ``iou_min`` (Hungarian algorithm). Predictions
    matched to people with ``evaluated=False``, or in frames without ground truth, are ignored.
    """
    theirs, mine, false_positives = [], [], []
    order = np.argsort(frame_idx, kind="stable")
    in_order = frame_idx[order]
    for frame in np.unique(truth.frame_idx):
        people = np.flatnonzero((truth.frame_idx == frame) & np.isfinite(true_boxes).all(axis=1))
        rows = order[slice(*np.searchsorted(in_order, [frame, frame + 1]))]
        if not len(people) or not len(rows):
            false_positives += rows.tolist()
            continue
        cost = 1 - box_iou(true_boxes[people], boxes[rows].astype(np.float64))
        chosen = lap.lapjv(cost, extend_cost=True, cost_limit=1 - iou_min, return_cost=False)[0]
        false_positives += np.delete(rows, chosen[chosen >= 0]).tolist()
        pairs = [(p, rows[c]) for p, c in zip(people, chosen, strict=True) if c >= 0 and truth.evaluated[p]]
        theirs += [p for p, _ in pairs]
        mine += [r for _, r in pairs]
    return np.array(theirs, np.int64), np.array(mine, np.int64), np.array(false_positives, np.int64)


def _deviations(meta: Meta, rows: Tracks, rule: Protocol, focal_px: Array) -> list[str]:
    """Return how these tracks deviate from the protocol, as notes."""
    notes: list[str] = []
    scale = meta.get("settings", {}).get("box_scale")
    if scale != rule.box_scale and (scale is not None or rule.known_focal):
        notes.append(
            f"made with {f'--box-scale {scale}' if scale else 'the box scale of the model'}, not {rule.box_scale}"
        )
    if rule.known_focal and len(rows) and np.abs(rows.focal_px / focal_px - 1).max() > FAR:
        notes.append(f"made with a focal length of {rows.focal_px[0]:.0f} px, known is {focal_px[0]:.0f}")
    return notes


class Measure:
    """Joints, root and vertices of predictions and ground truth, posed in blocks.

    Raises UsageError if a joint regressor needs a missing body, InputError if it belongs to a different body.
    """

    def __init__(self, body: Body, truth: Truth, rows: Tracks, regressor: Path | None) -> None:
        self.body, self.truth, self.rows = body, truth, rows
        self.no_vertices = self._lack()
        self.regressor: Array | None = None
        if regressor:
            if self.no_vertices:
                raise UsageError(f"--joint-regressor needs the vertices of both: {self.no_vertices}")
            self.regressor = read_regressor(regressor, (None, body.weights.shape[1]))
            h36m = len(self.regressor) == H36M
            self.words = f"{14 if h36m else len(self.regressor)} joints by {regressor.name}"
            self.words += ", of its 17 those of LSP" if h36m else ""
            self.root_words = "the regressor's first joint"
            return
        self.count = min(truth.joints_m.shape[1], 1 + rows.body_pose.shape[1] // 3)
        self.words = f"{'the' if self.count == 24 else 'the first'} {self.count} joints of SMPL's skeleton"
        self.hips = truth.dataset == "emdb"  # as in EMDB's official evaluation
        self.root_words = "the middle of the hips, as EMDB has it" if self.hips else "the pelvis"

    def _lack(self) -> str:
        if self.truth.surface is None:
            return self.truth.no_surface
        have = self.body.weights.shape[1]
        theirs = self.truth.surface(np.zeros(1, int)).shape[1] if len(self.truth) else have
        if have == theirs:
            return ""
        return f"the tracks' body {self.body.name!r} has {have} vertices, the truth's {theirs}"

    def block(self, mine: Int64, theirs: Int64) -> tuple[Array, Array, Array | None]:
        """Return root-relative joints of both sides (n,J,3), and the mean vertex error (n,) in mm or None."""
        rows = self.rows[mine]
        given = rows.global_orient, rows.body_pose, rows.betas, rows.transl
        surfaces: list[Array] = []
        if self.truth.surface is not None and not self.no_vertices:
            surfaces = [side.astype(np.float64) for side in (self.body.surface(*given)[0], self.truth.surface(theirs))]
        if self.regressor is not None:
            sides = [np.einsum("jv,pvc->pjc", self.regressor, side, optimize=True) for side in surfaces]
            roots = [side[:, 0] for side in sides]
            sides = [side[:, LSP] for side in sides] if len(self.regressor) == H36M else sides
        else:
            sides = [self.body.joints(*given)[:, : self.count], self.truth.joints_m[theirs][:, : self.count]]
            roots = [side[:, HIPS].mean(axis=1) if self.hips else side[:, 0] for side in sides]
        found, true = (rooted(side, root) for side, root in zip(sides, roots, strict=True))
        if not surfaces:
            return found, true, None
        moved = [rooted(side, root) for side, root in zip(surfaces, roots, strict=True)]
        return found, true, distances_mm(*moved).mean(axis=1)
