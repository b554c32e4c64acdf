"""Restore rows that other programs rewrote: pandas, polars and DuckDB change column types, order and metadata.

Lossless changes are accepted; for others, an error names the column.
"""

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..tables import FLAG_BITS, Array, Tracks
from .arrow_types import Column
from .meta import CountFacts, Meta


class Misfit(Exception):
    """Rows or columns that do not fit a tracks file; the message says why."""


def plain(name: str, column: Column, dtype: np.dtype[np.generic], vector: bool) -> Array:
    """Return an Arrow column as numpy (N,), or (N,width) for lists of equal length. Raises Misfit."""
    import pyarrow as pa

    column = column.combine_chunks()
    if column.null_count:
        raise Misfit(f"column {name!r} holds nulls")
    rows, values = len(column), column
    shape: tuple[int, ...] = ()
    if vector:
        values, shape = _items(name, column)
        if values.null_count:
            raise Misfit(f"column {name!r} holds nulls")
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise Misfit(f"column {name!r} is {column.type}, expected {dtype}{' in lists' if vector else ''}")
    return exact(name, values.to_numpy(zero_copy_only=False).reshape(rows, *shape), dtype)


def _items(name: str, column: Column) -> tuple[Column, tuple[int]]:
    """Return the items of a list column and the length of each list. Raises Misfit."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return column.flatten(), (column.type.list_size,)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise Misfit(f"column {name!r} is {column.type}, expected a list in each row")
    lengths = np.diff(column.offsets.to_numpy())
    width = int(lengths[0]) if len(lengths) else 0
    if (lengths != width).any():
        raise Misfit(
            f"column {name!r} has lists of {lengths.min()} to {lengths.max()} numbers, expected as many in each"
        )
    return column.flatten(), (width,)


def exact(name: str, values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Return the same numbers as ``dtype``. Raises Misfit if it cannot represent one exactly."""
    if values.dtype == dtype:
        return values
    if values.dtype.kind not in "iuf":
        raise Misfit(f"column {name!r} is {values.dtype}, expected {dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = values.astype(dtype)
    lost = ~((cast == values) | (np.isnan(cast) & np.isnan(values)))
    if lost.any():
        raise Misfit(
            f"column {name!r} holds {values[lost][0]}, which {dtype} cannot hold exactly; convert it to {dtype} first"
        )
    return cast


def in_order(rows: Tracks) -> Tracks:
    """Return the rows sorted by (frame_idx, track_id). Raises Misfit for a duplicate."""
    frame, track = rows.frame_idx, rows.track_id
    later = (frame[1:] > frame[:-1]) | ((frame[1:] == frame[:-1]) & (track[1:] > track[:-1]))
    if later.all():
        return rows
    rows = rows[np.lexsort((track, frame))]
    frame, track = rows.frame_idx, rows.track_id
    twice = np.flatnonzero((frame[1:] == frame[:-1]) & (track[1:] == track[:-1]))
    if len(twice):
        raise Misfit(f"frame {frame[twice[0]]} has two rows of track {track[twice[0]]}: rows of several videos?")
    return rows


def matched(path: Path, rows: Tracks, like: Path, theirs: Tracks, meta: Meta) -> tuple[Tracks, Meta]:
    """Return the rows with the metadata of ``like``. Raises InputError if they are not from that file."""
    for name in ("body_pose", "betas"):
        mine, width = getattr(rows, name).shape[1], getattr(theirs, name).shape[1]
        if len(rows) and mine != width:
            raise InputError(f"{path}: column {name!r} has {mine} numbers a row, those of {like} have {width}")
    if not len(rows):  # without rows, variable-size lists have no width
        return theirs[:0], meta | {"counts": _counts(theirs[:0], meta)}
    frames, first = np.unique(theirs.frame_idx, return_index=True)
    at = np.searchsorted(frames, rows.frame_idx).clip(max=max(len(frames) - 1, 0))
    known = frames[at] == rows.frame_idx if len(frames) else np.zeros(len(rows), bool)
    for name in ("pts", "time_s"):
        mine, original = getattr(rows, name)[known], getattr(theirs, name)[first[at[known]]]
        if (mine != original).any():
            frame = rows.frame_idx[known][mine != original][0]
            raise InputError(f"{path}: column {name!r} of frame {frame} is not as in {like}; not of the same video")
    boxes = {(frame, box.tobytes()) for frame, box in zip(theirs.frame_idx.tolist(), theirs.bbox_xyxy, strict=True)}
    mine = zip(rows.frame_idx.tolist(), rows.bbox_xyxy, strict=True)
    if not any((frame, box.tobytes()) in boxes for frame, box in mine):
        raise InputError(f"{path}: none of its boxes is in {like}; give the file that its rows were taken from")
    return rows, meta | {"counts": _counts(rows, meta)}


def _counts(rows: Tracks, meta: Meta) -> CountFacts:
    """Return the counts from decoding, updated for the present rows."""
    flags = {name: int((rows.flags & bit != 0).sum()) for name, bit in FLAG_BITS.items()}
    return meta.get("counts", {}) | {"rows": len(rows), "tracks": len(np.unique(rows.track_id)), "flags": flags}
