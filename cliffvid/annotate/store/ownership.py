"""Which folders and files are a data set's own: nothing else is ever written to, replaced or removed."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from ...errors import UsageError
from ...names import label
from .records import SHARD, WORK_FILE

NAME = "journal.jsonl"
BEGINNING = b'{"type": "'  # of each line
TRACKS, WORK, PARTS = "tracks", "work", "parts"
OWN_FOLDERS = (TRACKS, WORK, PARTS)


def has_journal(folder: Path) -> bool:
    """Return whether a folder is a data set, which its journal alone tells.

    Raises UsageError where links or other files stand in the places of a data set's own.
    """
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
    return line.endswith(b"\n")  # else whoever began it was killed at once


def check_own(folder: Path) -> None:
    """Raise UsageError unless a folder is a data set, or may become one because nothing else is in it."""
    if not os.path.lexists(folder) or has_journal(folder):
        return
    check_not_lost(folder)
    if found := sorted(path.relative_to(folder).as_posix() for path in _foreign(folder)):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise UsageError(f"{folder}: holds other files ({label(found[0])}{more}); name a new folder, or an empty one")


def check_not_lost(folder: Path) -> None:
    """Raise UsageError where a data set without a journal has shards."""
    if any(map(is_shard, (folder / TRACKS).glob("*"))):
        raise UsageError(f"{folder}: holds shards and has lost its journal; {cure(folder)}")


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield what the folder of a data set that was never begun cannot hold."""
    for path in folder.iterdir():
        if path.name in (TRACKS, WORK) and path.is_dir():
            yield from path.iterdir()
        elif path.name not in (NAME, PARTS):
            yield path


def is_shard(path: Path) -> bool:
    """Return whether a file is a shard by its name, and no link."""
    return bool(SHARD.fullmatch(f"{TRACKS}/{path.name}")) and path.is_file() and not path.is_symlink()


def is_own(path: Path) -> bool:
    """Return whether a file of ``tracks/`` or ``work/`` is one that cliffvid made, by its name."""
    if path.parent.name == TRACKS:
        return is_shard(path)
    return bool(WORK_FILE.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def remove(folder: Path, name: str) -> None:
    """Remove a file of a data set, if it is there: only one that cliffvid made, and never through a link."""
    path = folder / name
    if not path.parent.is_symlink() and is_own(path):
        path.unlink(missing_ok=True)


def cure(folder: Path) -> str:
    """Return what to do about a journal that is damaged or lost."""
    name = shlex.quote(label(str(folder)))
    return f"put back a copy of it, or make a new one from the shards: cliffvid annotate-verify {name} --rebuild"
