"""Pose bodies in SMPL's format: compute joints and surface from pose and shape."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, UsageError
from ..geometry import Array as Reals
from ..inputs import open_input
from ..npz import load_npz
from ..rotations import rotation_matrix
from ..tables import Float32, Float64, Int32
from .registry import find_model
from .smpl_files import NEEDED, how_to_get

CALM = 8  # smoothing passes over the normals: face and navel stay visible, finer detail does not
# Cell sizes of the levels of detail for small bodies: a cell's vertices are drawn as one. open-body has 27,036 faces,
# then 16,314, 13,000, 10,904 and 7,282. Its silhouette overlaps the full one by 99.8 % at 12 mm, 99.6 % at 16 mm.
CELLS_M = (0.008, 0.012, 0.016, 0.024)
INFLUENCES = 4
FINGER_NAMES = ("index", "middle", "pinky", "ring", "thumb")
BLOCK = 4  # people skinned at once: a block's transforms are 48 floats per vertex, 2.6 MB for open-body


# fmt: off
SMPL_JOINTS = [
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee",
    "spine2", "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot",
    "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
]
# fmt: on
FINGERS = [f"{side}_{name}{k}" for side in ("left", "right") for name in FINGER_NAMES for k in (1, 2, 3)]
SMPLX_JOINTS = [*SMPL_JOINTS[:22], "jaw", "left_eye", "right_eye", *FINGERS]
LICENSED = "{} contains the surface of the licensed body {!r}: do not pass it on; --skeleton-only makes one without it"


@dataclass(frozen=True, eq=False)
class Body:
    """A kinematic tree and a skinned mesh, both affine in betas (SMPL, Loper 2015).

    Mesh vectors are stored as (3,V).
    """

    name: str
    parents: tuple[int, ...]  # -1 for the root
    rest_joints_m: Float64  # (J,3) at betas 0
    joint_dirs_m: Float64  # (J,3,B) per unit of each beta
    faces: Int32  # (F,3)
    rest_m: Float32  # (3V,) at betas 0
    shape_dirs_m: Float32  # (B,3V) per unit of each beta
    pose_dirs_m: Float32 | None  # (9K,3V) pose corrections of the first K joints after the root; None: none
    weights: Float32  # (J,V), sums to 1 over J
    rest_normals: Float32  # (3,V)
    redistributable: bool  # whether files that contain its surface may be redistributed

    @property
    def joint_names(self) -> list[str]:
        """Return one name per joint: SMPL's or SMPL-X's, numbers for any other body."""
        names = SMPL_JOINTS if len(self.parents) == len(SMPL_JOINTS) else SMPLX_JOINTS
        return names if len(names) == len(self.parents) else [f"joint{j}" for j in range(len(self.parents))]

    def licence_warning(self, what: str) -> str | None:
        """Return the warning for a file, named ``what``, that contains the surface; None if sharing it is allowed."""
        return None if self.redistributable else LICENSED.format(what, self.name)

    @cached_property
    def levels(self) -> tuple[tuple[float, Int32], ...]:
        """Return ``(size in metres of the omitted detail, faces (F,3))`` of each level of detail, finest first."""
        rest, normals = self.rest_m.reshape(3, -1).T, self.rest_normals.T
        return ((0.0, self.faces), *((cell, decimate(rest, normals, self.faces, cell)) for cell in CELLS_M))

    @cached_property
    def influences(self) -> tuple[NDArray[np.intp], Float64]:
        """Return the joints (V,4) with the largest weights of each vertex, and these weights (V,4), which sum to 1.

        glTF and WebGL skin with four joints too.
        """
        strongest = np.argsort(-self.weights, axis=0, kind="stable")[:INFLUENCES].T
        weights = np.take_along_axis(self.weights.T, strongest, axis=1).astype(np.float64)
        return strongest, weights / weights.sum(axis=1, keepdims=True)

    def joints(
        self, global_orient: Reals, body_pose: Reals, betas: Reals, transl: Reals, first: int | None = None
    ) -> Float64:
        """Return joints (P,J,3) in metres, in the frame of ``transl``; of these the ``first`` ones, None: all.

        Takes axis-angle rotations (P,3) and (P,3K), betas (P,up to B) and transl (P,3). Joints after the first K are at
        rest. As in SMPL, the root rotates about its rest position, so the pelvis is always at its rest position for the
        betas, plus transl. Raises ModelError for more betas or joints than the body has.
        """
        return self._bones(global_orient, body_pose, betas, first)[2] + transl[:, None]

    def surface(self, global_orient: Reals, body_pose: Reals, betas: Reals, transl: Reals) -> tuple[Float32, Float32]:
        """Return vertices in metres and normals, each (P,V,3); arguments as for ``joints``.

        The normals are those of the mean shape at rest, rotated with the skin. They are right except at the scale of
        wrinkles.
        """
        turn, world, joints, rest = self._bones(global_orient, body_pose, betas)
        move = joints + transl[:, None] - (world @ rest[..., None])[..., 0]
        bones = np.concatenate([world, move[..., None]], axis=-1).transpose(0, 2, 3, 1).astype(np.float32)  # (P,3,4,J)
        vertices = np.empty((len(betas), self.rest_m.size // 3, 3), np.float32)
        normals = np.empty_like(vertices)
        for start in range(0, len(betas), BLOCK):
            people = slice(start, start + BLOCK)
            skin = self._unposed(turn[people], betas[people].astype(np.float32))
            blend = (bones[people].reshape(-1, len(self.parents)) @ self.weights).reshape(len(skin), 3, 4, -1)
            at = blend[:, :, 0] * skin[:, None, 0] + blend[:, :, 1] * skin[:, None, 1]
            at += blend[:, :, 2] * skin[:, None, 2] + blend[:, :, 3]
            vertices[people] = at.transpose(0, 2, 1)
            x, y, z = self.rest_normals
            normals[people] = (blend[:, :, 0] * x + blend[:, :, 1] * y + blend[:, :, 2] * z).transpose(0, 2, 1)
        return vertices, normals

    def rest_joints(self, betas: Reals) -> Float64:
        """Return the joints (P,J,3) at rest for these betas. Raises ModelError for more betas than the body has."""
        if betas.shape[1] > self.joint_dirs_m.shape[2]:
            raise ModelError(
                f"body {self.name!r} has {self.joint_dirs_m.shape[2]} betas, the tracks have {betas.shape[1]}; "
                "add a body file with more of them"
            )
        moved: Float64 = np.einsum("jck,pk->pjc", self.joint_dirs_m[..., : betas.shape[1]], betas)
        return self.rest_joints_m + moved

    def _bones(
        self, global_orient: Reals, body_pose: Reals, betas: Reals, first: int | None = None
    ) -> tuple[Float64, Float64, Float64, Float64]:
        """Return rotations to parent and to camera (P,J,3,3), and joints (P,J,3) posed at transl 0 and at rest.

        ``first``: only of so many joints, whose parents are among them, as parents come first.
        """
        moved = 1 + body_pose.shape[1] // 3
        if moved > len(self.parents):
            raise ModelError(f"body {self.name!r} has {len(self.parents)} joints, the tracks have {moved}")
        rest = self.rest_joints(betas)[:, :first]
        turn = np.broadcast_to(np.eye(3), (*rest.shape[:2], 3, 3)).copy()
        given = np.concatenate([global_orient, body_pose], axis=1).reshape(len(rest), moved, 3)[:, :first]
        turn[:, : given.shape[1]] = rotation_matrix(given)
        joints, world = rest.copy(), turn.copy()
        for j, parent in enumerate(self.parents[:first]):
            if parent < 0:
                continue
            world[:, j] = world[:, parent] @ turn[:, j]
            bone = rest[:, j] - rest[:, parent]
            joints[:, j] = joints[:, parent] + (world[:, parent] @ bone[..., None])[..., 0]
        return turn, world, joints, rest

    def _unposed(self, turn: Float64, betas: Float32) -> Float32:
        """Return the rest mesh (P,3,V) for these betas, with the corrections for the pose added."""
        skin: Float32 = self.rest_m + betas @ self.shape_dirs_m[: betas.shape[1]]
        if self.pose_dirs_m is not None:
            bends = (turn[:, 1:] - np.eye(3)).reshape(len(turn), -1)[:, : len(self.pose_dirs_m)]
            skin += bends.astype(np.float32) @ self.pose_dirs_m
        return skin.reshape(len(turn), 3, -1)


@cache
def load_body(name: str) -> Body:
    """Return the body of that name, such as ``open-body`` or ``smpl``, from the model folders.

    Raises:
        UsageError: There is none; the message says how to get a licensed one.
        ModelError: Its file is damaged.
    """
    try:
        path = find_model("body", name).path("body.npz")
    except UsageError as error:
        raise UsageError(how_to_get(name) or str(error)) from error
    with open_input(path) as file:
        data = load_npz(file, NEEDED)
    regressor, template, dirs = (data[key].astype(np.float64) for key in ("J_regressor", "v_template", "shapedirs"))
    parents, faces, weights = data["kintree_table"][0], data["f"].astype(np.int32), data["weights"]
    pose_dirs = data["posedirs"]
    flat = template.T.astype(np.float32)
    return Body(
        name=name,
        # SMPL files mark the root by 2^32 - 1
        parents=tuple(int(p) for p in np.where(np.arange(len(parents)) == 0, -1, parents)),
        rest_joints_m=regressor @ template,
        joint_dirs_m=np.einsum("jv,vck->jck", regressor, dirs, optimize=True),
        faces=faces,
        rest_m=flat.reshape(-1).copy(),
        shape_dirs_m=_rows(dirs),
        pose_dirs_m=_rows(pose_dirs) if pose_dirs.any() else None,
        weights=np.ascontiguousarray(weights.T, np.float32),
        rest_normals=smooth_normals(vertex_normals(template, faces), faces).T.astype(np.float32),
        redistributable=how_to_get(name) is None,
    )


def _rows(dirs: Reals) -> Float32:
    """Return directions (V,3,K) as contiguous rows (K,3V): all x, then all y, then all z."""
    return np.ascontiguousarray(dirs.transpose(2, 1, 0), np.float32).reshape(dirs.shape[2], -1)


def vertex_normals(vertices: Reals, faces: Int32) -> Float64:
    """Return unit normals (V,3) of a mesh: the mean of the normals of each vertex's faces, weighted by their area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_face = np.cross(b - a, c - a)
    corner, count = faces.T.reshape(-1), len(vertices)
    total = np.stack([np.bincount(corner, np.tile(of_face[:, k], 3), count) for k in range(3)], axis=1)
    unit: Float64 = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return unit


