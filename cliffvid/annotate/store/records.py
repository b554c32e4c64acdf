"""Schema of the journal: types and validation of its records."""

import math
import re
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from ...errors import InputError

# File names of a data set; files with other names are never removed.
SHARD = re.compile(r"tracks/[0-9a-f]{8}-[0-9]{6,}\.parquet")
WORK_FILE = re.compile(r"[0-9a-f]{32}\.(parquet|npz|jsonl)")


class DecodeRecord(TypedDict, total=False):
    """Decode counts that are read back."""

    frames: int | None
    damaged: int | None
    clock_jumps: int


class CountsFacts(TypedDict, total=False):
    """Counts of a run as plain values; may be empty in a rebuilt journal."""

    decode: DecodeRecord
    tracks: int | None
    shots: list[tuple[int, int]]
    flags: dict[str, int]


class ModelRecord(TypedDict):
    """A network that rows were computed with."""

    name: str
    task: str
    sha256: str | None
    precision: str


class JobLine(TypedDict):
    """A run began."""

    type: Literal["job"]
    started: float
    inputs: int
    settings: dict[str, object]
    models: list[ModelRecord]
    software: str
    options: dict[str, object]
    host: NotRequired[str]
    workers: NotRequired[int]


class InputLine(TypedDict):
    """An input is part of the data set."""

    type: Literal["input"]
    video: str
    key: str
    content: str
    kind: str | None
    duration_s: float | None
    frames: int | None
    cuts: list[float] | None
    split_s: float | None
    extra: dict[str, object]


class _HowEnded(TypedDict):
    video: str
    key: str
    status: str
    message: str | None
    attempts: int
    finished: float
    job: int


class Ended(_HowEnded, total=False):
    """Result of an input: rows, or an error."""

    rows: int
    counts: CountsFacts
    seconds: float | None
    codec: str | None
    rate: str | None
    width_px: int | None
    height_px: int | None
    error: str
    log: str  # the last lines that the worker of a failed input logged
    file: str | None  # of its rows; in memory only, on disk the line has it


class ShardFacts(TypedDict):
    """A file of rows and its hash; both None for inputs without rows."""

    file: str | None
    sha256: str | None


class DoneLine(TypedDict):
    """Inputs are finished."""

    type: Literal["done"]
    file: str | None
    sha256: str | None
    videos: list[Ended]
    forget: NotRequired[list[str]]


class FailedLine(Ended):
    """An input has failed."""

    type: Literal["failed"]


class Result(TypedDict):
    """What was made of an input or a segment; the rows are in ``file`` if they are many."""

    rows: int
    file: str | None
    counts: CountsFacts
    warnings: list[str]
    seconds: float
    codec: str | None
    width_px: int | None
    height_px: int | None
    rate: str | None


class SegmentLine(Result):
    """The people of one segment of a long input are in a file."""

    type: Literal["segment"]
    cut_key: str
    part: int
    thumbs: str


class EndLine(TypedDict):
    """A run ended."""

    type: Literal["end"]
    stopped: str | None
    finished: float
    videos_sha256: str
    statuses: NotRequired[dict[str, int]]


Line: TypeAlias = JobLine | InputLine | DoneLine | FailedLine | SegmentLine | EndLine
Unchecked: TypeAlias = Any  # parsed JSON before validation

Kinds: TypeAlias = tuple[type, ...]
Keys: TypeAlias = dict[str, Kinds]
TEXT: Kinds = (str,)
WHOLE: Kinds = (int,)
NUMBER: Kinds = (int, float)
LIST: Kinds = (list,)
OBJECT: Kinds = (dict,)
NONE: Kinds = (type(None),)

ENDED = {"video": TEXT, "key": TEXT, "status": TEXT, "message": TEXT + NONE, "attempts": WHOLE, "finished": NUMBER}
ENDED |= {"job": WHOLE}
RESULT = {"rows": WHOLE, "counts": OBJECT, "seconds": NUMBER + NONE, "codec": TEXT + NONE, "rate": TEXT + NONE}
RESULT |= {"width_px": WHOLE + NONE, "height_px": WHOLE + NONE}
STATUSES = ("ok", "partial", "empty", "failed")

