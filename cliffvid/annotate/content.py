"""Hash the content of inputs, and detect inputs that change during processing."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import AccessError, ChangedError, EmptyError, InputError, NotFoundError
from ..inputs import RangeFile, open_input
from ..names import public
from ..npz import size_of
from ..options import Options
from ..video.image_files import Images
from ..video.open import open_source, source_of
from ..video.ranges import content_in_store, open_ranges
from ..video.shards import shard_of
from ..video.stores import in_store

BLOCK, BLOCKS = 1 << 16, 16


@contextmanager
def unchanged(video: str, content: str, options: Options) -> Iterator[None]:
    """Raise ChangedError if an input differs from the planned content when its frames are read.

    File identity, size and modification time are compared too: they reveal a file that was changed and changed back.
    """
    source = source_of(video)
    stamps = stamps_of(source)
    yield
    try:
        same = stamps_of(source) == stamps and content_of(source, options) == content
    except (FileNotFoundError, NotFoundError):
        same = False
    if not same:
        raise ChangedError(f"{source}: changed while read; its rows are left out, give the same command again")


def files_of(source: Path | str) -> list[Path]:
    """Return the files of an input: one for a video, all for images, none for an address. Raises InputError."""
    if isinstance(source, str):
        return []
    if source.is_file():
        return [source]
    if tar := shard_of(source):
        return [tar]
    with open_source(source) as images:
        if not isinstance(images, Images):
            raise InputError(f"{source}: neither a file nor a folder of images")
        return images.files


def stamps_of(source: Path | str) -> list[tuple[int, ...]]:
    """Return device, inode, size in bytes and modification time in ns of each file of an input."""
    facts = (file.stat() for file in files_of(source))
    return [(fact.st_dev, fact.st_ino, fact.st_size, fact.st_mtime_ns) for fact in facts]


def content_of(source: Path | str, options: Options) -> str:
    """Return the content hash of an input: SHA-256 of size and bytes, or above 1 MiB of 16 evenly spaced 64 KiB blocks.

    An in-place change between the blocks that keeps the size is missed; re-encoding changes all blocks. Of an object in
    a store, ETag and size are returned; any other address itself. Raises InputError as opening the input
    does.
    """
    if isinstance(source, str):
        return content_in_store(source, options) if in_store(source) else public(source)
    digest = hashlib.sha256()
    try:
        if member := open_ranges(source, options):
            with member:
                _add_bytes(member, member.size, digest)
                member.check()
            return digest.hexdigest()
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
    except EmptyError:  # reported when the file is read
        digest.update(b"0 ")
        return
    with file:
        _add_bytes(file, size_of(file), digest)


def _add_bytes(file: BinaryIO | RangeFile, size: int, digest: "hashlib._Hash") -> None:
    digest.update(b"%d " % size)
    if size <= BLOCK * BLOCKS:
        digest.update(file.read())
        return
    for block in range(BLOCKS):
        file.seek((size - BLOCK) * block // (BLOCKS - 1))
        digest.update(file.read(BLOCK))
