"""Read and write CLIFF's pseudo-ground-truth files (``cliffGT_v1``), and convert them losslessly to parquet and back.

One row is one person in one image. The keys, and the order of the 24 keypoints of ``part`` and ``S``, are those of the
official release (CLIFF/README.MD, common/skeleton_drawer.py of huawei-noah/noah-research).
"""

import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import appearing, claims
from ...inputs import open_input
from ...metadata import COUNT, Text, violation
from ...npz import Header, load_npz, read_header, read_headers, size_of
from ...tables import Array
from ...tracks.arrow_types import ArrowTable, ParquetFile
from ...tracks.read import check_parquet, reading
from ...tracks.write import META_KEY, ROW_GROUP, add_array

KIND = "cliffGT_v1"
KIND_WORDS, KEPT_WORDS = f"{KIND} file", "parquet file"
# Values per row for each key; imgname is text.
WIDTHS = {
    "imgname": 1,
    "center": 2,
    "scale": 1,
    "part": 72,
    "pose": 72,
    "shape": 10,
    "has_smpl": 1,
    "global_t": 3,
    "focal_l": 1,
    "S": 96,
}
# Keys renamed in parquet to match the columns of tracks files.
RENAMED = {"shape": "betas", "global_t": "transl", "focal_l": "focal_px"}
ROW_BYTES_MAX = 1 << 16
# Schema of the metadata in files that cliffvid made.
MADE = {"body?": {"name?": str}}
# Schema of the parquet metadata: for each array its name, dtype and row shape.
KEPT = {
    "arrays": [{"name": str, "dtype": Text("[<>|=]?[biufUS][0-9]{1,5}", "a dtype such as <f4"), "shape": [COUNT]}],
    "rows": COUNT,
    "made_by": (MADE, None),
}
# fmt: off
KEYPOINTS = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle", "right wrist", "right elbow",
    "right shoulder", "left shoulder", "left elbow", "left wrist", "neck", "head top", "pelvis", "thorax", "spine",
    "jaw", "head", "nose", "left eye", "right eye", "left ear", "right ear",
)
# fmt: on
HEAD_TOP, PELVIS = 13, 14


class MadeBody(TypedDict, total=False):
    name: str


class Made(TypedDict, total=False):
    """The metadata that is read from files that cliffvid made."""

    body: MadeBody


