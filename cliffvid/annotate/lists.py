"""Read lists of inputs, one per line, from stdin or a file, and manifests: tables with more about each input."""

import codecs
import csv
import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import numpy as np

from ..errors import InputError, RefusedError, UsageError
from ..inputs import RangeFile, open_input
from ..names import printable
from ..npz import size_of
from ..options import FOCAL_PX, FOV_LEAST_DEG, Options
from ..tables import Bool
from ..tracks.read import check_parquet
from ..video.ranges import open_ranges
from ..video.stores import suffix_of
from .messages import OwnCamera
from .store.columns import Column, Packed

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
# Byte order marks. UTF-32's begins with UTF-16's, so it is checked first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
HEAD, LONGEST = 1 << 16, 1 << 13  # bytes: the block that is checked for binary data; the longest name
LIST_BYTES = 1 << 30
BRACES, NUMBERED_MAX = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}"), 100_000
A_LIST = "a list has one name a line, in UTF-8, or in UTF-16 with a byte order mark"
Extra: TypeAlias = dict[str, object]  # an input's other columns in the manifest
NONE: Extra = {}
CAMERA_COLUMNS = "focal_px", "fov_deg", "cx_px", "cy_px"  # each input's own camera


def names_on_stdin() -> list[str]:
    """Return the names on stdin. Raises UsageError for binary data, as soon as the first bytes show it."""
    if sys.stdin is None:
        raise UsageError("-: stdin is closed; pipe a list into it, one name a line")
    if sys.stdin.isatty():
        log.info("-: one name a line, then Ctrl-D")
    data, text = bytearray(), None
    try:
        while part := sys.stdin.buffer.read1(HEAD):  # type: ignore[union-attr]  # it is a BufferedReader
            data += part
            if _is_binary(data[:HEAD]):
                break
        else:
            text = _decoded(data)
    except OSError as error:
        raise UsageError(f"-: cannot read stdin ({error.strerror}); pipe a list into it, one name a line") from error
    if text is None:
        raise UsageError(
            f"-: stdin is no list of names but binary data, such as a video: save it to a file and name that ({A_LIST})"
        )
    return _lines(text)


def names_in(path: Path | str, options: Options | None = None) -> list[str]:
    """Return the names in a list. Raises InputError if it is not a text file."""
    return _lines(text_in(path, options))


def text_in(path: Path | str, options: Options | None = None) -> str:
    """Return the text of a list or manifest. Raises InputError if it cannot be read or is not text."""
    with open_list(path, options or Options()) as file:
        data = file.read()
        if isinstance(file, RangeFile):
            file.check()
    text = _decoded(data)
    if text is None:
        raise InputError(f"{path}: not a text file; {A_LIST}")
    return text


def open_list(path: Path | str, options: Options) -> BinaryIO | RangeFile:
    """Open a list or manifest, in a store or here. Raises InputError, also for one that is too large."""
    file = open_ranges(path, options)
    if file and file.size > LIST_BYTES:
        raise RefusedError(f"{path}: {file.size:,} bytes, expected {LIST_BYTES:,} at most; the right file?")
    return file or open_input(Path(path), LIST_BYTES)


def numbered(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges in braces stands for: {08..10} for 08, 09 and 10, as in a shell.

    A name without them stands for itself. Raises UsageError for too many.
    """
    names = [""]
    for text, first, last in _braces(pattern):
        ends = int(first or 0), int(last or 0)
        step, width = 1 if ends[0] <= ends[1] else -1, max(len(first), len(last)) if first != str(ends[0]) else 0
        if len(names) * (abs(ends[1] - ends[0]) + 1) > NUMBERED_MAX:
            raise UsageError(f"{pattern}: stands for more than {NUMBERED_MAX:,} names; write them into a list")
        parts = [f"{n:0{width}d}" for n in range(ends[0], ends[1] + step, step)] if first else [""]
        names = [name + text + part for name in names for part in parts]
    return names


def _braces(pattern: str) -> Iterator[tuple[str, str, str]]:
    """Yield each text before a range and the range's ends, then the text after the last one."""
    at = 0
    for found in BRACES.finditer(pattern):
        yield pattern[at : found.start()], found[1], found[2]
        at = found.end()
    yield pattern[at:], "", ""


def _decoded(data: bytes | bytearray) -> str | None:
    """Return the text without its byte order mark, or None for binary data."""
    encoding = _marked(data)
    try:
        text = data.decode(encoding) if encoding else os.fsdecode(bytes(data))  # file names need not be UTF-8
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _is_binary(head: bytearray) -> bool:
    """Return whether the first bytes are binary: they hold a zero byte, or a line longer than any name."""
    return not _marked(head) and (b"\0" in head or max(map(len, head.split(b"\n"))) > LONGEST)


def _marked(data: bytes | bytearray) -> str | None:
    return next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)


def _lines(text: str) -> list[str]:
    """Return the lines that are not blank. Not with splitlines: names may hold Unicode line separators."""
    lines = (line.removesuffix("\r").removeprefix("\ufeff") for line in text.split("\n"))
    return [line for line in lines if line.strip()]


