"""Read tracks from files."""

import json
import os
import shlex
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError, UsageError
from ..inputs import open_input
from ..metadata import TRACKS, violation
from ..npz import check_unpacked, load_npz, size_of
from ..option import check
from ..tables import BAD_CAMERA, Tracks, column_specs
from .arrow_types import ArrowTable, Footer, ParquetFile
from .meta import Meta
from .rewritten import Misfit, exact, in_order, matched, plain
from .video_tracks import VideoTracks
from .write import COLUMNS, META_CRC_KEY, META_KEY, SCHEMA_VERSION

VALUE_BYTES = 8  # largest size of a number in a column
OF_THE_NETWORK = {"global_orient", "body_pose", "betas", "transl", "pred_cam", *Tracks.optional()}
# pyarrow's own exceptions on reading are subclasses of OSError or ValueError
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_tracks(path: str | Path, like: str | Path | None = None, *, video: str | None = None) -> VideoTracks:
    """Return all rows of a tracks file, or those of one video of a data set.

    Args:
        path: A tracks file, parquet or npz; or the folder of a data set, as ``annotate`` writes it.
        like: The original tracks file, if another program rewrote its rows and lost the metadata. The rows must fit it.
        video: The video, named as in the data set's videos.parquet.

    Returns:
        The rows as numpy columns, sorted by (frame_idx, track_id), with their metadata.

    Raises:
        UsageError: A data set holds no such video, or none was named.
        InputError: A file is missing, damaged or not a tracks file, or the rows are not from ``like``.
    """
    path = Path(path)
    if os.path.isdir(path) and like is None:  # a data set has its metadata
        from .data_set import read_video

        return VideoTracks.of(*read_video(path, video))
    check(video is None, f"{path}: video={video!r} chooses from the folder of a data set, and this is none")
    if like is not None:
        return VideoTracks.of(*read_both(path, Path(like)))
    return VideoTracks.of(*_read(path))


def read_meta(path: str | Path) -> Meta:
    """Return the metadata of a tracks file.

    Args:
        path: A tracks file, parquet or npz.

    Returns:
        Video, settings, models, body, counts, completeness and column conventions. ``counts`` and ``complete`` are
        missing if pyarrow copied the rows from another file.

    Raises:
        InputError: The file is missing, damaged or not a tracks file.
    """
    return _read(Path(path), rows=False)[1]


def read_both(path: Path, like: Path | None = None) -> tuple[Tracks, Meta]:
    """Return rows and metadata of a tracks file; raise InputError as read_tracks, or if it names no video or body."""
    if like is None:
        rows, meta = _read(path)
    else:
        rows, meta = matched(path, _read(path, meta=False)[0], like, *read_both(like))
    if missing := [name for name in ("video", "body") if name not in meta]:
        raise InputError(
            f"{path}: its metadata names no {' and no '.join(missing)}, as in a data set's shard; give the tracks file "
            "of one video"
        )
    return rows, meta