class CliffGT:
    """An open file of this layout; a context manager. Only the requested arrays are read, a block of rows at a time.

    ``columns``: headers by name in file order; ``rows``: their number; ``meta``: cliffvid's metadata, if it made the
    file. Raises InputError for a file that is missing, damaged, of another layout, or that holds Python objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack, reading(self.path, KIND_WORDS):
            self._file = stack.enter_context(open_input(path))
            self._archive = stack.enter_context(zipfile.ZipFile(self._file))
            self._read_headers()
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read_headers(self) -> None:
        self.columns: dict[str, Header] = {}  # with the shape of one row
        self.meta: Made | None = None
        counts = {}
        for name, header in read_headers(self._archive, size_of(self._file)).items():
            if name == META_KEY and not header.shape:
                self.meta = json.loads(str(load_npz(self._file, [name])[name]))
                if found := violation(self.meta, MADE):
                    raise ValueError(f"its metadata is damaged: {found}")
                continue
            if not header.shape:
                raise ValueError(f"{name!r} has no row for each person")
            self.columns[name] = replace(header, shape=header.shape[1:])
            counts[name] = header.shape[0]
            _check_row(name, header.dtype, header.shape[1:])
        for name, width in WIDTHS.items():
            column = self.columns.get(name)
            if column is None:
                raise ValueError(f"it has no {name!r}")
            if int(np.prod(column.shape)) != width or (column.dtype.kind in "US") != (name == "imgname"):
                raise ValueError(f"{name!r} is {column.dtype} {column.shape} a row, not {width} of the right kind")
        if len(set(counts.values())) > 1:
            raise ValueError(f"its arrays have different numbers of rows: {counts}")
        self.rows = counts["imgname"]

    def blocks(self, names: Iterable[str] | None = None, size: int = ROW_GROUP) -> Iterator[dict[str, Array]]:
        """Yield blocks of ``size`` rows of the named arrays, of all if None. Raises InputError."""
        names = list(self.columns if names is None else names)
        with ExitStack() as stack, reading(self.path, KIND_WORDS):
            readers = {name: stack.enter_context(self._archive.open(f"{name}.npy")) for name in names}
            for name, reader in readers.items():
                read_header(reader, name)
            whole = {
                name: _rows(readers[name], self.columns[name], self.rows, self.rows) for name in names if self._f(name)
            }
            for start in range(0, self.rows, size):
                count = min(size, self.rows - start)
                yield {
                    name: whole[name][start : start + count]
                    if name in whole
                    else _rows(readers[name], self.columns[name], count, self.rows)
                    for name in names
                }

    def _f(self, name: str) -> bool:
        return self.columns[name].fortran and len(self.columns[name].shape) > 0

    def take(self, names: Iterable[str], wanted: NDArray[np.integer]) -> dict[str, Array]:
        """Return the named arrays for the ``wanted`` rows, in increasing order. Raises InputError."""
        wanted, start, parts = np.asarray(wanted), 0, []
        for block in self.blocks(names):
            count = len(next(iter(block.values())))
            here = wanted[(wanted >= start) & (wanted < start + count)] - start
            if len(here):
                parts.append({name: array[here] for name, array in block.items()})
            start += count
            if not (wanted >= start).any():
                break
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _rows(member: IO[bytes], column: Header, count: int, total: int) -> Array:
    """Return the next ``count`` rows of an array; in Fortran order it must be read whole."""
    shape = (count, *column.shape)
    data = member.read(int(np.prod(shape)) * column.dtype.itemsize)
    if column.fortran and column.shape:
        return np.frombuffer(data, column.dtype).reshape(shape, order="F")
    return np.frombuffer(data, column.dtype).reshape(shape)


def _check_row(name: str, dtype: np.dtype[np.generic], shape: Sequence[int]) -> None:
    if dtype.itemsize * math.prod(shape) > ROW_BYTES_MAX:
        raise ValueError(f"{name!r} has rows of over {ROW_BYTES_MAX} bytes")


@claims
def to_parquet(source: Path, out: Path, overwrite: bool = False) -> int:
    """Convert a file of this layout losslessly to parquet and return the number of rows.

    ``pose`` becomes ``global_orient`` and ``body_pose``; other keys take the column names of tracks files.
    Raises InputError, OutputError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with CliffGT(source) as gt, appearing(out, overwrite) as file:
        arrays = [
            {"name": name, "dtype": column.dtype.str, "shape": column.shape} for name, column in gt.columns.items()
        ]
        meta = {"kind": KIND, "arrays": arrays, "rows": gt.rows, "made_by": gt.meta}
        first = _table({name: np.zeros((0, *c.shape), c.dtype) for name, c in gt.columns.items()})
        schema = first.schema.with_metadata({META_KEY: json.dumps(meta)})
        pool = pa.system_memory_pool()
        with pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=["imgname"], write_page_checksum=True, memory_pool=pool
        ) as writer:
            for block in gt.blocks():
                writer.write_table(_table(block).cast(schema), row_group_size=ROW_GROUP)
        return gt.rows