def batches_of(path: Path | str, options: Options) -> Iterator[tuple[list[str], Packed[Extra]]]:
    """Yield the names of inputs, and their other columns, many at once. Raises InputError, naming the row."""
    begin = 0
    for batch in _batches(path, options):
        columns: dict[str, Column] = {
            name: _values(path, name, each) for name, each in zip(batch.schema.names, batch.columns, strict=True)
        }
        names = [_name(path, name) for name in cast(list[object], columns.pop("path"))]
        extras = Packed[Extra](columns, len(names))
        nameless = names.index("") if "" in names else len(names)
        _check_cameras(path, extras, begin, nameless)
        if nameless < len(names):
            raise InputError(f"{path}: row {begin + nameless + 1} has no path")
        yield names, extras
        begin += len(names)


def _values(path: Path | str, name: str, column: "pa.Array[Any]") -> list[object]:
    """Return a column's values. Raises InputError for those that Python has no type for, such as nanoseconds."""
    try:
        values: list[object] = column.to_pylist()
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: column {name!r}: {error}; store it as text") from error
    return values


def _name(path: Path | str, value: object) -> str:
    if isinstance(value, str | bytes):
        return os.fsdecode(value)
    if value is None:
        return ""
    raise InputError(f"{path}: column 'path' holds {value!r}, expected text")


def camera_of(extra: Mapping[str, object]) -> OwnCamera:
    """Return the camera in an input's columns. Raises InputError for an impossible one, and for what is no number."""
    given = {name: extra[name] for name in CAMERA_COLUMNS if extra.get(name) not in (None, "")}
    focal_px, fov_deg, cx_px, cy_px = (_number(name, given.get(name)) for name in CAMERA_COLUMNS)
    camera: OwnCamera = {"focal_px": focal_px, "fov_deg": fov_deg, "cx_px": cx_px, "cy_px": cy_px}
    if given and not _plausible(Packed({name: [value] for name, value in camera.items()}, 1)).all():
        try:
            Options(**camera)
        except UsageError as error:
            raise InputError(str(error)) from error
    return camera


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        if not isinstance(value, bool):
            return float(value)  # type: ignore[arg-type]  # raises for others
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name} {printable(str(value)[:40])}: must be a number")


def _check_cameras(path: Path | str, extras: Packed[Extra], begin: int, count: int) -> None:
    """Raise InputError for the first of ``count`` rows whose camera is impossible."""
    if extras.columns.keys().isdisjoint(CAMERA_COLUMNS):
        return
    for row in np.flatnonzero(~_plausible(extras)[:count]).tolist():
        try:
            camera_of(extras[row])
        except InputError as error:
            raise InputError(f"{path}: row {begin + row + 1}: {error}") from error


def _plausible(extras: Packed[Extra]) -> Bool:
    """Return which rows surely have a possible camera or none: what is left is checked one by one."""
    given, values = {}, {}
    for name in CAMERA_COLUMNS:
        column = extras.values(name) if name in extras.columns else [None] * len(extras)
        given[name] = np.array([value is not None and value != "" for value in column])
        numbers = (value if type(value) in (int, float) else np.nan for value in column)
        values[name] = np.array(list(numbers), np.float64)
    possible = np.all([~given[name] | np.isfinite(values[name]) for name in CAMERA_COLUMNS], axis=0)
    possible &= ~given["focal_px"] | ((values["focal_px"] >= FOCAL_PX[0]) & (values["focal_px"] <= FOCAL_PX[1]))
    possible &= ~given["fov_deg"] | ((values["fov_deg"] >= FOV_LEAST_DEG) & (values["fov_deg"] < 180))
    length, point = given["focal_px"].astype(int) + given["fov_deg"], given["cx_px"] | given["cy_px"]
    plausible: Bool = possible & (length < 2) & (~point | (length == 1))
    return plausible


def _csv_table(text: bytes) -> "pa.Table":
    """Return a CSV's table: text as it is written, as 007 is a name, but in the columns of the camera."""
    import pyarrow as pa
    import pyarrow.csv

    # Not by open_csv, whose threads may outlive an error and end the process as it exits.
    lines = io.TextIOWrapper(io.BytesIO(text), "utf-8", "surrogateescape", newline="")
    names = next(filter(None, csv.reader(lines)), [])
    types: dict[str, pa.DataType] = {name: pa.string() for name in names if name not in CAMERA_COLUMNS}
    kinds = pa.csv.ConvertOptions(column_types=types | {"path": pa.binary()})  # names need not be UTF-8
    return pa.csv.read_csv(io.BytesIO(text), pa.csv.ReadOptions(use_threads=False), convert_options=kinds)


def _batches(path: Path | str, options: Options) -> "Iterator[pa.RecordBatch]":
    import pyarrow.parquet as pq

    from .store.dataset import VIDEO_COLUMNS

    try:
        if suffix_of(path) == ".csv":
            table = _csv_table(text_in(path, options).encode("utf-8", "surrogateescape"))
        else:
            with open_list(path, options) as file:
                source = pq.ParquetFile(file, pre_buffer=False)
                check_parquet(source.metadata, file.size if isinstance(file, RangeFile) else size_of(file))
                table = source.read(use_threads=False)
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:
        raise InputError(f"{path}: not a readable manifest ({error})") from error
    if "path" not in table.column_names:
        shown = printable(", ".join(table.column_names))[:200]
        raise InputError(
            f"{path}: has no column 'path'; its columns: {shown}; a CSV's first line names them, by commas"
        )
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{path}: has two columns of one name; rename one")
    if taken := sorted(set(table.column_names) & set(VIDEO_COLUMNS)):
        raise InputError(f"{path}: columns that videos.parquet has itself: {', '.join(taken)}; rename them")
    for batch in table.to_batches(max_chunksize=4096):
        if len(batch):
            yield batch
