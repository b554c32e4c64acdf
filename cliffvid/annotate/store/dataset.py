"""Write a data set: shards of rows under ``tracks/``, and ``videos.parquet`` with one row per input.

A shard is written under ``work/``, synced to disk, and renamed into ``tracks/``. It is part of the data set once the
journal names it with its hash.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, Unpack, cast

from ...errors import InputError, NotFoundError, OutputError
from ...names import label
from ...tracks.data_set import VIDEOS
from ...tracks.write import META_KEY, about, open_parquet
from .journal import Log
from .ownership import TRACKS, WORK
from .place import Place
from .records import DoneLine, Ended, ShardFacts
from .state import State

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP, VIDEO_GROUP = 16384, 65536  # rows
NO_SHARD: ShardFacts = {"file": None, "sha256": None}  # of inputs without rows
# The columns of videos.parquet, without those that a manifest adds.
VIDEO_COLUMNS = {
    "video": "string",
    "status": "string",  # ok, partial, empty, failed, skipped
    "error": "string",
    "message": "string",
    "log": "string",  # of a failed input: the last lines that its worker logged
    "attempts": "int32",
    "duration_s": "float64",
    "frames": "int64",
    "people": "int64",  # rows
    "tracks": "int64",
    "damaged": "int64",
    "flags": "string",  # JSON: how many rows have which flag
    "codec": "string",
    "width_px": "int32",
    "height_px": "int32",
    "rate": "string",
    "seconds": "float64",  # of work
    "finished": "float64",  # seconds since 1970
    "shard": "string",
    "content": "string",  # hash
    "key": "string",
    "settings": "string",  # JSON
    "models": "string",  # JSON
    "software": "string",
}

OF_INPUT = "duration_s", "content", "key"
# column -> what it is in the record of a result
OF_RESULT = {
    **{name: name for name in ("status", "error", "log", "attempts", "codec", "width_px", "height_px", "rate")},
    **{name: name for name in ("seconds", "finished")},
    "people": "rows",
    "shard": "file",
    "tracks": "counts.tracks",
    "frames": "counts.decode.frames",
    "damaged": "counts.decode.damaged",
}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise OutputError for any OSError, such as a full disk; what the journal holds by then is kept."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write there ({error.strerror}); what is finished is kept: make room, then give the same "
            "command again"
        ) from error


class Shards:
    """Atomic writer of shards and their journal lines."""

    def __init__(self, place: Place, journal: Log) -> None:
        self.place, self.folder, self.journal = place, place.folder, journal
        self._run, self._count = uuid.uuid4().hex[:8], 0
        self.videos: list[Ended] = []  # not yet committed
        self._tables: list[pa.Table] = []
        self.bytes = 0
        self.since: float | None = None

    def add(self, video: Ended, stream: bytes) -> None:
        """Add a finished input with its rows as an Arrow stream."""
        import pyarrow as pa

        self.since = self.since or time.monotonic()
        self.videos.append(video)
        if stream:
            self._tables.append(pa.ipc.open_stream(stream).read_all())
            self.bytes += len(stream)

    def commit(self) -> None:
        """Write all added inputs to the data set."""
        if self.videos:
            shard = self._write(self._tables) if self._tables else NO_SHARD
            self.journal.append(done_line(shard, self.videos))
            self.videos, self._tables, self.bytes, self.since = [], [], 0, None

    def adopt(self, video: Ended, work_file: str) -> None:
        """Add a finished input whose rows are in a separate work file; the file becomes a shard."""
        shard = self._place(self.folder / WORK / work_file)
        self.journal.append(done_line(shard, [video]))

    def forget(self, names: list[str]) -> None:
        """Remove inputs from the data set: rewrite their shards without them.

        Raises InputError if such a shard is damaged.
        """
        gone = set(names)
        state = self.journal.state
        for file, held in state.shards().items() if gone & state.live.keys() else ():
            kept = [name for name in held if name not in gone]
            if len(kept) == len(held):
                continue
            sha256 = state.hashes[file]
            new = self.filtered(self.place, file, sha256, kept) if kept else NO_SHARD
            lost = [name for name in held if name in gone]
            videos = [state.live[name] for name in kept]
            self.journal.append({**done_line(new, videos), "forget": lost})
            self.place.remove(file)
        if rest := gone & state.live.keys():
            self.journal.append({**done_line(NO_SHARD, []), "forget": sorted(rest)})

    def filtered(self, place: Place, file: str, sha256: str, videos: list[str]) -> ShardFacts:
        """Write a new shard with only the given videos of another. Raises InputError if that one is damaged."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        with (
            sound(place, file, sha256) as path,
            pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as source,
        ):
            table = source.read(use_threads=False)
        labels = pa.array([label(video) for video in videos])
        return self._write([table.filter(pc.is_in(table["video"], labels))])

    def bring(self, place: Place, file: str, sha256: str) -> ShardFacts:
        """Take a shard of another data set into this one; its hash stays the same."""
        name = self._new_name()
        try:
            self.place.bring(place, file, name)
        except (FileNotFoundError, NotFoundError) as error:
            raise damaged(place, file) from error
        return {"file": name, "sha256": sha256}

    def clean(self) -> None:
        """Remove shards and work files that no journal line names: a killed process left them."""
        state = self.journal.state
        segments = [line for name in state.inputs if name not in state.live for line in state.parts(name).values()]
        kept = {name for line in segments for name in (line["file"], line["thumbs"])}
        named = {f"{WORK}/{name}" for name in kept} | state.shards().keys()
        for name in self.place.names():
            if name not in named:
                self.place.remove(name)

    def _write(self, tables: "list[pa.Table]") -> ShardFacts:
        import pyarrow as pa

        path = self.folder / WORK / f"{uuid.uuid4().hex}.parquet"
        with path.open("wb") as file:
            with open_parquet(file, tables[0].schema) as writer:
                writer.write_table(pa.concat_tables(tables), row_group_size=ROW_GROUP)
                writer.add_key_value_metadata({META_KEY: json.dumps(about({}))})
            file.flush()
            os.fsync(file.fileno())
        return self._place(path)

    def _place(self, path: Path) -> ShardFacts:
        """Make a work file a shard, and return its name and hash for the journal."""
        name, sha256 = self._new_name(), hash_of(path)
        self.place.publish(path, name)
        return {"file": name, "sha256": sha256}

    def _new_name(self) -> str:
        self._count += 1
        return f"{TRACKS}/{self._run}-{self._count:06d}.parquet"


