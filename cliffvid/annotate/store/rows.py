"""Read and check all rows of a shard."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...inputs import open_input
from ...npz import size_of
from ...tables import Int64
from ...tracks.read import check_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def rows_in(path: Path) -> Counter[str]:
    """Return the number of rows of each video in a shard.

    Raises InputError, without the file's name, if the shard is unreadable, or has duplicate rows or values that are
    not finite.
    """
    import pyarrow.parquet as pq

    rows: Counter[str] = Counter()
    places: list[Int64] = []
    try:
        with open_input(path) as file:
            source = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            check_parquet(source.metadata, size_of(file))
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, use_threads=False)
                if name := _not_finite(table):
                    raise InputError(f"{name} holds numbers that are not finite")
                names = table["video"].to_pylist()
                rows.update(names)
                numbers = {name: number for number, name in enumerate(rows)}
                codes = [numbers[name] for name in names]
                places.append(np.array([codes, table["frame_idx"].to_numpy(), table["track_id"].to_numpy()]))
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(f"cannot be read ({error})") from error
    if places and np.unique(np.concatenate(places, axis=1), axis=1).shape[1] < rows.total():
        raise InputError("holds a row twice")
    return rows


def _not_finite(table: "pa.Table") -> str | None:
    for field in table.schema:
        name: str = field.name
        column = table[name].combine_chunks()
        values = column.flatten() if hasattr(field.type, "list_size") else column
        if str(values.type) in ("float", "double") and not np.isfinite(values.to_numpy()).all():
            return name
    return None
