"""Write AMASS-style npz, one file per piece, for Blender's SMPL add-ons, aitviewer, HumanML3D, PHC and GMR."""

import io

import numpy as np

from ...errors import UsageError
from ...geometry import Array
from ...models.body import Body, load_body
from ...options import GENDERS
from ...rotations import rotation_vector
from ...tables import Float64
from ..motion import Piece

# For each layout, the numbers per row and the body that its betas and rest pelvis refer to.
LAYOUTS = {"smplh": (156, "smpl"), "smplx": (165, "smplx")}
BODY_JOINTS = 22  # the first joints, which SMPL, SMPL-H and SMPL-X share


class Target:
    """The body that the target program will pose: its layout and its rest pelvis."""

    def __init__(self, body: Body, layout: str) -> None:
        family, _, gender = body.name.partition("-")
        self.layout = layout if layout != "auto" else "smplx" if family == "smplx" else "smplh"
        self.columns, wanted = LAYOUTS[self.layout]
        self.gender = gender if gender in GENDERS else "neutral"
        self.same, self.body, self.warnings = family == wanted, body, []
        if not self.same:
            self.warnings.append(f"betas are zeros: those of {body.name!r} mean nothing to {self.layout}")
            try:
                self.body = load_body(wanted)
            except UsageError:
                self.warnings.append(
                    f"no {wanted!r} body is here to tell where its pelvis rests: {body.name!r}'s is taken, and "
                    "people may stand some centimetres too high or too low"
                )

    def betas(self, piece: Piece) -> Float64:
        return piece.betas if self.same else np.zeros(10)

    def trans(self, piece: Piece) -> Array:
        """Return SMPL's translation (F,3): pelvis minus rest pelvis, because the root rotates about the rest pelvis."""
        count = self.body.joint_dirs_m.shape[2]
        betas = self.betas(piece)[None, :count]
        moved: Array = piece.pelvis_m - self.body.rest_joints(betas)[0, 0]
        return moved


def amass_npz(piece: Piece, target: Target, fps: int, source: str) -> bytes:
    """Return the file's bytes. Axes: z up, see ``Piece.level``; metres; radians; a constant ``fps``."""
    poses = np.zeros((len(piece), target.columns), np.float32)
    turns = rotation_vector(piece.turns[:, :BODY_JOINTS])
    poses[:, : 3 * BODY_JOINTS] = turns.reshape(len(piece), -1)
    hands = poses[:, -90:]
    arrays = {
        "poses": poses,
        "trans": target.trans(piece).astype(np.float32),
        "betas": target.betas(piece).astype(np.float32),
        "gender": np.array(target.gender),
        "surface_model_type": np.array(target.layout),
        # the name each reader expects; whole numbers, because some readers round
        "mocap_framerate": np.array(float(fps)),
        "mocap_frame_rate": np.array(float(fps)),
        "fps": np.array(float(fps)),
        # the same numbers under the names that other readers expect
        "root_orient": poses[:, :3],
        "pose_body": poses[:, 3:66],
        "pose_hand": hands,
        "poses_root": poses[:, :3],
        "poses_body": poses[:, 3:66],
        "time0_s": np.array(piece.time_s[0]),
        "track_id": np.array(piece.track_id),
        # z up: of a camera taken to be level, or as found, with the floor at 0
        "frame": np.array("camera_zup_assumed" if piece.level.floor_m is None else "level_zup"),
        "up_in_camera": piece.level.up,
        "floor_below_camera_m": np.array(-(piece.level.floor_m or np.nan)),
        "source": np.array(source),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes each of them for allow_pickle, too
    return file.getvalue()
