"""What a worker answers about a film of one second: its rows and its facts, as the real one gives them."""

import numpy as np
import pyarrow as pa

from cliffvid.annotate.task_runs import counts_facts
from cliffvid.pipeline.counts import Counts


def rows_of() -> bytes:
    """Return two rows as an Arrow stream."""
    table = pa.table({"video": ["a film"] * 2, "frame_idx": [0, 1], "pose": list(np.zeros((2, 72), np.float32))})
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue().to_pybytes()


def result_of() -> dict:
    counts = Counts()
    counts.decode.frames, counts.tracks = 30, 1
    facts = {"rows": 2, "file": None, "counts": counts_facts(counts), "warnings": []}
    return facts | {"codec": "h264", "width_px": 640, "height_px": 360, "rate": "30"}
