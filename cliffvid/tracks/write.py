"""Write tracks to files."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO, Self
from zlib import crc32

import numpy as np

from ..errors import UsageError
from ..files import NewFile, output_errors
from ..tables import FLAG_BITS, Array, Tracks, column_specs
from .arrow_types import ArrowTable, ArrowWriter, DataType, Schema

SCHEMA_VERSION = 1
META_KEY = "cliffvid"
META_CRC_KEY = "cliffvid_crc32"  # CRC-32 of the text under META_KEY, as decimal digits; parquet only
ROW_GROUP = 2048  # rows, about 1 MB, buffered until full
SUFFIXES = {"parquet": ".parquet", "npz": ".npz", "cliff": "_cliff.npz"}
# The columns of a file in order, with their meaning; written into every file.
CONVENTIONS = {
    "frame_idx": "index of the decoded frame in presentation order, from 0",
    "pts": "ticks of the stream's clock, as in the video",
    "time_s": "seconds since the video's first frame",
    "track_id": "identity within this video, from 1",
    "det_score": "detector's confidence, 0 to 1",
    "bbox_xyxy": "pixels of the displayed frame; x = 0 is the left edge of the first pixel",
    "global_orient": "axis-angle, radians, body to camera",
    "body_pose": "joints but the root x axis-angle, radians, parent-relative, in the body's order: SMPL 23, SMPL-X 21",
    "betas": "shape coefficients of the named body, per frame; SMPL 10, SMPL-X 11",
    "transl": "metres; camera frame: x right, y down, z forward; pelvis = rest pelvis(betas) + transl",
    "pred_cam": "s, tx, ty of the crop's weak-perspective camera",
    "crop_center_size_px": "cx, cy, size of the crop in pixels of the displayed frame",
    "focal_px": "focal length assumed, pixels; principal point at settings.cx_px, cy_px, else (width/2, height/2)",
    "flags": "bits: " + ", ".join(f"{bit} {name}" for name, bit in FLAG_BITS.items()),
    "confidence": "probability that the mean of the joints' distances from the truth is at most 0.1 m, hips aligned; "
    "absent where the network does not tell",
    "joint_confidence": "the same of each joint, in the body's order: SMPL 24",
}
COLUMNS = tuple(CONVENTIONS)
OF_ALL_ROWS = ("counts", "complete")  # metadata that describes all rows together and is known only at the end


class Writer:
    """Writes tables of tracks incrementally; ``finish`` publishes the file. Leaving early removes the partial file.

    ``like``: a table of any length with the column widths of those to come. ``meta``: the metadata known in advance.
    """

    def __init__(
        self, path: Path, like: Tracks, meta: Mapping[str, object] | None = None, overwrite: bool = False
    ) -> None:
        self.path, self.like = path, like
        self.meta: Mapping[str, object] = meta or {}
        with ExitStack() as stack:
            self._new = stack.enter_context(NewFile(path, overwrite))
            with output_errors(path):
                self._open()
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._discard()
        finally:
            self._new.__exit__()

    def write(self, tracks: Tracks) -> None:
        with output_errors(self.path):
            self._write(tracks)

    def finish(self, meta: Mapping[str, object] | None = None) -> int:
        """Finish the file, publish it under its name and return its size in bytes. ``meta``: further metadata."""
        with output_errors(self.path):
            self._finish(about({**self.meta, **(meta or {})}))
        return self._new.keep()

    def _open(self) -> None: ...
    def _write(self, tracks: Tracks) -> None: ...
    def _finish(self, meta: Mapping[str, object]) -> None: ...
    def _discard(self) -> None: ...


class ParquetWriter(Writer):
    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._waiting: list[Tracks] = []
        self._held = 0
        sorting = [pq.SortingColumn(COLUMNS.index(name)) for name in ("frame_idx", "track_id")]
        # The footer's metadata is complete, because it is written last. But only the schema's metadata stays with the
        # columns when Arrow copies rows to another file.
        known = {name: value for name, value in self.meta.items() if name not in OF_ALL_ROWS}
        self._writer: ArrowWriter = open_parquet(
            self._new.file, arrow_schema(self.like, known), sorting_columns=sorting
        )

    def _write(self, tracks: Tracks) -> None:
        self._waiting.append(tracks)
        self._held += len(tracks)
        if self._held >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(arrow_table(Tracks.concat(self._waiting)), row_group_size=self._held)
            self._waiting, self._held = [], 0

    def _finish(self, meta: Mapping[str, object]) -> None:
        self._flush()
        text = json.dumps(meta)
        # Arrow checksums the pages, but not this text
        self._writer.add_key_value_metadata({META_KEY: text, META_CRC_KEY: str(crc32(text.encode()))})
        self._writer.close()

    def _discard(self) -> None:
        if self._writer.is_open:
            with suppress(OSError):  # closing writes the footer, which fails on a full disk
                self._writer.close()


class NpzWriter(Writer):
    """Writes npz files. Columns grow in unnamed temporary files, so memory use is independent of the video's length."""

    def _open(self) -> None:
        self._rows = 0
        self._none = self._arrays(self.like[:0])
        self._columns: dict[str, IO[bytes]] = {}
        with ExitStack() as stack:  # closes those that are there if one more cannot be opened
            for name in self._none:
                self._columns[name] = stack.enter_context(tempfile.TemporaryFile(dir=self._new.part.parent))
            self._files = stack.pop_all()

    def _arrays(self, tracks: Tracks) -> dict[str, Array]:
        """Return the file's per-row arrays for a table."""
        return in_file(tracks)

    def _write(self, tracks: Tracks) -> None:
        self._rows += len(tracks)
        for name, column in self._arrays(tracks).items():
            self._columns[name].write(np.ascontiguousarray(column).data)

    def _finish(self, meta: Mapping[str, object]) -> None:
        with zipfile.ZipFile(self._new.file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, column in self._none.items():
                self._columns[name].seek(0)
                blocks = iter(partial(self._columns[name].read, 1 << 20), b"")
                add_array(archive, name, column.dtype, (self._rows, *column.shape[1:]), blocks)
            self._add_more(archive, meta)
            text = np.array(json.dumps(meta))
            add_array(archive, META_KEY, text.dtype, (), [text.tobytes()])
        self._discard()

    def _add_more(self, archive: zipfile.ZipFile, meta: Mapping[str, object]) -> None:
        """Add arrays of other lengths; a hook for subclasses."""

    def _discard(self) -> None:
        with suppress(OSError):  # closing flushes the buffers, which fails on a full disk
            self._files.close()


WRITERS: dict[str, type[Writer]] = {"parquet": ParquetWriter, "npz": NpzWriter}


def open_writer(kind: str, path: Path, like: Tracks, meta: Mapping[str, object], overwrite: bool) -> Writer:
    """Return the Writer for a format: parquet, npz or cliff."""
    if kind == "cliff":
        from .formats.cliff import CliffWriter

        return CliffWriter(path, like, meta, overwrite)
    return WRITERS[kind](path, like, meta, overwrite)


def about(meta: Mapping[str, object]) -> dict[str, object]:
    """Return the metadata of a file: schema version, column conventions and ``meta``."""
    return {"schema_version": SCHEMA_VERSION, "columns": CONVENTIONS, **meta}


def open_parquet(file: IO[bytes], schema: Schema, **more: object) -> ArrowWriter:
    """Return pyarrow's ParquetWriter for a schema with the columns of Tracks, with encodings that suit them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    specs = column_specs(Tracks)
    floats = [name for name, (dtypes, _) in specs.items() if dtypes[0] == "float32" and name in schema.names]
    writer: ArrowWriter = pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        # The default, dictionary encoding for all columns, makes float columns larger than raw and seven times slower.
        use_dictionary=[name for name in ("video", "track_id", "flags") if name in schema.names],
        use_byte_stream_split=[f"{name}.list.element" if len(specs[name][1]) > 1 else name for name in floats],
        write_page_checksum=True,  # otherwise a flipped bit goes unnoticed
        memory_pool=pa.system_memory_pool(),  # Arrow's own pool retains more memory after each row group
        **more,
    )
    return writer


def in_file(tracks: Tracks) -> dict[str, Array]:
    """Return the columns of a table in the order of a file."""
    columns = tracks.columns()
    return {name: columns[name] for name in COLUMNS if name in columns}


def add_array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], blocks: Iterable[bytes]
) -> None:
    """Write an array to an npz file, its bytes in blocks."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:  # writestr would record the time of day
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks:
            member.write(block)


def arrow_schema(like: Tracks, meta: Mapping[str, object] | None = None) -> Schema:
    """Return the parquet schema of a table: columns ordered as COLUMNS, vectors as fixed-size lists, not nullable.

    It holds the column descriptions and ``meta``; pyarrow keeps them when it rewrites the rows.
    """
    import pyarrow as pa

    def kind(column: Array) -> DataType:
        element: DataType = pa.from_numpy_dtype(column.dtype)
        if column.ndim == 1:
            return element
        lists: DataType = pa.list_(pa.field("element", element, nullable=False), column.shape[1])
        return lists

    fields = [
        pa.field(name, kind(column), nullable=False, metadata={"description": CONVENTIONS[name]})
        for name, column in in_file(like).items()
    ]
    schema: Schema = pa.schema(fields, metadata={META_KEY: json.dumps(about(meta or {}))})
    return schema


def arrow_table(tracks: Tracks, meta: Mapping[str, object] | None = None) -> ArrowTable:
    """Return a table as an Arrow table; ``meta`` as in ``arrow_schema``."""
    import pyarrow as pa

    schema = arrow_schema(tracks, meta)
    arrays = []
    for field in schema:
        column = np.ascontiguousarray(getattr(tracks, field.name))
        # pa.array would import pandas, if installed, only for a type check: half a second and 60 MB.
        array = pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), column.size, [None, pa.py_buffer(column)])
        arrays.append(array if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(array, type=field.type))
    table: ArrowTable = pa.Table.from_arrays(arrays, schema=schema)
    return table


CONVERT = "to convert tracks: cliffvid convert TRACKS -o {out}"
# Suffixes that are not tracks files, and what the user of -o probably meant.
FOREIGN = {
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi", ".webm", ".gif"), "for a film: --overlay {out}"),
    **dict.fromkeys((".html", ".htm"), "for a report: --report {out}"),
    **dict.fromkeys((".jpg", ".jpeg", ".png"), "for pictures of images: --visuals bbox"),
    **dict.fromkeys((".glb", ".usd", ".usda", ".usdc", ".bvh", ".trc", ".csv"), CONVERT),
    ".gltf": CONVERT + " --to gltf",
    ".json": "for a summary on stdout: --json",
}


def output_format(out: Path, format: str = "auto") -> str:
    """Return the format of a tracks file. Raises UsageError for the suffix of another file type."""
    known = {suffix: name for name, suffix in SUFFIXES.items()} | {"": "parquet"}
    ending = out.suffix.lower()
    if format != "auto":
        return format
    if ending in known:
        return known[ending]
    meant = FOREIGN.get(ending, "for another ending, give --format, too").replace("{out}", str(out))
    raise UsageError(f"{out}: -o names the tracks file (.parquet or .npz); {meant}")
