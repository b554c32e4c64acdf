"""Maintain a data set: merge parts, verify every shard, and repair damage."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict

from ..errors import InputError, NotFoundError, OutputError, UsageError
from ..names import label
from ..options import Options
from ..tracks.data_set import VIDEOS
from .inputs import FoundInputs
from .job import annotate_inputs
from .options import BulkOptions
from .progress import Summary, Watch
from .store.dataset import NO_SHARD, Shards, conclude, done_line, hash_of, writing
from .store.opening import FILES, opened, placed, standing
from .store.ownership import TRACKS, WORK
from .store.place import Place
from .store.records import Ended
from .store.rows import rows_in
from .store.state import State


class Merged(TypedDict):
    """Result of a merge: the number of parts, and of the inputs and rows taken from them."""

    parts: int
    inputs: int
    rows: int
    unfinished: int  # inputs that no part has done


class Defect(TypedDict):
    """A problem with a file of a data set, and the inputs to redo for a repair."""

    file: str
    problem: str
    videos: list[str]


def merge(out: Path, options: Options = FILES) -> Merged:
    """Merge the parts that ``--shard`` jobs made under ``out`` into the data set, and return counts.

    It may be killed and called again. If several parts hold an input, the one finished last counts. A part with
    unfinished inputs stays, so that its job can resume, and so does one that a job has begun to work on meanwhile.
    ``out`` may be the address of a store, with ``options`` that allow the network. Raises InputError if there are no
    parts, UsageError for one that is a link.
    """
    with placed(out, options) as looked_at:
        looked_at.has_journal()  # raises for links and addresses
        parts = looked_at.parts()
    if linked := [part for part in parts if part.is_symlink()]:
        raise UsageError(f"{linked[0]}: a link; move the part itself there")
    if not parts:
        raise InputError(f"{looked_at.where}: holds no parts of annotate --shard; nothing to merge")
    merged: Merged = {"parts": 0, "inputs": 0, "rows": 0, "unfinished": 0}
    with opened(out, options) as (place, journal), writing(place.folder):
        shards = Shards(place, journal)
        shards.clean()
        finished = [part for part in parts if _take(part, options, shards, merged)]
        conclude(place, journal, None)
        for part in finished:
            with suppress(UsageError, OutputError), opened(part, options) as (taken, rest):
                if not rest.state.left() and not any(_newer(rest.state, journal.state)):
                    taken.retire(rest)
    return merged


def _newer(theirs: State, ours: State) -> Iterator[tuple[str, Ended]]:
    """Yield the inputs of a part that are missing or older in the data set, and their results."""
    for name, video in theirs.live.items():
        if name not in ours.live or ours.live[name]["finished"] < video["finished"]:
            yield name, video


def _take(part: Path, options: Options, shards: Shards, merged: Merged) -> bool:
    """Take inputs from a part that are missing or older in the data set; return whether the part is complete."""
    with standing(part, options) as (place, theirs):
        ours, first_job = shards.journal.state, len(shards.journal.state.jobs)
        newer: dict[str, Ended] = {
            name: {**video, "job": video["job"] + first_job} for name, video in _newer(theirs, ours)
        }
        unfinished = theirs.left()
        merged["parts"] += bool(theirs.live or unfinished)
        merged["inputs"] += len(newer)
        merged["rows"] += sum(video["rows"] for video in newer.values())
        merged["unfinished"] += unfinished
        if newer:
            shards.forget([name for name in newer if name in ours.live])
            shards.journal.append(*theirs.jobs, *(line for name, line in theirs.inputs.items() if name in newer))
            without = [str(name) for name, file in theirs.live.select("file") if not file]
            for file, videos in [*theirs.shards().items(), (None, without)]:
                _take_shard(place, file, videos, newer, shards, theirs.hashes)
        return not unfinished and not (theirs.is_merged and not place.names())


def _take_shard(
    part: Place, file: str | None, videos: list[str], newer: dict[str, Ended], shards: Shards, hashes: dict[str, str]
) -> None:
    taken = [newer[name] for name in videos if name in newer]
    if not taken:
        return
    shard = NO_SHARD
    if file:
        names = [video["video"] for video in taken]
        whole, sha256 = len(taken) == len(videos), hashes[file]
        shard = shards.bring(part, file, sha256) if whole else shards.filtered(part, file, sha256, names)
    shards.journal.append(done_line(shard, taken))


def verify(folder: Path, options: Options = FILES) -> Iterator[Defect]:
    """Yield the problems of a data set: read every shard completely and compare it with the journal.

    ``folder`` may be the address of a store, with ``options`` that allow the network. Each finding has the ``problem``,
    and the ``videos`` to redo for a repair.
    """
    with placed(folder, options) as place:
        yield from _defects(place, place.state())


def _defects(place: Place, state: State) -> Iterator[Defect]:
    for file, videos in state.shards().items():
        promised = {label(name): state.live[name]["rows"] for name in videos}
        if problem := _looked_at(place, file, state.hashes[file], partial(_problem, promised)):
            yield {"file": file, "problem": problem, "videos": videos}
    parts = [line for parts in state.segments.values() for line in parts.values()]
    known = {*state.shards(), *(f"{WORK}/{name}" for line in parts for name in (line["file"], line["thumbs"]))}
    for name in place.names():
        if name in known:
            continue
        if place.is_own(name):
            yield {"file": name, "problem": "no line of the journal names it", "videos": []}
        elif name.startswith(f"{TRACKS}/"):  # readers of the folder would take it for rows
            problem = "is no file of cliffvid's; move it elsewhere, it is not removed"
            yield {"file": name, "problem": problem, "videos": []}
    sha256 = state.end["videos_sha256"] if state.end else None
    if problem := _looked_at(place, VIDEOS, sha256, partial(_videos_problem, state)):
        yield {"file": VIDEOS, "problem": problem, "videos": []}


def _looked_at(place: Place, file: str, sha256: str | None, look: Callable[[Path], str | None]) -> str | None:
    """Return the problem of a file; only one that is what was written may safely be opened by a Parquet reader."""
    try:
        with place.at_hand(file) as path:
            changed = sha256 and hash_of(path) != sha256
            return "is not what was written: its sha256 is another" if changed else look(path)
    except (FileNotFoundError, NotFoundError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error})"


def _problem(promised: dict[str, int], path: Path) -> str | None:
    try:
        rows = rows_in(path)
    except InputError as error:
        return str(error)
    if dict(rows) != promised:
        wrong = sorted(name for name in rows.keys() | promised.keys() if rows[name] != promised.get(name, 0))
        return f"{wrong[0]}: {rows[wrong[0]]} rows, the journal counts {promised.get(wrong[0], 0)}"
    return None


def _videos_problem(state: State, path: Path) -> str | None:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, pre_buffer=False).read(["video", "people", "status"], use_threads=False)
    except (ValueError, KeyError, NotImplementedError) as error:
        return f"cannot be read ({error})"
    have = {row["video"]: (row["status"], row["people"]) for row in table.to_pylist()}
    live = {name: (status, rows) for name, status, rows in state.live.select("status", "rows")}
    want = {label(name): live.get(name, ("skipped", None)) for name in (*state.inputs, *state.found)}
    return None if have == want else "is not what the journal says"


def repair(
    folder: Path, findings: list[Defect], bulk: BulkOptions, watch: Watch, options: Options = FILES
) -> Summary | None:
    """Redo the inputs of the findings with their original settings; return None if there are none."""
    with opened(folder, options) as (place, journal), writing(place.folder):
        shards, state = Shards(place, journal), journal.state
        again: dict[int, list[str]] = {}
        for finding in findings:
            for name in finding["videos"]:
                again.setdefault(state.live[name]["job"], []).append(name)
        shards.forget([name for names in again.values() for name in names])
        shards.clean()
        conclude(place, journal, None)
    summary = None
    for job, names in again.items():
        found = FoundInputs()
        for name in names:
            found.add(name, state.inputs[name]["extra"])
        summary = annotate_inputs(found, folder, Options.from_json(state.jobs[job]["options"]), bulk, watch)
    return summary
