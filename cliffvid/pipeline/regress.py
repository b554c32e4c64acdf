"""Regress bodies from crops, and convert the crop camera to the full frame's camera."""

from dataclasses import dataclass

import numpy as np

from ..geometry import box_iou, camera_is_bad, camera_to_transl
from ..models.session import Runnable, together
from ..rotations import axis_angle
from ..tables import BAD_CAMERA, IMPLAUSIBLE, Arrays, Bodies, Bool, Crops
from .counts import RegressCounts

PRESENCE_MIN = 0.5  # example clip: a stone detected as a person scores 0.00 to 0.05, people nearly always over 0.9
APART_IOU = 0.34  # minimum IoU of the posed body's box, as its landmarks give it (to 0.04), with the detected box
OFF_MAX = 0.4  # maximum landmark error; a body 1.7 times too small, or rotated by 23 degrees, reaches it


@dataclass(frozen=True, eq=False)
class Regressed:
    """Bodies and counts."""

    bodies: Bodies
    counts: RegressCounts

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def nbytes(self) -> int:
        return self.bodies.nbytes


def regress(crops: list[Crops], session: Runnable) -> list[Regressed]:
    """Return the bodies of each of several tables of crops; crops in which the regressor sees no person are dropped."""
    asked: list[Arrays] = [{"crop": each.pixels, "bbox_info": each.bbox_info} for each in crops]
    return [posed(*each) for each in zip(crops, together(session, asked), strict=True)]


def posed(crops: Crops, answer: Arrays) -> Regressed:
    """Return the regressor's output as bodies in the full frame's camera."""
    counts = RegressCounts()
    if "presence" in answer:
        there = answer["presence"] >= PRESENCE_MIN
        counts.nobody = int((~there).sum())
        if not there.all():
            crops, answer = crops[there], {name: array[there] for name, array in answer.items()}
    rotations = axis_angle(answer["rotmat"]).astype(np.float32, order="C")
    transl = camera_to_transl(answer["camera"], crops.crop_center_size_px, crops.focal_px, crops.center_px)
    flags = crops.flags | camera_is_bad(transl) * np.uint16(BAD_CAMERA)
    flags |= implausible(crops, answer) * np.uint16(IMPLAUSIBLE)
    bodies = Bodies(
        frame_idx=crops.frame_idx,
        pts=crops.pts,
        time_s=crops.time_s,
        det_score=crops.det_score,
        bbox_xyxy=crops.bbox_xyxy,
        flags=flags,
        global_orient=rotations[:, 0],
        body_pose=rotations[:, 1:].reshape(len(crops), 3 * (rotations.shape[1] - 1)),
        betas=answer["betas"],
        transl=transl.astype(np.float32),
        pred_cam=answer["camera"],
        crop_center_size_px=crops.crop_center_size_px,
        focal_px=crops.focal_px,
        **{name: answer[name] for name in Bodies.optional() if name in answer},
    )
    return Regressed(bodies, counts)


def implausible(crops: Crops, answer: Arrays) -> Bool:
    """Return the mask (P,) of bodies whose position, size or tilt does not fit the person in the image.

    It needs a network with two more outputs. ``posed_xyxy`` is the posed body's box in x / z and y / z of the camera
    frame. ``posed_off`` is the image distance of its landmarks to the detected ones, over the spread of the latter.
    Without them, no body is flagged.
    """
    if "posed_xyxy" not in answer:
        return np.zeros(len(crops), bool)
    size_px, center_px = np.tile(crops.frame_wh_px, 2), np.tile(crops.center_px, 2)
    posed = np.clip(answer["posed_xyxy"] * crops.focal_px[:, None] + center_px, 0, size_px)
    overlap = np.diagonal(box_iou(posed, crops.bbox_xyxy))
    good: Bool = (overlap >= APART_IOU) & (answer["posed_off"] <= OFF_MAX)
    return ~good  # negated, so that NaN counts as implausible
