"""What the lines of a journal may hold: the types of records, their keys, and the kinds of their values."""

import math
import re

from ...errors import InputError

# Names that cliffvid gives to the files of a data set; it removes no file of another name.
SHARD = re.compile(r"tracks/[0-9a-f]{8}-[0-9]{6,}\.parquet")
WORK_FILE = re.compile(r"[0-9a-f]{32}\.(parquet|npz|jsonl)")

Kinds = tuple[type, ...]
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

# By type: the keys that a record must have, and those that it may have.
RECORDS: dict[str, tuple[dict[str, Kinds], dict[str, Kinds]]] = {
    "job": (
        {"started": NUMBER, "inputs": WHOLE, "settings": OBJECT, "models": LIST, "software": TEXT, "options": OBJECT},
        {"host": TEXT},
    ),
    "input": (
        {"video": TEXT, "key": TEXT, "content": TEXT, "kind": TEXT + NONE, "duration_s": NUMBER + NONE}
        | {"frames": WHOLE + NONE, "cuts": LIST + NONE, "split_s": NUMBER + NONE, "extra": OBJECT},
        {},
    ),
    "done": ({"file": TEXT + NONE, "sha256": TEXT + NONE, "videos": LIST}, {"forget": LIST}),
    "failed": (ENDED | {"error": TEXT}, {}),
    "segment": (
        {"cut_key": TEXT, "part": WHOLE, "file": TEXT + NONE, "thumbs": TEXT, "warnings": LIST} | RESULT,
        {},
    ),
    "end": ({"stopped": TEXT + NONE, "finished": NUMBER, "videos_sha256": TEXT}, {"statuses": OBJECT}),
}
DONE_VIDEO = (ENDED | RESULT, {})
GIVEN_UP = (ENDED | {"error": TEXT, "rows": WHOLE}, {})  # as a merge takes it from a part


class BadRecord(InputError):
    """A record that no version of cliffvid up to this one writes; the message says why."""


def check_record(record: object, jobs: int) -> None:
    """Raise BadRecord unless a line holds what a journal may hold; ``jobs``: how many ``job`` lines came before."""
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


def check_numbers(values: dict, names: tuple[str, ...]) -> None:
    """Raise BadRecord unless a dict has numbers, or null, by these names."""
    for name in names:
        if name not in values:
            raise BadRecord(f"no key {name!r}")
        _check_kind(values[name], NUMBER + NONE, name)


def _check(record: dict, must: dict[str, Kinds], may: dict[str, Kinds], what: str) -> None:
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


def _check_done(record: dict, jobs: int) -> None:
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


def _check_ended(video: dict, jobs: int) -> None:
    if video["status"] not in STATUSES:
        raise BadRecord(f"unknown status {video['status']!r}")
    if not 0 <= video["job"] < jobs:
        raise BadRecord(f"'job' is {video['job']}, of {jobs}")
    if video.get("counts"):  # none where a journal was made anew from shards
        _check_counts(video["counts"])


def _check_counts(counts: dict) -> None:
    decode = counts.get("decode")
    _check_kind(decode, OBJECT, "decode")
    check_numbers(decode, ("frames", "damaged"))
    check_numbers(counts, ("tracks",))
    _check_kind(counts.get("flags"), OBJECT, "flags")
