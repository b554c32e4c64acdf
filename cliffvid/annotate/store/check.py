"""Check the journal's records: which keys there are, and values of which types."""

import math
import re
from typing import Any, TypeAlias

from ...errors import InputError
from .columns import Packed, fits
from .records import SHARD, WORK_FILE

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
    "found": ({"videos": LIST}, {}),
    "input": (
        {"video": TEXT, "key": TEXT, "content": TEXT, "kind": TEXT + NONE, "duration_s": NUMBER + NONE}
        | {"frames": WHOLE + NONE, "cuts": LIST + NONE, "split_s": NUMBER + NONE, "extra": OBJECT},
        {},
    ),
    "inputs": ({"videos": OBJECT}, {}),
    "done": ({"file": TEXT + NONE, "sha256": TEXT + NONE, "videos": LIST + OBJECT}, {"forget": LIST}),
    "failed": (ENDED | {"error": TEXT}, {"log": TEXT}),
    "segment": (
        {"cut_key": TEXT, "part": WHOLE, "file": TEXT + NONE, "thumbs": TEXT, "warnings": LIST} | RESULT,
        {},
    ),
    "merged": ({}, {}),
    "claim": ({"id": TEXT, "host": TEXT, "claimed": NUMBER}, {}),
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
        case "found":
            _check_values(record["videos"], TEXT, "videos")
        case "input":
            _check_values(record["cuts"] or (), NUMBER, "cuts")
        case "inputs":
            _check_inputs(record["videos"])
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
    _check_values(record.get("forget", ()), TEXT, "forget")
    if type(record["videos"]) is dict:
        _check_done_rows(record["videos"], bool(record["file"]), jobs)
        return
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


def rows_of(videos: Unchecked) -> Packed[Unchecked]:
    """Return the rows of a checked record, as they are written to the journal."""
    return Packed(videos["columns"], videos["count"])


def _check_inputs(videos: dict[str, Unchecked]) -> None:
    must = {name: kinds for name, kinds in RECORDS["input"][0].items() if name != "type"}
    rows = _check_rows(videos, must, {}, "inputs")
    for cuts in rows.values("cuts"):
        if cuts:
            _check_values(cuts, NUMBER, "cuts")


def _check_done_rows(videos: dict[str, Unchecked], has_file: bool, jobs: int) -> None:
    columns = videos.get("columns")
    failed = type(columns) is dict and "error" in columns
    rows = _check_rows(videos, *(GIVEN_UP if failed else DONE_VIDEO), "videos")
    statuses, numbers = set(rows.values("status")), {int(str(job)) for job in set(rows.values("job"))}
    if statuses - {"failed"} if failed else statuses - set(STATUSES[:-1]):
        raise BadRecord(f"unknown status {statuses!r}")
    if not all(0 <= number < jobs for number in numbers):
        raise BadRecord(f"'job' is {max(numbers)}, of {jobs}")
    if not has_file and any(rows.values("rows")):
        raise BadRecord("rows and no 'file'")
    if failed:
        return
    if type(rows.columns["counts"]) is dict:
        if rows.columns["counts"]:
            _check_counts_columns(rows)
        return
    for counts in rows.values("counts"):
        if isinstance(counts, dict) and counts:
            _check_counts(counts)


def _check_counts_columns(rows: Packed[Unchecked]) -> None:
    counts: Unchecked = rows.columns["counts"]
    for name in ("decode", "flags"):
        _check_column(counts.get(name), OBJECT, name)
    for path, column in (
        *((f"decode.{name}", counts["decode"].get(name)) for name in ("frames", "damaged")),
        ("tracks", counts.get("tracks")),
    ):
        _check_column(column, NUMBER + NONE, path)


def _check_rows(videos: dict[str, Unchecked], must: Keys, may: Keys, what: str) -> Packed[Unchecked]:
    """Check records that are held as columns: their keys, and the types in each column."""
    _check(videos, {"count": WHOLE, "columns": OBJECT}, {}, what)
    count, columns = videos["count"], videos["columns"]
    if count < 1 or not fits(columns, count):
        raise BadRecord(f"columns of {what!r} that are not all of {count} rows")
    if unknown := (columns.keys() - may.keys()) ^ must.keys():
        raise BadRecord(f"unknown or missing key {min(unknown)!r} of {what!r}")
    for name, column in columns.items():
        _check_column(column, must.get(name) or may[name], name)
    if count > 1 and type(columns["video"]) is list and len(columns["video"]) != count:
        raise BadRecord(f"one name for {count} rows of {what!r}")
    return Packed(columns, count)


def _check_column(column: Unchecked, kinds: Kinds, name: str) -> None:
    if type(column) is list:
        _check_values(column, kinds, name)
    else:
        _check_kind(column, kinds, name)  # an object holds objects, a text joined texts


def _check_values(values: Unchecked, kinds: Kinds, name: str) -> None:
    """Check many values at once; only where one is wrong, one by one."""
    types = set(map(type, values))
    if not types <= set(kinds) or (float in types and not all(map(math.isfinite, filter(None, values)))):
        for value in values:
            _check_kind(value, kinds, name)
