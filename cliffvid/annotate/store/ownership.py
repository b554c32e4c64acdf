"""Recognise the folders and files of a data set: no other file is ever written, replaced or removed."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from ...errors import UsageError
from ...names import address_of, label
from .records import SHARD, WORK_FILE

NAME = "journal.jsonl"
BEGINNING = b'{"type": "'  # of each line
TRACKS, WORK, PARTS = "tracks", "work", "parts"
OWN_FOLDERS = (TRACKS, WORK, PARTS)
COPY = "copy it to a folder, join journal/*.jsonl to journal.jsonl there"  # what to do with a data set in a store


def has_journal(folder: Path) -> bool:
    """Return whether a folder is a data set, that is, whether it has a journal.

    Raises UsageError if a link or another kind of file has the name of a data set's file or folder, or for an address.
    """
    if address := address_of(folder):
        raise UsageError(f"{address}: an address; {COPY}, and name that")
    for name in (*OWN_FOLDERS, NAME):
        if (folder / name).is_symlink():
            raise UsageError(f"{folder / name}: a link; name a data set whose {name} is not elsewhere")
    journal = folder / NAME
    if not os.path.lexists(journal):
        return False
    if not journal.is_file():
        raise UsageError(f"{journal}: not a regular file; name another folder for the data set")
    with journal.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n") and not line.startswith(BEGINNING[: len(line)]):
        raise UsageError(f"{journal}: not the journal of a data set; name a new folder, or an empty one")
    return line.endswith(b"\n")  # else its writer was killed at once


def check_own(folder: Path) -> None:
    """Raise UsageError unless a folder is a data set, or holds no other files and may become one."""
    if address := address_of(folder):
        what = "an address; name a local folder, and copy the finished data set there"
        raise UsageError(f"{address}: {what}; results go to s3:// and gs:// alone")
    if not os.path.lexists(folder) or has_journal(folder):
        return
    check_not_lost(folder)
    if found := sorted(path.relative_to(folder).as_posix() for path in _foreign(folder)):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise UsageError(f"{folder}: holds other files ({label(found[0])}{more}); name a new folder, or an empty one")


def check_not_lost(folder: Path) -> None:
    """Raise UsageError if a folder has shards but no journal."""
    if any(map(is_shard, (folder / TRACKS).glob("*"))):
        raise UsageError(f"{folder}: holds shards and has lost its journal; {cure(folder)}")


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield files that do not belong in the folder of a new data set."""
    for path in folder.iterdir():
        if path.name in (TRACKS, WORK) and path.is_dir():
            yield from path.iterdir()
        elif path.name not in (NAME, PARTS):
            yield path


def is_shard(path: Path) -> bool:
    """Return whether a file has the name of a shard and is not a link."""
    return bool(SHARD.fullmatch(f"{TRACKS}/{path.name}")) and path.is_file() and not path.is_symlink()


def is_own(path: Path) -> bool:
    """Return whether a file in ``tracks/`` or ``work/`` is cliffvid's, by its name."""
    if path.parent.name == TRACKS:
        return is_shard(path)
    return bool(WORK_FILE.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def remove(folder: Path, name: str) -> None:
    """Remove a file of a data set if it exists, is cliffvid's, and is not reached through a link."""
    path = folder / name
    if not path.parent.is_symlink() and is_own(path):
        path.unlink(missing_ok=True)


def cure(folder: Path) -> str:
    """Return advice for a damaged or lost journal."""
    name = shlex.quote(label(str(folder)))
    return f"put back a copy of it, or make a new one from the shards: cliffvid annotate-verify {name} --rebuild"