# By type: required and optional keys of a record.
RECORDS: dict[str, tuple[Keys, Keys]] = {
    "job": (
        {"started": NUMBER, "inputs": WHOLE, "settings": OBJECT, "models": LIST, "software": TEXT, "options": OBJECT},
        {"host": TEXT, "workers": WHOLE},
    ),
    "input": (
        {"video": TEXT, "key": TEXT, "content": TEXT, "kind": TEXT + NONE, "duration_s": NUMBER + NONE}
        | {"frames": WHOLE + NONE, "cuts": LIST + NONE, "split_s": NUMBER + NONE, "extra": OBJECT},
        {},
    ),
    "done": ({"file": TEXT + NONE, "sha256": TEXT + NONE, "videos": LIST}, {"forget": LIST}),
    "failed": (ENDED | {"error": TEXT}, {"log": TEXT}),
    "segment": (
        {"cut_key": TEXT, "part": WHOLE, "file": TEXT + NONE, "thumbs": TEXT, "warnings": LIST} | RESULT,
        {},
    ),
    "end": ({"stopped": TEXT + NONE, "finished": NUMBER, "videos_sha256": TEXT}, {"statuses": OBJECT}),
}
DONE_VIDEO: tuple[Keys, Keys] = (ENDED | RESULT, {})
GIVEN_UP: tuple[Keys, Keys] = (ENDED | {"error": TEXT, "rows": WHOLE}, {"log": TEXT})  # as merged from a part


class BadRecord(InputError):
    """Invalid record: no version of cliffvid up to this one writes it. The message has the reason."""


def check_record(record: object, jobs: int) -> None:
    """Raise BadRecord unless a record is valid; ``jobs``: number of ``job`` lines before it."""
    if type(record) is not dict:
        raise BadRecord("no JSON object")
    kind = record.get("type")
    if type(kind) is not str or kind not in RECORDS:
        raise BadRecord(f"unknown type {kind!r}")
    _check(record, *RECORDS[kind], kind)
    match kind:
        case "job":
            check_numbers(record["options"], ("end_s",))
        case "input":
            for cut in record["cuts"] or ():
                _check_kind(cut, NUMBER, "cuts")
        case "done":
            _check_done(record, jobs)
        case "failed":
            _check_ended(record, jobs)
        case "segment":
            _check_name(record["thumbs"], WORK_FILE, "thumbs")
            _check_name(record["file"], WORK_FILE, "file")
            _check_counts(record["counts"])


def check_numbers(values: dict[str, Unchecked], names: tuple[str, ...]) -> None:
    """Raise BadRecord unless a dict has these keys with numbers or null."""
    for name in names:
        if name not in values:
            raise BadRecord(f"no key {name!r}")
        _check_kind(values[name], NUMBER + NONE, name)


def _check(record: dict[str, Unchecked], must: Keys, may: Keys, what: str) -> None:
    for name, value in record.items():
        kinds = must.get(name) or may.get(name)
        if kinds is None and name != "type":
            raise BadRecord(f"unknown key {name!r} of {what!r}")
        if kinds:
            _check_kind(value, kinds, name)
    if missing := must.keys() - record.keys():
        raise BadRecord(f"no key {min(missing)!r} in {what!r}")


def _check_kind(value: object, kinds: Kinds, name: str) -> None:
    known = isinstance(value, kinds) and not isinstance(value, bool)
    if not known or (isinstance(value, float) and not math.isfinite(value)):
        raise BadRecord(f"{name!r} is {str(value)[:40]!r}")


def _check_name(value: str | None, pattern: re.Pattern[str], name: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise BadRecord(f"{name!r} is {value[:80]!r}, no file of a data set")


def _check_done(record: dict[str, Unchecked], jobs: int) -> None:
    _check_name(record["file"], SHARD, "file")
    if (record["file"] is None) != (record["sha256"] is None):
        raise BadRecord("'file' without 'sha256', or the other way round")
    for name in record.get("forget", ()):
        _check_kind(name, TEXT, "forget")
    for video in record["videos"]:
        _check_kind(video, OBJECT, "videos")
        _check(video, *(GIVEN_UP if video.get("status") == "failed" else DONE_VIDEO), "videos")
        _check_ended(video, jobs)
        if video["rows"] and not record["file"]:
            raise BadRecord(f"{video['rows']} rows and no 'file'")


def _check_ended(video: dict[str, Unchecked], jobs: int) -> None:
    if video["status"] not in STATUSES:
        raise BadRecord(f"unknown status {video['status']!r}")
    if not 0 <= video["job"] < jobs:
        raise BadRecord(f"'job' is {video['job']}, of {jobs}")
    if video.get("counts"):  # may be empty in a rebuilt journal
        _check_counts(video["counts"])


def _check_counts(counts: dict[str, Unchecked]) -> None:
    decode: Unchecked = counts.get("decode")
    _check_kind(decode, OBJECT, "decode")
    check_numbers(decode, ("frames", "damaged"))
    check_numbers(counts, ("tracks",))
    _check_kind(counts.get("flags"), OBJECT, "flags")