def chosen(rows: Tracks, ids: tuple[int, ...], path: Path) -> Tracks:
    """Return the rows with these track ids, or all rows if none are given. Raises UsageError for an unknown id."""
    missing = sorted(set(ids) - set(rows.track_id.tolist()))
    if missing:
        have = f"1 to {rows.track_id.max()}" if len(rows) else "none"
        raise UsageError(f"{path}: no track {', '.join(map(str, missing))}; it holds {have}")
    return rows[np.isin(rows.track_id, ids)] if ids else rows


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Convert every exception from reading a damaged or foreign file to InputError; ``what``: the expected kind."""
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{path}: asks for more memory than there is; a readable {what} would not") from error
    except UNREADABLE as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a readable {what} ({reason}); damaged, or something else") from error


def _read(path: Path, rows: bool = True, meta: bool = True) -> tuple[Tracks, Meta]:
    """Return rows and metadata, both checked; a part that is not requested stays empty."""
    try:
        with reading(path, "tracks file"), open_input(path) as file:
            reader = _read_npz if file.read(4) == b"PK\x03\x04" else _read_parquet
            file.seek(0)
            tracks, text = reader(file, rows)
            found: Meta | None = json.loads(text) if meta and text is not None else None
    except Misfit as misfit:
        raise InputError(f"{path}: not a tracks file: {misfit}") from misfit
    if meta:
        _check_meta(path, found)
    known: Meta = found or {}
    video = known.get("video")
    check_rows(path, tracks, video.get("files") if video else None)
    return tracks, known


def check_rows(path: Path, rows: Tracks, files: list[str] | None) -> None:
    """Raise InputError for NaN or infinity, frames or times out of order, or confidences of another body's joints.

    ``rows``: sorted by (frame_idx, track_id).
    """
    joints = rows.body_pose.shape[1] // 3 + 1
    if len(rows) and rows.joint_confidence is not None and rows.joint_confidence.shape[1] != joints:
        raise InputError(
            f"{path}: column 'joint_confidence' has {rows.joint_confidence.shape[1]} numbers a row, expected {joints} "
            "as column 'body_pose' has joints"
        )
    seen = (rows.flags & BAD_CAMERA) == 0  # the network's outputs in the other rows are not checked
    for name, column in rows.columns().items():
        if column.dtype.kind != "f":
            continue
        bad = ~np.isfinite(column).all(axis=tuple(range(1, column.ndim)))
        if name in OF_THE_NETWORK:
            bad &= seen
        if bad.any():
            raise InputError(
                f"{path}: column {name!r} of row {bad.argmax()} holds a number that is none (NaN or infinite); leave "
                "such rows out, or process the video again"
            )
    last = (1 << 53 if files is None else len(files)) - 1
    bad = (rows.frame_idx < 0) | (rows.frame_idx > last)
    if bad.any():
        raise InputError(
            f"{path}: column 'frame_idx' of row {bad.argmax()} is {rows.frame_idx[bad.argmax()]}, expected 0 to {last}"
        )
    late, same = np.diff(rows.time_s), np.diff(rows.frame_idx) == 0
    bad = rows.time_s < 0
    bad[1:] |= np.where(same, late != 0, late <= 0)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{path}: column 'time_s' of row {row}, frame {rows.frame_idx[row]}, is {rows.time_s[row]:.9g}; expected "
            "one time for each frame, 0 or more, later than that of the frame before"
        )


def _check_meta(path: Path, meta: object) -> None:
    mend = (
        f"`cliffvid convert {shlex.quote(str(path))} --like ORIGINAL --to parquet -o FIXED` takes it from the file "
        "that its rows came from"
    )
    if meta is None:
        raise InputError(f"{path}: lost its metadata (rewritten by pandas, polars or DuckDB?); {mend}")
    version = meta.get("schema_version") if isinstance(meta, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema {version}, this cliffvid reads {SCHEMA_VERSION}")
    if found := violation(meta, TRACKS):
        raise InputError(f"{path}: its metadata is damaged ({found}); {mend}")


def _read_parquet(file: BinaryIO, rows: bool) -> tuple[Tracks, bytes | None]:
    import pyarrow.parquet as pq

    # Without Arrow's threads: 7 of 113 short processes that used them aborted at exit, none of 71 without.
    source: ParquetFile = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
    check_parquet(source.metadata, size_of(file), COLUMNS)
    names = present(source.schema_arrow.names)
    # From the footer, or from the schema if another program rewrote the rows with pyarrow.
    kept = source.metadata.metadata or {}
    meta, crc = kept.get(META_KEY.encode()), kept.get(META_CRC_KEY.encode())
    if meta is not None and crc is not None and crc != str(zlib.crc32(meta)).encode():
        raise ValueError("its metadata has another checksum")
    if not rows:
        return Tracks.empty(), meta
    return in_order(from_arrow(source.read(names, use_threads=False))), meta


def check_parquet(metadata: Footer, size: int, names: Iterable[str] | None = None) -> None:
    """Raise ValueError if a parquet file of ``size`` bytes would decompress to implausibly many bytes.

    ``metadata``: pyarrow's footer. ``names``: the columns to count, all if None.
    """
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    columns = [group.column(k) for group in groups for k in range(group.num_columns)]
    columns = [c for c in columns if names is None or c.path_in_schema.split(".")[0] in names]
    check_unpacked(size, sum(max(VALUE_BYTES * c.num_values, c.total_uncompressed_size) for c in columns))


def from_arrow(table: ArrowTable) -> Tracks:
    """Return the rows of an Arrow table that holds the columns of Tracks. Raises Misfit."""
    specs = {name: spec for name, spec in column_specs(Tracks).items() if name in table.schema.names}
    if not len(table):  # without rows, variable-size lists have no width
        widths = {spec[1][-1]: getattr(table[name].type, "list_size", 0) for name, spec in specs.items()}
        return Tracks.empty(specs, **{axis: widths[axis] for axis in ("pose", "shape", "joints") if axis in widths})
    columns = specs.items()
    return Tracks(**{name: plain(name, table[name], dtypes[0], len(shape) > 1) for name, (dtypes, shape) in columns})


def _read_npz(file: BinaryIO, rows: bool) -> tuple[Tracks, str | None]:
    with zipfile.ZipFile(file) as archive:
        stored = [name.removesuffix(".npy") for name in archive.namelist()]
    names = present(stored)
    known = [META_KEY] if META_KEY in stored else []
    arrays = load_npz(file, [*known, *(names if rows else ())])
    meta = str(arrays[META_KEY]) if known else None
    if not rows:
        return Tracks.empty(), meta
    specs = column_specs(Tracks)
    return in_order(Tracks(**{name: exact(name, arrays[name], specs[name][0][0]) for name in names})), meta


def present(names: list[str]) -> list[str]:
    """Return those of a file's columns that are of Tracks. Raises Misfit if one is missing that is not optional."""
    if missing := [name for name in COLUMNS if name not in names and name not in Tracks.optional()]:
        raise Misfit(f"it has no column {missing[0]!r}")
    return [name for name in COLUMNS if name in names]
