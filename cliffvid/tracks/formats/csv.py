"""Write tracks as CSV: one number per column, with units in the names."""

from collections.abc import Mapping

import numpy as np

from ...models.body import SMPL_JOINTS
from ...tables import Array, Tracks
from ..write import in_file

AXES = ("x", "y", "z")


def csv(columns: Mapping[str, Array]) -> bytes:
    """Return columns of numbers as CSV; floats in full precision."""
    import pyarrow as pa
    import pyarrow.csv

    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()}), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def flat_columns(rows: Tracks) -> dict[str, Array]:
    """Return all columns of a table as columns of one number each."""
    columns: dict[str, Array] = {}
    joints = SMPL_JOINTS[: 1 + rows.body_pose.shape[1] // 3]
    for name, column in in_file(rows).items():
        names = _column_names(name, column, joints)
        columns |= dict(zip(names, column.reshape(len(rows), len(names)).T, strict=True))
    return columns


def _column_names(name: str, column: Array, joints: list[str]) -> list[str]:
    match name:
        case "bbox_xyxy":
            return ["bbox_x0_px", "bbox_y0_px", "bbox_x1_px", "bbox_y1_px"]
        case "global_orient":
            return [f"global_orient_{axis}_rad" for axis in AXES]
        case "body_pose":
            return [f"{joint}_{axis}_rad" for joint in joints[1:] for axis in AXES]
        case "joint_confidence":
            return [f"{joint}_confidence" for joint in joints]
        case "betas":
            return [f"beta_{k}" for k in range(column.shape[1])]
        case "transl":
            return [f"transl_{axis}_m" for axis in AXES]
        case "pred_cam":
            return ["pred_cam_s", "pred_cam_tx", "pred_cam_ty"]
        case "crop_center_size_px":
            return ["crop_cx_px", "crop_cy_px", "crop_size_px"]
    return [name]