@contextmanager
def sound(place: Place, file: str, sha256: str) -> Iterator[Path]:
    """Yield the path of a shard that is as it was written. Raises InputError if it is damaged or missing."""
    try:
        with place.at_hand(file) as path:
            if hash_of(path) != sha256:
                raise damaged(place, file)
            yield path
    except (FileNotFoundError, NotFoundError) as error:
        raise damaged(place, file) from error


def damaged(place: Place, file: str) -> InputError:
    """Return the error of a shard that is not as it was written."""
    return InputError(f"{place.where}/{file}: damaged or missing; `cliffvid annotate-verify --repair` makes it anew")


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def done_line(shard: ShardFacts, videos: list[Ended]) -> DoneLine:
    """Return the ``done`` line that adds a shard's rows; ``videos`` may be records of the journal's state."""
    lines = [{name: value for name, value in video.items() if name not in ("file", "type")} for video in videos]
    return {"type": "done", "file": shard["file"], "sha256": shard["sha256"], "videos": cast(list[Ended], lines)}


class MoreOfEnd(TypedDict):
    """Optional keys of an ``end`` line."""

    statuses: NotRequired[dict[str, int]]


def conclude(place: Place, journal: Log, stopped: str | None, **more: Unpack[MoreOfEnd]) -> None:
    """Rewrite ``videos.parquet``, and record its hash and the end of the run in the journal."""
    part = place.folder / WORK / f"{uuid.uuid4().hex}.parquet"
    _write_videos(part, journal.state)
    sha256 = hash_of(part)
    journal.hold()
    place.publish(part, VIDEOS)
    journal.append({"type": "end", "stopped": stopped, "finished": time.time(), "videos_sha256": sha256, **more})


def _write_videos(path: Path, state: State) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted({*state.inputs, *state.found})
    fields = [pa.field(name, getattr(pa, kind)()) for name, kind in VIDEO_COLUMNS.items()]
    types = _extra_types(state)
    schema = pa.schema([*fields, *(pa.field(name, kind) for name, kind in types.items())])
    facts = [
        {"settings": json.dumps(job["settings"]), "models": json.dumps(job["models"]), "software": job["software"]}
        for job in state.jobs
    ]
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for first in range(0, len(names), VIDEO_GROUP):
                columns = _columns(names[first : first + VIDEO_GROUP], state, facts, types)
                writer.write_table(pa.Table.from_pydict(columns, schema=schema))
        file.flush()
        os.fsync(file.fileno())


def _extra_types(state: State) -> "dict[str, pa.DataType]":
    """Return the columns that manifests add, and their types: text for one of mixed types."""
    import pyarrow as pa

    values: dict[str, list[object]] = {}
    for _, extra in state.inputs.select("extra"):
        for name, value in cast(dict[str, object], extra or {}).items():
            values.setdefault(name, []).append(value)
    types = {}
    for name, column in values.items():
        try:
            types[name] = pa.array(column).type
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # of mixed types, or above 63 bits
            types[name] = pa.string()
    return types


def _columns(
    names: list[str], state: State, facts_of_jobs: list[dict[str, str]], types: "dict[str, pa.DataType]"
) -> dict[str, Sequence[object]]:
    """Return the rows of videos.parquet for some inputs, as columns: a million rows one by one would take a minute."""
    *looked_at, extras = state.inputs.columns(names, *OF_INPUT, "extra")
    *ended, flags, jobs, messages = state.live.columns(names, *OF_RESULT.values(), "counts.flags", "job", "message")
    facts = [facts_of_jobs[-1 if job is None else cast(int, job)] for job in jobs]
    columns: dict[str, Sequence[object]] = dict(zip((*OF_INPUT, *OF_RESULT), (*looked_at, *ended), strict=True))
    columns["video"] = list(map(label, names))
    columns["status"] = [status or "skipped" for status in columns["status"]]
    columns["message"] = [
        "not done when the job stopped" if job is None else message and label(cast(str, message))  # may hold the name
        for job, message in zip(jobs, messages, strict=True)
    ]
    columns["flags"] = [None if each is None else json.dumps(each) for each in flags]
    columns |= {name: [of_job[name] for of_job in facts] for name in facts[0]}
    given = cast(list[dict[str, object] | None], extras)
    for name, kind in types.items():
        values = [each.get(name) if each else None for each in given]
        columns[name] = [None if each is None else str(each) for each in values] if kind == "string" else values
    return columns
