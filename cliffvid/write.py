"""Tracks to files. A file appears whole, under its own name, or not at all."""

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from .errors import OutputError, UsageError
from .types import FLAG_BITS, Tracks, column_specs

SCHEMA_VERSION = 1
META_KEY = "cliffvid"
ROW_GROUP = 2048  # about 1 MB, held in memory until full
SUFFIXES = {"parquet": ".parquet", "npz": ".npz", "cliff": "_cliff.npz"}
# The columns of a file in their order, and what they mean: written into every file.
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
    "focal_px": "focal length assumed, pixels; principal point at (width/2, height/2)",
    "flags": "bits: " + ", ".join(f"{bit} {name}" for name, bit in FLAG_BITS.items()),
}
COLUMNS = tuple(CONVENTIONS)


class Writer:
    """Takes tables of tracks as they come; ``finish`` makes the file appear. Leaving early removes every trace.

    ``like``: a table of any length whose columns are as wide as those to come.
    """

    def __init__(self, path: Path, like: Tracks) -> None:
        self.path, self.like = path, like
        self.part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._discard()
        self.part.unlink(missing_ok=True)

    def write(self, tracks: Tracks) -> None:
        try:
            self._write(tracks)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self, meta: dict) -> None:
        """Close the file with its metadata and give it its name."""
        try:
            self._finish(json.dumps({"schema_version": SCHEMA_VERSION, "columns": CONVENTIONS, **meta}))
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self.part, self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError):
            reason = f"{self.path.parent} is no folder"
        return OutputError(f"{self.path}: cannot write it ({reason}); choose another place with -o")

    def _open(self) -> None: ...
    def _write(self, tracks: Tracks) -> None: ...
    def _finish(self, meta: str) -> None: ...
    def _discard(self) -> None: ...


class ParquetWriter(Writer):
    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._file = self.part.open("wb")
        self._waiting: list[Tracks] = []
        self._held = 0
        sorting = [pq.SortingColumn(COLUMNS.index(name)) for name in ("frame_idx", "track_id")]
        self._writer = open_parquet(self._file, arrow_schema(self.like), sorting_columns=sorting)

    def _write(self, tracks: Tracks) -> None:
        self._waiting.append(tracks)
        self._held += len(tracks)
        if self._held >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(arrow_table(Tracks.concat(self._waiting)), row_group_size=self._held)
            self._waiting, self._held = [], 0

    def _finish(self, meta: str) -> None:
        self._flush()
        self._writer.add_key_value_metadata({META_KEY: meta})
        self._writer.close()
        self._file.close()

    def _discard(self) -> None:
        if self._writer.is_open:
            self._writer.close()
        self._file.close()


def open_parquet(file, schema, **more):
    """A ParquetWriter for a schema that holds the columns of Tracks, in the layout that suits them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = [name for name, (dtypes, _) in column_specs(Tracks).items() if dtypes[0] == "float32"]
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        # The defaults (a dictionary for every column) make float tracks larger than raw, and seven times slower.
        use_dictionary=[name for name in ("video", "track_id", "flags") if name in schema.names],
        use_byte_stream_split=[f"{n}.list.element" if len(column_specs(Tracks)[n][1]) > 1 else n for n in floats],
        write_page_checksum=True,  # without it a flipped bit is read as another number
        memory_pool=pa.system_memory_pool(),  # Arrow's own pool keeps more after each group
        **more,
    )


class NpzWriter(Writer):
    """Columns grow in unnamed temporary files, so memory stays flat however long the video is."""

    def _open(self) -> None:
        self.part.open("wb").close()  # an unwritable place is told before the work, not after it
        self._rows = 0
        self._none = self._arrays(self.like[:0])
        self._columns = {name: tempfile.TemporaryFile(dir=self.path.parent) for name in self._none}

    def _arrays(self, tracks: Tracks) -> dict[str, np.ndarray]:
        """The arrays of the file, a row each for each row of the table."""
        return {name: getattr(tracks, name) for name in COLUMNS}

    def _write(self, tracks: Tracks) -> None:
        self._rows += len(tracks)
        for name, column in self._arrays(tracks).items():
            self._columns[name].write(np.ascontiguousarray(column).data)

    def _finish(self, meta: str) -> None:
        with zipfile.ZipFile(self.part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, column in self._none.items():
                self._columns[name].seek(0)
                blocks = iter(partial(self._columns[name].read, 1 << 20), b"")
                add_array(archive, name, column.dtype, (self._rows, *column.shape[1:]), blocks)
            self._add_more(archive, meta)
            text = np.array(meta)
            add_array(archive, META_KEY, text.dtype, (), [text.tobytes()])
        self._discard()

    def _add_more(self, archive: zipfile.ZipFile, meta: str) -> None:
        """For a kind of npz that holds arrays of other lengths too."""

    def _discard(self) -> None:
        for file in self._columns.values():
            file.close()


def check_free(out: Path, overwrite: bool, *sources: Path | str) -> None:
    """Raise UsageError if a file must not be written there: a folder, what it is made of, or something not to lose."""
    if os.path.isdir(out):
        raise UsageError(f"{out}: a folder; name the file to write")
    exists = os.path.exists(out)  # no where Path.exists raises PermissionError: then writing it tells
    for source in sources:
        if exists and isinstance(source, Path) and os.path.exists(source) and out.samefile(source):
            raise UsageError(f"{out}: is what it would be made of; choose another -o")
    if exists and not overwrite:
        raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another -o")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A place to write to that gets its name when all went well and leaves nothing otherwise. Raises OutputError."""
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.open("wb").close()  # told before the work, not after it
        yield part
        os.replace(part, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot write it ({error.strerror or error}); choose another place") from error
    finally:
        with suppress(OSError):  # where a file stands in place of the folder
            part.unlink(missing_ok=True)


def write_whole(out: Path, data: bytes) -> None:
    """Write a file of any kind, whole or not at all. Raises OutputError if it cannot be written."""
    with appearing(out) as part:
        part.write_bytes(data)


def add_array(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple, blocks: Iterable[bytes]) -> None:
    """Write an array, whose bytes come in blocks, into an npz file."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:  # writestr would stamp the time of day
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks:
            member.write(block)


WRITERS = {"parquet": ParquetWriter, "npz": NpzWriter}


def arrow_schema(like: Tracks):
    """The parquet schema of such a table: columns in COLUMNS' order, vectors as fixed-size lists, nothing null."""
    import pyarrow as pa

    def kind(column: np.ndarray):
        element = pa.from_numpy_dtype(column.dtype)
        return element if column.ndim == 1 else pa.list_(pa.field("element", element, nullable=False), column.shape[1])

    return pa.schema([pa.field(name, kind(getattr(like, name)), nullable=False) for name in COLUMNS])


def arrow_table(tracks: Tracks):
    import pyarrow as pa

    schema = arrow_schema(tracks)
    arrays = []
    for field in schema:
        column = np.ascontiguousarray(getattr(tracks, field.name))
        # pa.array would import pandas, wherever that is installed, only to ask whether this is a piece of it: half a
        # second and 60 MB.
        array = pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), column.size, [None, pa.py_buffer(column)])
        arrays.append(array if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(array, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
