"""Collect the rows of one input in a worker, in memory or, if they are many, in a file."""

import os
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..names import label
from ..tables import Tracks
from ..tracks.write import ROW_GROUP, arrow_table, open_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGE = 16e6  # bytes of rows above which a result is sent as a file


class Sink:
    """Collector of the rows of one input; a context manager that removes an unfinished file."""

    def __init__(self, video: str, work: Path, at_once: bool) -> None:
        self.video, self.work, self.at_once = label(video), work, at_once
        self._waiting: list[Tracks] = []
        self._held, self._rows, self._bytes = 0, 0, 0
        self._tables: list[pa.Table] = []
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove an unfinished file. Has no effect on a finished one."""
        if self._writer and self._writer.is_open:
            self._writer.close()
        if self._file:
            self._file.close()
        if self._path:
            self._path.unlink(missing_ok=True)

    def write(self, tracks: Tracks) -> None:
        self._waiting.append(tracks)
        self._held += len(tracks)
        if self._held >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._held:
            return
        rows = arrow_table(Tracks.concat(self._waiting))
        name = _repeated(self.video, len(rows))
        table = rows.add_column(0, pa.field("video", pa.string(), nullable=False), name)
        self._rows += len(table)
        self._waiting, self._held = [], 0
        if self._writer is None:
            self._tables.append(table)
            self._bytes += table.nbytes
            if self._bytes > LARGE or self.at_once:
                self._to_file()
        else:
            self._writer.write_table(table)

    def _to_file(self) -> None:
        self._path = self.work / f"{uuid.uuid4().hex}.parquet"
        self._file = self._path.open("wb")
        self._writer = writer = open_parquet(self._file, self._tables[0].schema)
        for table in self._tables:
            writer.write_table(table)
        self._tables = []

    def finish(self) -> tuple[int, str | None, bytes]:
        """Return the number of rows, and the name of their file or the rows themselves as an Arrow stream."""
        import pyarrow as pa

        self._flush()
        name = None
        if self._writer and self._file and self._path:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            name, self._path = self._path.name, None
        if not self._tables:
            return self._rows, name, b""
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, self._tables[0].schema) as writer:
            for table in self._tables:
                writer.write_table(table)
        return self._rows, name, stream.getvalue().to_pybytes()


def _repeated(text: str, rows: int) -> "pa.StringArray":
    """Return a column that repeats a text. See write.arrow_table for why pa.array is not used."""
    import pyarrow as pa

    data = text.encode()
    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(len(data))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(data * rows))
