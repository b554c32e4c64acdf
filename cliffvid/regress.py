"""Crops to bodies: the regressor, and its crop camera carried over to the full frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .backends import Session
from .geometry import axis_angle, camera_is_bad, camera_to_transl
from .types import BAD_CAMERA, Bodies, Crops, People

PRESENCE_MIN = 0.5  # on the example clip a stone taken for a person has 0.00 to 0.05, people nearly always over 0.9


@dataclass
class RegressCounts:
    """What the regressor made of the detector's people."""

    nobody: int = 0  # crops in which it saw no person: left out


def regress(crops: Iterator[Crops], session: Session, counts: RegressCounts) -> Iterator[Bodies]:
    """The bodies of each batch of crops, without those in which the regressor itself sees nobody."""
    for batch in crops:
        answer = session.run({"crop": batch.pixels, "bbox_info": batch.bbox_info})
        if "presence" in answer:
            there = answer["presence"] >= PRESENCE_MIN
            counts.nobody += int((~there).sum())
            batch, answer = batch[there], {name: array[there] for name, array in answer.items()}
        rotations = axis_angle(answer["rotmat"]).astype(np.float32)
        transl = camera_to_transl(answer["camera"], batch.crop_center_size_px, batch.focal_px, batch.frame_wh_px)
        flags = batch.flags | camera_is_bad(transl) * np.uint16(BAD_CAMERA)
        people = {name: column for name, column in batch.columns().items() if name in People.__dataclass_fields__}
        yield Bodies(
            **people | {"flags": flags},
            global_orient=rotations[:, 0],
            body_pose=rotations[:, 1:].reshape(len(batch), 3 * (rotations.shape[1] - 1)),
            betas=answer["betas"],
            transl=transl.astype(np.float32),
            pred_cam=answer["camera"],
            crop_center_size_px=batch.crop_center_size_px,
            focal_px=batch.focal_px,
        )
