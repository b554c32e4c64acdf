"""Read manifests: tables of inputs, with a camera of each and what else is known of them."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from ..errors import InputError, UsageError
from ..inputs import RangeFile
from ..npz import size_of
from ..options import Options
from ..tables import Bool
from ..tracks.read import check_parquet
from .lists import open_list, text_in
from .messages import OwnCamera
from .store.columns import Column, Packed

if TYPE_CHECKING:
    import pyarrow as pa

Extra: TypeAlias = dict[str, object]  # an input's other columns in the manifest
NONE: Extra = {}
CAMERA_COLUMNS = "focal_px", "fov_deg", "cx_px", "cy_px"  # each input's own camera


def batches_of(path: Path | str, options: Options) -> Iterator[tuple[list[str], Packed[Extra]]]:
    """Yield the names of inputs, and their other columns, many at once. Raises InputError, naming the row."""
    begin = 0
    for batch in _batches(path, options):
        columns: dict[str, Column] = {
            name: each.to_pylist() for name, each in zip(batch.schema.names, batch.columns, strict=True)
        }
        names = [str(name or "") for name in cast(list[object], columns.pop("path"))]
        extras = Packed[Extra](columns, len(names))
        nameless = names.index("") if "" in names else len(names)
        _check_cameras(path, extras, begin, nameless)
        if nameless < len(names):
            raise InputError(f"{path}: row {begin + nameless + 1} has no path")
        yield names, extras
        begin += len(names)


def camera_of(extra: Mapping[str, object]) -> OwnCamera:
    """Return the camera in a manifest's columns. Raises ValueError and TypeError for what is no number."""
    focal_px, fov_deg, cx_px, cy_px = (_number(extra.get(name)) for name in CAMERA_COLUMNS)
    return {"focal_px": focal_px, "fov_deg": fov_deg, "cx_px": cx_px, "cy_px": cy_px}


def _number(value: object) -> float | None:
    return None if value is None or value == "" else float(value)  # type: ignore[arg-type]  # raises for others


def _check_cameras(path: Path | str, extras: Packed[Extra], begin: int, count: int) -> None:
    """Raise InputError for the first of ``count`` rows whose camera is impossible."""
    if extras.columns.keys().isdisjoint(CAMERA_COLUMNS):
        return
    for row in np.flatnonzero(~_plausible(extras)[:count]).tolist():
        try:
            Options(**camera_of(extras[row]))
        except (UsageError, TypeError, ValueError) as error:
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
    possible &= ~given["focal_px"] | (values["focal_px"] > 0)
    possible &= ~given["fov_deg"] | ((values["fov_deg"] > 0) & (values["fov_deg"] < 180))
    length, point = given["focal_px"].astype(int) + given["fov_deg"], given["cx_px"] | given["cy_px"]
    plausible: Bool = possible & (length < 2) & (~point | (length == 1))
    return plausible


def _batches(path: Path | str, options: Options) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from .store.dataset import VIDEO_COLUMNS

    try:
        if str(path).lower().endswith(".csv"):
            types = pa.csv.ConvertOptions(column_types={"path": pa.string()})
            text = io.BytesIO(text_in(path, options).encode("utf-8", "surrogateescape"))
            table = pa.csv.read_csv(text, pa.csv.ReadOptions(use_threads=False), convert_options=types)
        else:
            with open_list(path, options) as file:
                source = pq.ParquetFile(file, pre_buffer=False)
                check_parquet(source.metadata, file.size if isinstance(file, RangeFile) else size_of(file))
                table = source.read(use_threads=False)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable manifest ({error})") from error
    if "path" not in table.column_names:
        raise InputError(f"{path}: has no column 'path'; its columns: {', '.join(table.column_names)}")
    if taken := sorted(set(table.column_names) & set(VIDEO_COLUMNS)):
        raise InputError(f"{path}: columns that videos.parquet has itself: {', '.join(taken)}; rename them")
    for batch in table.to_batches(max_chunksize=4096):
        if len(batch):
            yield batch
