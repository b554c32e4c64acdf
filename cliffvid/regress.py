"""Crops to bodies: the regressor, and its crop camera carried over to the full frame."""

from collections.abc import Iterator

import numpy as np

from .backends import Session
from .geometry import axis_angle, camera_is_bad, camera_to_transl
from .types import BAD_CAMERA, LOW_PRESENCE, Bodies, Crops, People

PRESENCE_MIN = 0.5


def regress(crops: Iterator[Crops], session: Session) -> Iterator[Bodies]:
    """The bodies of each batch of crops."""
    for batch in crops:
        answer = session.run({"crop": batch.pixels, "bbox_info": batch.bbox_info})
        rotations = axis_angle(answer["rotmat"]).astype(np.float32)
        transl = camera_to_transl(answer["camera"], batch.crop_center_size_px, batch.focal_px, batch.frame_wh_px)
        flags = batch.flags | camera_is_bad(transl) * np.uint16(BAD_CAMERA)
        if "presence" in answer:
            flags = flags | (answer["presence"] < PRESENCE_MIN) * np.uint16(LOW_PRESENCE)
        people = {name: column for name, column in batch.columns().items() if name in People.__dataclass_fields__}
        yield Bodies(
            **people | {"flags": flags},
            global_orient=rotations[:, 0],
            body_pose=rotations[:, 1:].reshape(-1, 69),
            betas=answer["betas"],
            transl=transl.astype(np.float32),
            pred_cam=answer["camera"],
            crop_center_size_px=batch.crop_center_size_px,
            focal_px=batch.focal_px,
        )
