"""Write people's joints as a table for pandas and the like, parquet or CSV: one number per column."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...models.body import Body
from ...tables import Array, Tracks
from ..level import Levels
from ..motion import Y_UP, level_joints
from .csv import AXES, csv
from .table import check_ending


def joints_table(rows: Tracks, body: Body, levels: Levels, out: Path) -> bytes:
    """Return the file's bytes, as parquet or CSV by the ending of ``out``; a row for each of the table's.

    ``{joint}_camera_{axis}_m`` is in the camera's frame, as ``transl``. ``{joint}_level_{axis}_m`` is y up, x right, z
    towards the camera, on the floor; NaN where the camera is impossible.
    """
    writers: dict[str, Callable[[Mapping[str, Array]], bytes]] = {".parquet": parquet, ".csv": csv}
    check_ending(out, *writers)
    seen = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
    columns: dict[str, Array] = {name: getattr(rows, name) for name in ("frame_idx", "time_s", "track_id", "flags")}
    for frame, joints in (("camera", seen), ("level", level_joints(rows, body, Y_UP, levels))):
        names = [f"{joint}_{frame}_{axis}_m" for joint in body.joint_names for axis in AXES]
        columns |= dict(zip(names, joints.reshape(len(rows), len(names)).astype(np.float32).T, strict=True))
    return writers[out.suffix.lower()](columns)


def parquet(columns: Mapping[str, Array]) -> bytes:
    """Return columns of numbers as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data
