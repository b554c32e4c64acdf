"""Where a data set is kept: a local folder; in stored.py, an object store."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...files import sync_folder
from ...locks import has_locks
from ...tracks.data_set import VIDEOS
from .journal import Journal, at_work, read_journal
from .ownership import NAME, PARTS, TRACKS, WORK, check_own, has_journal, is_own, remove
from .reading import Folded, Reading
from .records import JobLine
from .state import State


class Place:
    """The folder of a data set: files are made in its ``work/``, and get their names once they are whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where: Path | str = folder  # for messages

    def check_own(self) -> None:
        """Raise UsageError unless there is a data set, or no other file, so that there may be one."""
        check_own(self.folder)

    def has_journal(self) -> bool:
        """Return whether there is a data set. Raises UsageError for links."""
        return has_journal(self.folder)

    def read(self, reading: Reading[Folded]) -> None:
        """Go on reading the journal. Raises InputError if it is missing or damaged."""
        read_journal(self.folder, reading)

    def state(self) -> State:
        """Return the state of the data set. Raises as ``read``."""
        reading = Reading(State())
        self.read(reading)
        return reading.fold

    def at_work(self, jobs: list[JobLine]) -> bool | None:
        """Return whether a process writes the data set; None if unknown."""
        return at_work(self.folder, jobs)

    def parts(self) -> list[Path]:
        """Return the data sets that jobs with --shard have made here."""
        return sorted(path.parent for path in (self.folder / PARTS).glob(f"*/{NAME}"))

    def publish(self, part: Path, name: str) -> None:
        """Give a finished work file its name in the data set. Raises OSError, or OutputError in a store."""
        os.replace(part, self.folder / name)
        sync_folder((self.folder / name).parent)

    def bring(self, other: "Place", file: str, name: str) -> None:
        """Take a file of another data set, as ``name``: linked where the disk can do that. Raises as ``publish``."""
        part = self.folder / WORK / f"{uuid.uuid4().hex}.parquet"
        try:
            os.link(other.folder / file, part)
        except OSError:  # another disk, or one without links
            with (other.folder / file).open("rb") as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
        self.publish(part, name)

    def keep(self, names: list[str]) -> None:
        """Keep work files for later runs, before the journal names them: here they are already on disk."""

    def local(self, name: str) -> Path:
        """Return the path of a file of the data set on this machine. Raises InputError if a store has none."""
        return self.folder / name

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """Yield the path of a file of the data set on this machine, which may end with the block. Raises as local."""
        yield self.folder / name

    def names(self) -> list[str]:
        """Return the names of all files in ``tracks/`` and ``work/``, sorted."""
        return [
            f"{place}/{path.name}"
            for place in (TRACKS, WORK)
            for path in sorted((self.folder / place).iterdir() if (self.folder / place).is_dir() else [])
        ]

    def is_own(self, name: str) -> bool:
        """Return whether one of these names is cliffvid's, and no link."""
        return is_own(self.folder / name)

    def remove(self, name: str) -> None:
        """Remove a file of the data set if it exists and is cliffvid's."""
        remove(self.folder, name)

    def retire(self, journal: Journal) -> None:
        """Remove a part that was merged: cliffvid's files, the journal last, and folders that are empty then."""
        if not has_locks():  # Windows, which removes no open file
            journal.close()
        for name in self.names():
            self.remove(name)
        for name in (VIDEOS, NAME):
            (self.folder / name).unlink(missing_ok=True)
        for folder in (self.folder / TRACKS, self.folder / WORK, self.folder):
            with suppress(OSError):  # it holds other files
                folder.rmdir()
