"""Tracks from files."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import InputError, UsageError
from .types import Tracks, column_specs
from .write import COLUMNS, META_KEY, SCHEMA_VERSION

# pyarrow's own errors are OSErrors or ValueErrors
UNREADABLE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def read_tracks(path: str | Path) -> Tracks:
    """All rows of a tracks file (parquet or npz) as numpy columns, sorted by (frame_idx, track_id).

    Raises InputError for a file that is missing, damaged, or of another kind.
    """
    return _read(Path(path))[0]


def read_meta(path: str | Path) -> dict:
    """What a tracks file says about itself: video, settings, models, body, counts, completeness, conventions."""
    return _read(Path(path), rows=False)[1]


def chosen(rows: Tracks, ids: tuple[int, ...], path: Path) -> Tracks:
    """The rows of those identities, all if none are named. Raises UsageError for one that is not there."""
    missing = sorted(set(ids) - set(rows.track_id.tolist()))
    if missing:
        have = f"1 to {rows.track_id.max()}" if len(rows) else "none"
        raise UsageError(f"{path}: no track {', '.join(map(str, missing))}; it holds {have}")
    return rows[np.isin(rows.track_id, ids)] if ids else rows


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Makes an InputError of all that reading a damaged or foreign file may raise; ``what`` it should be."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable {what} ({error}); damaged, or something else") from error


def _read(path: Path, rows: bool = True) -> tuple[Tracks | None, dict]:
    with reading(path, "tracks file"), path.open("rb") as file:
        reader = _read_npz if file.read(4) == b"PK\x03\x04" else _read_parquet
        file.seek(0)
        tracks, meta = reader(file, rows)
        meta = json.loads(meta)
        version = meta["schema_version"]
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema {version}, this cliffvid reads {SCHEMA_VERSION}")
    return tracks, meta


def _read_parquet(file, rows: bool):
    import pyarrow.parquet as pq

    # Without Arrow's threads: 7 of 113 short processes that had used them aborted when they ended, none of 71 without.
    source = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
    meta = source.schema_arrow.metadata or {}
    meta = (source.metadata.metadata or meta)[META_KEY.encode()]
    if not rows:
        return None, meta
    table = source.read(COLUMNS, use_threads=False).combine_chunks()
    return from_arrow(table), meta


def from_arrow(table) -> Tracks:
    """The rows of an Arrow table that holds the columns of Tracks."""
    columns = {}
    for name, (dtypes, shape) in column_specs(Tracks).items():
        column = table[name].combine_chunks()
        values = column if len(shape) == 1 else column.flatten()
        widths = [getattr(column.type, "list_size", -1)] if len(shape) > 1 else []
        columns[name] = values.to_numpy().astype(dtypes[0], copy=False).reshape(len(table), *widths)
    return Tracks(**columns)


def _read_npz(file, rows: bool):
    with np.load(file, allow_pickle=False) as archive:
        meta = str(archive[META_KEY])
        return (Tracks(**{name: archive[name] for name in COLUMNS}) if rows else None), meta
