"""Maintain a data set: merge parts, verify every shard, and repair damage."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from ..errors import InputError, UsageError
from ..names import label
from ..options import Options
from ..tracks.data_set import VIDEOS
from .inputs import FoundInputs
from .job import annotate_inputs
from .options import BulkOptions
from .progress import Summary, Watch
from .store.dataset import NO_SHARD, Shards, conclude, done_line, hash_of, writing
from .store.journal import read_state
from .store.opening import open_journal
from .store.ownership import NAME, PARTS, TRACKS, WORK, has_journal, is_own, remove
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


def merge(out: Path) -> Merged:
    """Merge the parts that ``--shard`` jobs made under ``out`` into the data set, and return counts.

    It may be killed and called again. If several parts hold an input, the one finished last counts. A part with
    unfinished inputs stays, so that its job can resume. Raises InputError if there are no parts.
    """
    has_journal(out)  # raises for links and addresses
    parts = sorted(path.parent for path in (out / PARTS).glob(f"*/{NAME}"))
    if not parts:
        raise InputError(f"{out}: holds no parts of annotate --shard; nothing to merge")
    if linked := [part for part in parts if part.is_symlink()]:
        raise UsageError(f"{linked[0]}: a link; move the part itself there")
    merged: Merged = {"parts": len(parts), "inputs": 0, "rows": 0, "unfinished": 0}
    with open_journal(out) as journal, writing(out):
        place = Place(out)
        shards = Shards(place, journal)
        shards.clean()
        finished = [part for part in parts if _take(part, shards, merged)]
        conclude(place, journal, None)
        for part in finished:
            _remove_part(part)
    return merged


def _remove_part(part: Path) -> None:
    """Remove cliffvid's files from a part, the journal last, and folders that are empty then."""
    for place in (TRACKS, WORK):
        for path in (part / place).iterdir():
            remove(part, f"{place}/{path.name}")
    for name in (VIDEOS, NAME):
        (part / name).unlink(missing_ok=True)
    for folder in (part / TRACKS, part / WORK, part):
        with suppress(OSError):  # it holds other files
            folder.rmdir()


def _take(part: Path, shards: Shards, merged: Merged) -> bool:
    """Take inputs from a part that are missing or older in the data set; return whether the part is complete."""
    with open_journal(part) as journal:
        theirs = journal.state
        ours, first_job = shards.journal.state, len(shards.journal.state.jobs)
        newer: dict[str, Ended] = {
            name: {**video, "job": video["job"] + first_job}
            for name, video in theirs.live.items()
            if name not in ours.live or ours.live[name]["finished"] < video["finished"]
        }
        unfinished = theirs.left()
        merged["inputs"] += len(newer)
        merged["rows"] += sum(video["rows"] for video in newer.values())
        merged["unfinished"] += unfinished
        if newer:
            shards.forget([name for name in newer if name in ours.live])
            shards.journal.append(*theirs.jobs, *(line for name, line in theirs.inputs.items() if name in newer))
            without = [str(name) for name, file in theirs.live.select("file") if not file]
            for file, videos in [*theirs.shards().items(), (None, without)]:
                _take_shard(part, file, videos, newer, shards, theirs.hashes)
        return not unfinished


def _take_shard(
    part: Path, file: str | None, videos: list[str], newer: dict[str, Ended], shards: Shards, hashes: dict[str, str]
) -> None:
    taken = [newer[name] for name in videos if name in newer]
    if not taken:
        return
    shard = NO_SHARD
    if file:
        names = [video["video"] for video in taken]
        whole, path, sha256 = len(taken) == len(videos), part / file, hashes[file]
        shard = shards.bring(path, sha256) if whole else shards.filtered(path, sha256, names)
    shards.journal.append(done_line(shard, taken))


def verify(folder: Path) -> Iterator[Defect]:
    """Yield the problems of a data set: read every shard completely and compare it with the journal.

    Each finding has the ``problem``, and the ``videos`` to redo for a repair.
    """
    state = read_state(folder)
    for file, videos in state.shards().items():
        problem = _changed(folder / file, state.hashes[file])
        problem = problem or _problem(folder / file, {label(name): state.live[name]["rows"] for name in videos})
        if problem:
            yield {"file": file, "problem": problem, "videos": videos}
    named = state.shards().keys()
    parts = [line for parts in state.segments.values() for line in parts.values()]
    segments = {name for line in parts for name in (line["file"], line["thumbs"])}
    shards: set[str | None] = {Path(file).name for file in named}
    for place, known in ((TRACKS, shards), (WORK, segments)):
        for path in sorted((folder / place).iterdir() if (folder / place).is_dir() else []):
            if path.name in known:
                continue
            if is_own(path):
                yield {"file": f"{place}/{path.name}", "problem": "no line of the journal names it", "videos": []}
            elif place == TRACKS:  # readers of the folder would take it for rows
                problem = "is no file of cliffvid's; move it elsewhere, it is not removed"
                yield {"file": f"{place}/{path.name}", "problem": problem, "videos": []}
    if problem := _videos_problem(folder, state):
        yield {"file": VIDEOS, "problem": problem, "videos": []}


def _problem(path: Path, promised: dict[str, int]) -> str | None:
    try:
        rows = rows_in(path)
    except InputError as error:
        return str(error)
    if dict(rows) != promised:
        wrong = sorted(name for name in rows.keys() | promised.keys() if rows[name] != promised.get(name, 0))
        return f"{wrong[0]}: {rows[wrong[0]]} rows, the journal counts {promised.get(wrong[0], 0)}"
    return None


def _changed(path: Path, sha256: str) -> str | None:
    """Return how a file differs from what was written, or None; only then may a Parquet reader open it safely."""
    try:
        return None if hash_of(path) == sha256 else "is not what was written: its sha256 is another"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error})"


def _videos_problem(folder: Path, state: State) -> str | None:
    import pyarrow.parquet as pq

    if state.end and (problem := _changed(folder / VIDEOS, state.end["videos_sha256"])):
        return problem
    try:
        table = pq.ParquetFile(folder / VIDEOS, pre_buffer=False).read(["video", "people", "status"], use_threads=False)
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        return f"cannot be read ({error})"
    have = {row["video"]: (row["status"], row["people"]) for row in table.to_pylist()}
    live = {name: (status, rows) for name, status, rows in state.live.select("status", "rows")}
    want = {label(name): live.get(name, ("skipped", None)) for name in (*state.inputs, *state.found)}
    return None if have == want else "is not what the journal says"


def repair(folder: Path, findings: list[Defect], bulk: BulkOptions, watch: Watch) -> Summary | None:
    """Redo the inputs of the findings with their original settings; return None if there are none."""
    with open_journal(folder) as journal, writing(folder):
        place = Place(folder)
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