def _table(block: dict[str, Array]) -> ArrowTable:
    """Return some rows as an Arrow table: vectors as fixed-size lists, text as strings or binary."""
    import pyarrow as pa

    arrays = {}
    for name, column in block.items():
        flat = np.ascontiguousarray(column).reshape(len(column), int(np.prod(column.shape[1:])))
        parts = {"global_orient": flat[:, :3], "body_pose": flat[:, 3:]} if name == "pose" else {name: flat}
        for key, values in parts.items():
            width = values.shape[1]
            if values.dtype.kind in "US":
                kind = pa.string() if values.dtype.kind == "U" else pa.binary()
                try:
                    array = pa.array(values.reshape(-1).tolist(), kind)
                except (UnicodeError, pa.ArrowInvalid) as error:
                    raise InputError(f"{name!r} holds text that is no Unicode ({error})") from error
            else:
                array = pa.array(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))).reshape(-1))
            arrays[RENAMED.get(key, key)] = array if width == 1 else pa.FixedSizeListArray.from_arrays(array, width)
    table: ArrowTable = pa.table(arrays)
    return table


@claims
def to_npz(source: Path, out: Path, overwrite: bool = False) -> int:
    """Convert a file from ``to_parquet`` back to the official layout, identically, and return the number of rows.

    Raises InputError for a file that ``to_parquet`` did not write, OutputError.
    """
    import pyarrow.parquet as pq

    with reading(source, KEPT_WORDS), open_input(source) as file:
        kept: ParquetFile = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        meta = json.loads((kept.schema_arrow.metadata or {}).get(META_KEY.encode(), b"{}"))
        if not isinstance(meta, dict) or meta.get("kind") != KIND:
            raise InputError(f"{source}: not pseudo-ground-truth that cliffvid pseudogt convert kept")
        if found := violation(meta, KEPT):
            raise InputError(f"{source}: its metadata is damaged ({found}); convert the original again")
        check_parquet(kept.metadata, size_of(file))
        if meta["rows"] != kept.metadata.num_rows:
            raise ValueError(f"it holds {kept.metadata.num_rows} rows instead of {meta['rows']}")
        for array in meta["arrays"]:
            _check_row(array["name"], np.dtype(array["dtype"]), array["shape"])
        with _appearing_npz(out, overwrite) as archive:
            for array in meta["arrays"]:
                name, dtype, whole = array["name"], np.dtype(array["dtype"]), (meta["rows"], *array["shape"])
                add_array(archive, name, dtype, whole, _bytes_of(kept, source, name, dtype))
            if meta["made_by"]:
                text = np.array(json.dumps(meta["made_by"]))
                add_array(archive, META_KEY, text.dtype, (), [text.tobytes()])
        rows: int = meta["rows"]
        return rows


def _bytes_of(kept: ParquetFile, source: Path, name: str, dtype: np.dtype[np.generic]) -> Iterator[bytes]:
    """Yield an array's bytes, block by block. Raises InputError."""
    names = ["global_orient", "body_pose"] if name == "pose" else [RENAMED.get(name, name)]
    with reading(source, KEPT_WORDS):  # otherwise errors would name the output file
        for batch in kept.iter_batches(ROW_GROUP, columns=names, use_threads=False):
            parts = [batch.column(key) for key in names]
            if dtype.kind in "US":
                yield np.array(parts[0].to_pylist(), dtype).tobytes()
                continue
            parts = [part.flatten() if hasattr(part.type, "list_size") else part for part in parts]
            flat = [part.to_numpy(zero_copy_only=False).reshape(len(batch), -1) for part in parts]
            yield np.ascontiguousarray(np.concatenate(flat, axis=1).astype(dtype)).tobytes()


def write_npz(out: Path, arrays: dict[str, Array], meta: Mapping[str, object], overwrite: bool = False) -> None:
    """Write a file of this layout, with cliffvid's metadata under an additional key. Raises OutputError."""
    with _appearing_npz(out, overwrite) as archive:
        for name, array in (arrays | {META_KEY: np.array(json.dumps(meta))}).items():
            add_array(archive, name, array.dtype, array.shape, [np.ascontiguousarray(array).tobytes()])


@contextmanager
def _appearing_npz(out: Path, overwrite: bool) -> Iterator[zipfile.ZipFile]:
    with (
        appearing(out, overwrite) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        yield archive
