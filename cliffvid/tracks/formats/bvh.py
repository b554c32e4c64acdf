"""Write BVH for animation programs, one file per piece: a rest skeleton and Euler angles."""

import numpy as np

from ...geometry import Array
from ...models.body import Body
from ..motion import Piece

TIP_M = 0.08  # length of the end site of a leaf joint


def bvh_text(piece: Piece, body: Body, fps: float, cm: bool) -> str:
    """Return the file's text. Axes: x right, y up, z to the camera, see ``Piece.level``.

    Metres or centimetres; degrees, in the order Z X Y.
    """
    unit = 100.0 if cm else 1.0
    rest = body.rest_joints(piece.betas[None])[0] * unit
    moved = piece.turns.shape[1]
    lines = ["HIERARCHY"]
    order: list[int] = []
    _joint(0, 0, rest, body, unit, lines, order)
    angles = np.zeros((len(piece), len(body.parents), 3))
    angles[:, :moved] = np.degrees(np.unwrap(euler_zxy(piece.turns), axis=0))
    rows = np.concatenate([piece.pelvis_m * unit, angles[:, order].reshape(len(piece), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(piece)}", f"Frame Time: {1 / fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in rows.tolist()]
    return "\n".join(lines) + "\n"


def _joint(j: int, depth: int, rest: Array, body: Body, unit: float, lines: list[str], order: list[int]) -> None:
    """Append a joint and its descendants; ``order`` collects the order of the channels."""
    order.append(j)
    tab, parent = "\t" * depth, body.parents[j]
    bone = rest[j] - rest[parent] if parent >= 0 else np.zeros(3)
    places = "Xposition Yposition Zposition " if parent < 0 else ""
    lines += [
        f"{tab}{'JOINT' if parent >= 0 else 'ROOT'} {body.joint_names[j]}",
        f"{tab}{{",
        f"{tab}\tOFFSET {_numbers(bone)}",
        f"{tab}\tCHANNELS {6 if places else 3} {places}Zrotation Xrotation Yrotation",
    ]
    children = [k for k, above in enumerate(body.parents) if above == j]
    for child in children:
        _joint(child, depth + 1, rest, body, unit, lines, order)
    if not children:
        tip = bone / max(float(np.linalg.norm(bone)), 1e-9) * TIP_M * unit
        lines += [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET {_numbers(tip)}", f"{tab}\t}}"]
    lines.append(f"{tab}}}")


def _numbers(values: Array) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def euler_zxy(turns: Array) -> Array:
    """Return Euler angles z, x, y (...,3) in radians of unit quaternions (...,4): R = Rz Rx Ry, |x| <= 90 degrees."""
    x, y, z, w = np.moveaxis(turns, -1, 0)
    about_x = np.arcsin(np.clip(2 * (y * z + x * w), -1, 1))
    about_z = np.arctan2(2 * (z * w - x * y), 1 - 2 * (x * x + z * z))
    about_y = np.arctan2(2 * (y * w - x * z), 1 - 2 * (x * x + y * y))
    # Gimbal lock at x = +-90 degrees: z and y share an axis, so z takes the whole rotation.
    level = np.abs(2 * (y * z + x * w)) < 1 - 1e-9
    about_z = np.where(level, about_z, np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))
    return np.stack([about_z, about_x, np.where(level, about_y, 0)], axis=-1)
