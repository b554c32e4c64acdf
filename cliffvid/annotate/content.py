"""Which content an input has, and whether it still has it after the work."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AccessError, ChangedError, EmptyError, InputError, NotFoundError
from ..inputs import open_input
from ..npz import size_of
from ..video.image_files import Images
from ..video.open import open_source, source_of
from .messages import Task

BLOCK, BLOCKS = 1 << 16, 16


@contextmanager
def unchanged(task: Task) -> Iterator[None]:
    """Raise ChangedError if the input of a task is another before, during or after the work than when it was planned.

    What the file system says of it is compared as well: that shows what was changed and changed back meanwhile.
    """
    source = source_of(task["video"])
    stamps = stamps_of(source)
    yield
    try:
        same = stamps_of(source) == stamps and content_of(source) == task["content"]
    except (FileNotFoundError, NotFoundError):
        same = False
    if not same:
        raise ChangedError(f"{source}: changed while read; its rows are left out, give the same command again")


def files_of(source: Path | str) -> list[Path]:
    """Return the files of an input: one of a video, those of images, none of an address. Raises InputError."""
    if isinstance(source, str):
        return []
    if source.is_file():
        return [source]
    with open_source(source) as images:
        if not isinstance(images, Images):
            raise InputError(f"{source}: neither a file nor a folder of images")
        return images.files


def stamps_of(source: Path | str) -> list[tuple[int, ...]]:
    """Return which files an input is and when they were last written."""
    facts = (file.stat() for file in files_of(source))
    return [(fact.st_dev, fact.st_ino, fact.st_size, fact.st_mtime_ns) for fact in facts]


def content_of(source: Path | str) -> str:
    """Names the content of an input: its size, and its bytes or, above a megabyte, 16 blocks of 64 kB spread evenly.

    A change in place between the blocks that keeps the size goes unnoticed; any new encoding moves them all. An
    address stands for itself. Raises InputError as opening it does.
    """
    if isinstance(source, str):
        return source
    digest = hashlib.sha256()
    try:
        files = files_of(source)
        for file in files:
            if files != [source]:
                digest.update(os.fsencode(file.name) + b"\0")
            _add_content(file, digest)
    except PermissionError as error:
        raise AccessError(f"{source}: not allowed to read it; check its permissions") from error
    return digest.hexdigest()


def _add_content(path: Path, digest: "hashlib._Hash") -> None:
    try:
        file = open_input(path)
    except EmptyError:  # reading it says so
        digest.update(b"0 ")
        return
    with file:
        size = size_of(file)
        digest.update(b"%d " % size)
        if size <= BLOCK * BLOCKS:
            digest.update(file.read())
            return
        for block in range(BLOCKS):
            file.seek((size - BLOCK) * block // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
