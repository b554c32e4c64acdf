"""Bodies in SMPL's format: joints from pose and shape."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from .geometry import rotation_matrix
from .models import find_model


@dataclass(frozen=True, eq=False)
class Body:
    """A kinematic tree whose resting joints are affine in betas (Loper 2015, SMPL)."""

    name: str
    parents: tuple[int, ...]  # -1 for the root
    rest_joints_m: np.ndarray  # (24,3) at betas 0
    joint_dirs_m: np.ndarray  # (24,3,10) per unit of each beta

    def joints(self, global_orient, body_pose, betas, transl) -> np.ndarray:
        """Joints (P,24,3) in metres in the frame of ``transl``, float64.

        Takes axis-angle rotations (P,3) and (P,69), betas (P,10), transl (P,3). As in SMPL the root turns about its
        own resting joint, so the pelvis is at rest pelvis(betas) + transl.
        """
        rest = self.rest_joints_m + np.einsum("jck,pk->pjc", self.joint_dirs_m, betas)
        turn = rotation_matrix(np.concatenate([global_orient, body_pose], axis=1).reshape(len(betas), -1, 3))
        joints, world = rest.copy(), turn.copy()
        for j, parent in enumerate(self.parents):
            if parent < 0:
                continue
            world[:, j] = world[:, parent] @ turn[:, j]
            bone = rest[:, j] - rest[:, parent]
            joints[:, j] = joints[:, parent] + (world[:, parent] @ bone[..., None])[..., 0]
        return joints + transl[:, None]


@cache
def load_body(name: str) -> Body:
    """The body of that name among the model folders. Raises UsageError if there is none, ModelError if damaged."""
    path = find_model("body", name).path("body.npz")
    with np.load(path, allow_pickle=False) as data:
        regressor = data["J_regressor"].astype(np.float64)
        rest = regressor @ data["v_template"]
        dirs = np.einsum("jv,vck->jck", regressor, data["shapedirs"], optimize=True)
        parents = data["kintree_table"][0]
    root_marked = np.where(np.arange(len(parents)) == 0, -1, parents)  # SMPL files mark the root by 2^32 - 1
    return Body(name, tuple(int(p) for p in root_marked), rest, dirs)
