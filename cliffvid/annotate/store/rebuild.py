"""Rebuild a lost or damaged journal from the shards and videos.parquet."""

import json
import os
import re
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import InputError, NotFoundError, UsageError
from ...files import sync_folder
from ...inputs import open_input
from ...locks import has_locks
from ...npz import size_of
from ...options import Options
from ...tracks.data_set import VIDEOS
from ...tracks.read import check_parquet
from .dataset import NO_SHARD, VIDEO_COLUMNS, Shards, conclude, done_line, hash_of, writing
from .journal import Journal, lock
from .ownership import NAME, TRACKS, WORK, has_journal, is_shard
from .place import Place
from .reading import replay
from .records import CountsFacts, DoneLine, Ended, FailedLine, InputLine, JobLine, ShardFacts
from .rows import rows_in

Row: TypeAlias = dict[str, Any]  # a row of videos.parquet from pyarrow, with the columns VIDEO_COLUMNS
UNKNOWN = "unknown"  # as content and key it matches no input, so that the next run redoes it
MESSAGE = "its rows were found without a journal; what they were made from is not known"
LOSSY = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4})")  # a name with escaped bytes: the original name is lost


@dataclass
class Rebuilt:
    """Contents of a rebuilt journal, and the gaps in it."""

    shards: int = 0
    inputs: int = 0
    rows: int = 0
    unknown: list[str] = field(default_factory=list)  # inputs with rows of unknown content and settings
    left_out: list[str] = field(default_factory=list)  # inputs whose names are lost; their rows are dropped
    unreadable: list[str] = field(default_factory=list)  # shards, with the reason


def rebuild(folder: Path) -> Rebuilt:
    """Make a new journal; the damaged one is kept beside it under another name.

    Raises UsageError if the journal is intact or a job is running, InputError if there are no shards or videos.parquet.
    """
    has_journal(folder)  # raises for links
    if not (folder / VIDEOS).exists() and not any(map(is_shard, (folder / TRACKS).glob("*"))):
        raise InputError(f"{folder}: neither shards nor {VIDEOS}, nothing to make a journal from; start a new data set")
    with writing(folder), open(folder / NAME, "ab") as old:  # to lock it
        lock(old, folder)
        with suppress(InputError):
            replay(folder / NAME)
            if has_journal(folder):
                raise UsageError(f"{folder}: its journal is whole; nothing to rebuild")
        facts = _facts(folder / VIDEOS)
        (folder / WORK).mkdir(exist_ok=True)
        (folder / TRACKS).mkdir(exist_ok=True)
        with Journal(folder, f"{WORK}/{uuid.uuid4().hex}.jsonl") as journal:
            rebuilt = _fill(folder, journal, facts)
            if not has_locks():
                old.close()
            if has_journal(folder):
                os.replace(folder / NAME, folder / f"journal-{uuid.uuid4().hex[:8]}.damaged")
            journal.take_place(folder / NAME)
            sync_folder(folder)
            conclude(Place(folder), journal, "rebuilt")
    return rebuilt


def _facts(path: Path) -> dict[str, Row]:
    """Return the rows of videos.parquet by video. Raises InputError if the file is not that of a data set."""
    import pyarrow.parquet as pq

    try:
        if path.is_symlink():
            raise ValueError("a link")
        with open_input(path) as file:
            source = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            check_parquet(source.metadata, size_of(file))
            table = source.read(use_threads=False)
        for name, kind in VIDEO_COLUMNS.items():
            if str(table.schema.field(name).type) != kind.replace("float64", "double"):
                raise ValueError(f"column {name}")
        rows: dict[str, Row] = {row["video"]: row for row in table.to_pylist()}
        for row in rows.values():
            for name in ("settings", "models", "flags"):
                json.loads(row[name] or "null")
    except NotFoundError:
        return {}
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        what = f"{path}: not readable as that of a data set ({error}); move it elsewhere, then give the command again"
        raise InputError(what) from error
    return rows