def smooth_normals(normals: Float64, faces: Int32) -> Float64:
    """Return the normals (V,3) averaged with their neighbours, so that a body is shaded like a mannequin."""
    corner, after = faces.T.reshape(-1), faces[:, [1, 2, 0]].T.reshape(-1)
    for _ in range(CALM):
        total = normals.copy()
        for k in range(3):
            total[:, k] += np.bincount(corner, normals[after, k], len(normals))
            total[:, k] += np.bincount(after, normals[corner, k], len(normals))
        normals = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return normals


def decimate(rest: Float32, normals: Float32, faces: Int32, cell_m: float) -> Int32:
    """Return the faces (F,3) left after merging all vertices (V,3) of a cubic cell that face the same way.

    Grouping by direction keeps the two sides of a thin part apart. A group is merged into its outermost vertex, since
    chords cut into round parts.
    """
    cells = np.floor((rest - rest.min(axis=0)) / cell_m).astype(np.int64)
    axis = np.abs(normals).argmax(axis=1)
    facing = 2 * axis + (np.take_along_axis(normals, axis[:, None], axis=1)[:, 0] > 0)
    _, group = np.unique(np.column_stack([cells, facing]), axis=0, return_inverse=True)
    count = np.bincount(group)
    middle, outward = (
        np.stack([np.bincount(group, values[:, k]) / count for k in range(3)], axis=1)[group]
        for values in (rest, normals)
    )
    worth = 0.3 * np.linalg.norm(rest - middle, axis=1) - ((rest - middle) * outward).sum(axis=1)
    best = np.lexsort((worth, group))[np.cumsum(count) - count]
    kept = best[group[faces]]
    a, b, c = kept.T
    left: Int32 = kept[(a != b) & (b != c) & (c != a)].astype(np.int32)
    return left
