"""Where a data set is kept: a local folder; in stored.py, an object store."""

import os
from pathlib import Path

from ...files import sync_folder
from .ownership import TRACKS, WORK, remove


class Place:
    """The folder of a data set: files are made in its ``work/``, and get their names once they are whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where: Path | str = folder  # for messages

    def publish(self, part: Path, name: str) -> None:
        """Give a finished work file its name in the data set. Raises OSError, or OutputError in a store."""
        os.replace(part, self.folder / name)
        sync_folder((self.folder / name).parent)

    def keep(self, names: list[str]) -> None:
        """Keep work files for later runs, before the journal names them: here they are already on disk."""

    def local(self, name: str) -> Path:
        """Return the path of a file of the data set on this machine."""
        return self.folder / name

    def names(self) -> list[str]:
        """Return the names of the files that this run may remove where the journal does not name them."""
        return [f"{place}/{path.name}" for place in (TRACKS, WORK) for path in (self.folder / place).iterdir()]

    def remove(self, name: str) -> None:
        """Remove a file of the data set if it exists and is cliffvid's."""
        remove(self.folder, name)