def _fill(folder: Path, journal: Journal, facts: dict[str, Row]) -> Rebuilt:
    rebuilt = Rebuilt()
    held = _held(folder, facts, rebuilt)
    shards, jobs = Shards(Place(folder), journal), _Jobs()
    inputs: list[InputLine] = []
    ended: list[DoneLine | FailedLine] = []
    for file, counts in held.items():
        videos = [(video, rows) for video, (rows, mine) in counts.items() if mine and not LOSSY.search(video)]
        rebuilt.left_out += sorted(video for video in counts if LOSSY.search(video))
        known = {video: row for video, _ in videos if (row := facts.get(video)) and row["shard"] == file}
        known = {video: row for video, row in known.items() if row["people"] == counts[video][0] and _usable(row)}
        rebuilt.unknown += sorted(video for video, _ in videos if video not in known)
        finished = (folder / file).stat().st_mtime
        lines = [_done(video, rows, known.get(video), finished, jobs) for video, rows in videos]
        inputs += [_input(video, known.get(video)) for video, _ in videos]
        sha256 = hash_of(folder / file)
        shard: ShardFacts = {"file": file, "sha256": sha256}
        if len(videos) < len(counts) and videos:
            shard = shards.filtered(shards.place, file, sha256, [video for video, _ in videos])
        if videos:
            ended.append(done_line(shard, lines))
            rebuilt.shards, rebuilt.rows = rebuilt.shards + 1, rebuilt.rows + sum(rows for _, rows in videos)
    found = {line["video"] for line in inputs}
    for video, row in facts.items():
        if video in found or LOSSY.search(video) or not _usable(row):
            continue
        inputs.append(_input(video, row))
        if row["status"] == "failed":
            ended.append(_failed(row, jobs))
        elif row["status"] == "empty":
            ended.append(done_line(NO_SHARD, [_done(video, 0, row, row["finished"], jobs)]))
    rebuilt.inputs = len(inputs)
    journal.append(*jobs.records(), *inputs, *ended)
    return rebuilt


def _held(folder: Path, facts: dict[str, Row], rebuilt: Rebuilt) -> dict[str, dict[str, tuple[int, bool]]]:
    """Return by shard the row count of each video and whether it counts; a video counts in one shard only."""
    held: dict[str, Counter[str]] = {}
    best: dict[str, str] = {}
    paths = [path for path in (folder / TRACKS).iterdir() if is_shard(path)]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        file = f"{TRACKS}/{path.name}"
        try:
            held[file] = rows_in(path)
        except InputError as error:
            rebuilt.unreadable.append(f"{file}: {error}")
            continue
        for video in held[file]:
            if best.get(video) is None or facts.get(video, {}).get("shard") != best[video]:
                best[video] = file
    return {file: {video: (rows, best[video] == file) for video, rows in held[file].items()} for file in held}


def _usable(row: Row) -> bool:
    """Return whether a row of videos.parquet has the result and the settings of an input."""
    wanted = ("key", "content", "settings", "models", "software")
    return all(row[name] is not None for name in wanted) and row["key"] != UNKNOWN


class _Jobs:
    """The ``job`` records, one for each combination of settings."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], int] = {}
        self._started: dict[int, float] = {}

    def number(self, row: Row | None, finished: float) -> int:
        plain = json.dumps({name: value for name, value in Options().to_json().items() if name != "models_dir"})
        job = (row["settings"], row["models"], row["software"]) if row else (plain, "[]", UNKNOWN)
        number = self._made.setdefault(job, len(self._made))
        self._started[number] = min(finished, self._started.get(number, finished))
        return number

    def records(self) -> list[JobLine]:
        return [
            {
                "type": "job",
                "started": self._started[number],
                "inputs": 0,
                "settings": json.loads(settings),
                "models": json.loads(models),
                "software": software,
                "options": Options().to_json() | json.loads(settings),
            }
            for (settings, models, software), number in self._made.items()
        ]


def _input(video: str, row: Row | None) -> InputLine:
    """Return an ``input`` record that the next run probes again, unless its content is the known one."""
    known: Row = row or {"key": UNKNOWN, "content": UNKNOWN, "duration_s": None, "frames": None}
    extra = {name: value for name, value in known.items() if name not in VIDEO_COLUMNS and value is not None}
    return {
        "type": "input",
        "video": video,
        "key": known["key"],
        "content": known["content"],
        "duration_s": known["duration_s"],
        "frames": known["frames"],
        "kind": "video",
        "cuts": [],
        "split_s": None,
        "extra": extra if row else {},
    }


def _done(video: str, rows: int, row: Row | None, finished: float, jobs: _Jobs) -> Ended:
    known: Row = row or {"status": "ok", "key": UNKNOWN, "message": MESSAGE, "attempts": 1, "finished": finished}
    counts: CountsFacts = {}
    if known.get("flags") is not None:
        counts = {
            "decode": {"frames": known["frames"], "damaged": known["damaged"]},
            "tracks": known["tracks"],
            "flags": json.loads(known["flags"]),
        }
    return {
        "video": video,
        "key": known["key"],
        "status": known["status"],
        "message": known["message"],
        "attempts": known["attempts"],
        "finished": known["finished"],
        "seconds": known.get("seconds"),
        "codec": known.get("codec"),
        "rate": known.get("rate"),
        "width_px": known.get("width_px"),
        "height_px": known.get("height_px"),
        "rows": rows,
        "counts": counts,
        "job": jobs.number(row, finished),
    }


def _failed(row: Row, jobs: _Jobs) -> FailedLine:
    line: FailedLine = {
        "type": "failed",
        "video": row["video"],
        "key": row["key"],
        "status": row["status"],
        "error": row["error"],
        "message": row["message"],
        "attempts": row["attempts"],
        "finished": row["finished"],
        "job": jobs.number(row, row["finished"]),
    }
    if row.get("log"):
        line["log"] = row["log"]
    return line
