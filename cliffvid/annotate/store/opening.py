"""Open the journal of a data set for writing; one that has grown long is first rewritten with what still counts."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from ...errors import OutputError
from ...files import sync_folder
from ...locks import has_locks
from ...names import address_of
from ...options import Options
from ...video.stores import in_store, is_listable
from .dataset import NO_SHARD, done_line
from .journal import Journal
from .ownership import NAME, TRACKS, WORK, check_own
from .place import Place
from .records import FoundLine, ShardFacts
from .state import State

LINES_LEAST, TIMES = 1000, 4  # lines, and how often those of the rewritten journal, from which a journal is rewritten
BATCH = 4096  # inputs a line


FILES = Options()  # which give no leave to reach a store


@contextmanager
def placed(where: Path, options: Options = FILES) -> Iterator[Place]:
    """Yield the place of a data set, a folder or in a store, to be read.

    Raises InputError for a store that cannot be reached.
    """
    if address := _stored(where):
        from .stored import stored_place

        with stored_place(address, options) as place:
            yield place
        return
    yield Place(where)


@contextmanager
def opened(out: Path, options: Options) -> Iterator[tuple[Place, Journal]]:
    """Yield the place of a data set, a folder or in a store, and its journal open for writing.

    Raises as ``open_journal``, and InputError for a store that cannot be reached.
    """
    if address := _stored(out):
        from .stored_journal import open_stored

        with open_stored(address, options) as (place, log):
            yield place, log
        return
    with open_journal(out) as log:
        yield Place(out), log


@contextmanager
def standing(where: Path, options: Options) -> Iterator[tuple[Place, State]]:
    """Yield a data set and its state: a folder stays locked meanwhile, of a store it is what is there now.

    Raises as ``opened``.
    """
    if _stored(where):
        with placed(where, options) as place:
            yield place, place.state()
        return
    with open_journal(where) as log:
        yield Place(where), log.state


def planned_state(out: Path, options: Options) -> State:
    """Return the state of a data set that may not be there yet. Raises UsageError for a foreign place."""
    with placed(out, options) as place:
        place.check_own()
        return place.state() if place.has_journal() else State()


def _stored(out: Path) -> str | None:
    """Return the address of a place in a store that can be listed; None for folders and others."""
    address = address_of(out)
    return address if address and in_store(address) and is_listable(address) else None


def open_journal(folder: Path) -> Journal:
    """Open the journal of a data set; create both if there are none.

    Raises UsageError for a folder with other files, OutputError if it is not writable.
    """
    try:
        check_own(folder)
        for place in (TRACKS, WORK):
            (folder / place).mkdir(parents=True, exist_ok=True)
        journal = Journal(folder)
        state = journal.state
        needed = len(state.jobs) + len(state.shards()) + sum(map(len, state.segments.values()))
        needed += 3 * (1 + (len(state.inputs) + len(state.found)) // BATCH)
        if journal.lines < max(LINES_LEAST, TIMES * needed):
            return journal
        return compacted(folder, journal)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write there ({error.strerror}); choose another --out") from error


def compacted(folder: Path, journal: Journal) -> Journal:
    """Replace a journal by one with the same state and the fewest lines, and return that; at any moment one is whole.

    Where there is no room for it, the journal stays as it is.
    """
    try:
        new = Journal(folder, f"{WORK}/{uuid.uuid4().hex}.jsonl")
    except OSError:
        return journal
    try:
        _fill(new, journal.state)
        if not has_locks():
            journal.close()
        new.take_place(folder / NAME)
    except OSError:
        new.close()
        with suppress(OSError):
            new.path.unlink()
        return journal if has_locks() else Journal(folder)
    except BaseException:
        new.close()
        raise
    journal.close()
    sync_folder(folder)
    return new


def _fill(new: Journal, state: State) -> None:
    new.append(*state.jobs)
    for names in _batches(iter(state.found)):
        new.append(*found_lines(names))
    for names in _batches(iter(state.inputs)):
        new.append(*(state.inputs[name] for name in names))
    for file, videos in state.shards().items():
        shard: ShardFacts = {"file": file, "sha256": state.hashes[file]}
        new.append(done_line(shard, [state.live[name] for name in videos]))
    without = [
        (str(name), status == "failed") for name, file, status in state.live.select("file", "status") if not file
    ]
    for failed in (False, True):  # their keys differ
        for names in _batches(name for name, has_failed in without if has_failed == failed):
            new.append(done_line(NO_SHARD, [state.live[name] for name in names]))
    new.append(*(line for parts in state.segments.values() for line in parts.values()))
    if state.end:
        new.append(state.end)


def found_lines(names: list[str]) -> Iterator[FoundLine]:
    """Yield the ``found`` lines of inputs."""
    for each in _batches(iter(names)):
        yield {"type": "found", "videos": each}


def _batches(names: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(names, BATCH)):
        yield batch
