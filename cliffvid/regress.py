"""Crops to bodies: the regressor, and its crop camera carried over to the full frame."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .backends import Session
from .flow import together
from .geometry import axis_angle, camera_is_bad, camera_to_transl
from .types import BAD_CAMERA, Bodies, Crops, People, Piece

PRESENCE_MIN = 0.5  # on the example clip a stone taken for a person has 0.00 to 0.05, people nearly always over 0.9


@dataclass
class RegressCounts:
    """What the regressor made of the detector's people."""

    nobody: int = 0  # crops in which it saw no person: left out


def regress(batches: Iterator[list[Piece]], session: Session) -> Iterator[list[Piece]]:
    """Each batch of pieces of Crops as pieces of Bodies, without those in which the regressor itself sees nobody."""
    for batch in batches:
        full = [piece for piece in batch if len(piece)]
        given = [{"crop": piece.rows.pixels, "bbox_info": piece.rows.bbox_info} for piece in full]
        answers = iter(together(session, given))
        yield [
            replace(piece, rows=bodies(piece.rows, next(answers), piece.run.counts.regress)) if len(piece) else piece
            for piece in batch
        ]


def bodies(crops: Crops, answer: dict[str, np.ndarray], counts: RegressCounts) -> Bodies:
    """What the regressor's answer says in the full frame's camera."""
    if "presence" in answer:
        there = answer["presence"] >= PRESENCE_MIN
        counts.nobody += int((~there).sum())
        if not there.all():
            crops, answer = crops[there], {name: array[there] for name, array in answer.items()}
    rotations = axis_angle(answer["rotmat"]).astype(np.float32)
    transl = camera_to_transl(answer["camera"], crops.crop_center_size_px, crops.focal_px, crops.frame_wh_px)
    flags = crops.flags | camera_is_bad(transl) * np.uint16(BAD_CAMERA)
    people = {name: column for name, column in crops.columns().items() if name in People.__dataclass_fields__}
    return Bodies(
        **people | {"flags": flags},
        global_orient=rotations[:, 0],
        body_pose=rotations[:, 1:].reshape(len(crops), 3 * (rotations.shape[1] - 1)),
        betas=answer["betas"],
        transl=transl.astype(np.float32),
        pred_cam=answer["camera"],
        crop_center_size_px=crops.crop_center_size_px,
        focal_px=crops.focal_px,
    )
