"""Read the rows of one video from the folder of a data set, as ``cliffvid annotate`` writes it."""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict, cast

from ..errors import InputError, UsageError
from ..inputs import open_input
from ..metadata import COUNT, RATIO, SIDE, TRACKS, violation
from ..models.registry import find_model
from ..names import listed
from ..npz import size_of
from ..tables import Tracks
from .arrow_types import ParquetFile
from .meta import Meta, known
from .read import check_parquet, check_rows, from_arrow, present, reading
from .rewritten import Misfit, in_order
from .write import SCHEMA_VERSION

VIDEOS = "videos.parquet"
SHARD = re.compile(r"tracks/[\w-]+\.parquet")
NAMED = 3  # names in a message
# The columns of videos.parquet that are read, see ``violation``.
LINE = {
    "video": str,
    "status": str,
    "message": (str, None),
    "shard": (str, None),
    "frames": (COUNT, None),
    "codec": (str, None),
    "width_px": (SIDE, None),
    "height_px": (SIDE, None),
    "rate": (RATIO, None),
    "settings": str,
    "models": str,
    "software": str,
}


class _Line(TypedDict):
    """A line of videos.parquet, as LINE says."""

    video: str
    status: str
    message: str | None
    shard: str | None
    frames: int | None
    codec: str | None
    width_px: int | None
    height_px: int | None
    rate: str | None
    settings: str
    models: str
    software: str


def read_video(folder: Path, video: str | None) -> tuple[Tracks, Meta]:
    """Return rows and metadata of a video, named as in the data set's videos.parquet.

    Raises UsageError without its name or for an unknown one, InputError if there is no such data set, the video failed
    there, or a file is damaged.
    """
    path = folder / VIDEOS
    if not path.exists():
        raise InputError(
            f"{folder}: a folder without {VIDEOS}: no data set, or one that is not finished; name a tracks file, or "
            "give the command that makes the data set again"
        )
    line = _line(path, folder, video)
    if line["status"] in ("failed", "skipped"):
        raise InputError(f"{folder}: {video}: {line['status']}, so it has no rows ({line['message']})")
    meta = _meta(path, line)
    if line["shard"] is None:
        return Tracks.empty(), meta
    if not SHARD.fullmatch(line["shard"]):
        raise InputError(
            f"{path}: damaged: the rows of {video} cannot be in {line['shard']}; annotate-verify repairs it"
        )
    shard = folder / line["shard"]
    try:
        with reading(shard, "shard of a data set"):
            rows = _rows_of(shard, line["video"])
    except Misfit as misfit:
        raise InputError(
            f"{shard}: not a shard of a data set: {misfit}; annotate-verify --repair makes it anew"
        ) from misfit
    check_rows(shard, rows, None)
    return rows, meta


def _line(path: Path, folder: Path, video: str | None) -> _Line:
    import pyarrow.parquet as pq

    with reading(path, "list of a data set's videos"), open_input(path) as file:
        source: ParquetFile = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        check_parquet(source.metadata, size_of(file))
        table = source.read(list(LINE), use_threads=False)
        names = [str(name) for name in table["video"].to_pylist()]
        if video in names:
            row = {name: table[name].to_pylist()[names.index(video)] for name in LINE}
            if found := violation(row, LINE):
                raise ValueError(found)
            return cast(_Line, row)
    holds = f"it holds {len(names)} videos" + (f", such as {listed(names[:NAMED], len(names))}" if names else "")
    if video is None:
        raise UsageError(f"{folder}: a data set; choose one of its videos by video=..., named as in {VIDEOS}: {holds}")
    meant = get_close_matches(video, names, n=1)
    raise UsageError(f"{folder}: no video {video!r}; {f'did you mean {meant[0]!r}? ' if meant else ''}{holds}")


def _rows_of(shard: Path, video: str) -> Tracks:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with open_input(shard) as file:
        source = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        check_parquet(source.metadata, size_of(file))
        columns = present(source.schema_arrow.names)
        parts = [source.schema_arrow.empty_table().select(columns)]
        for group in range(source.num_row_groups):
            own = pc.equal(source.read_row_group(group, ["video"], use_threads=False)["video"], video)
            if pc.any(own).as_py():
                parts.append(source.read_row_group(group, columns, use_threads=False).filter(own))
        return in_order(from_arrow(pa.concat_tables(parts)))


def _meta(path: Path, line: _Line) -> Meta:
    """Return the metadata of a video, as in a tracks file of its own. Raises InputError if it is damaged."""
    with reading(path, "list of a data set's videos"):
        settings, models = json.loads(line["settings"]), json.loads(line["models"])
        plain: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "software": line["software"],
            "video": {
                "name": Path(line["video"]).name,
                "codec": line["codec"],
                "width_px": line["width_px"],
                "height_px": line["height_px"],
                "rate": line["rate"],
            },
            "settings": settings,
            "models": models,
            "counts": {"decode": {"frames": line["frames"] or 0}},
            "complete": line["status"] != "partial",
        }
        if body := next((body for model in models if (body := _body(model["name"], model["task"]))), None):
            plain["body"] = {"name": body}
    if found := violation(plain, TRACKS):
        raise InputError(f"{path}: damaged ({found}); annotate-verify --repair makes it anew")
    return known(plain)


def _body(name: str, task: str) -> str | None:
    """Return the body that a network answers; None if it is none that does, or is not found here."""
    try:
        return find_model(task, name).body if task == "regress" else None
    except UsageError:
        return None
