"""Open what FFmpeg cannot open by itself: members of tar files, objects in stores, and both at once."""

import os
from functools import lru_cache
from pathlib import Path

from ..errors import NotFoundError, RefusedError
from ..inputs import RangeFile
from ..options import Options
from .shards import (
    MemberFile,
    Shard,
    StoredMember,
    is_tar,
    read_headers,
    read_shard,
    refuse_compressed,
    refuse_shard,
    shard_of,
    tar_in,
)
from .stores import Facts, facts_of, in_store, open_object


def open_ranges(source: Path | str, options: Options) -> RangeFile | None:
    """Open an input that FFmpeg cannot read by itself; None for any other. Raises InputError."""
    if not isinstance(source, Path):
        return _open_stored(source, options) if in_store(source) else None
    if os.path.isfile(source):
        refuse_compressed(source)
    if is_tar(str(source)):
        refuse_shard(source, read_shard(source))
    tar = shard_of(source)
    return MemberFile(source, tar) if tar else None


def _open_stored(address: str, options: Options) -> RangeFile:
    refuse_compressed(address)
    place = tar_in(address) or address
    facts = facts_of(place, options)
    if not tar_in(address):
        return open_object(address, facts, options)
    shard = _shard_in_store(place, facts, options)
    if place == address:
        refuse_shard(address, shard)
    return StoredMember(address, open_object(place, facts, options), shard)


def content_in_store(address: str, options: Options) -> str:
    """Return what stands for an object's content, or a member's, of which not a byte was read. Raises InputError."""
    tar = tar_in(address)
    if not tar or tar == address:
        return facts_of(address, options).content
    facts = facts_of(tar, options)
    member = _shard_in_store(tar, facts, options).members.get(address[len(tar) + 1 :])
    return f"{facts.content} member {member.start} {member.size}" if member else facts.content


def is_stored_shard(name: str) -> bool:
    """Return whether a name is the address of a tar file."""
    return "://" in name and in_store(name) and tar_in(name) == name


def shard_at(name: str, options: Options) -> Shard:
    """Return what a tar file holds, here or in a store. Raises InputError."""
    return _shard_in_store(name, facts_of(name, options), options) if in_store(name) else read_shard(Path(name))


@lru_cache(maxsize=256)
def _shard_in_store(name: str, facts: Facts, options: Options) -> Shard:
    """Return what a tar file in a store holds: read by a range a member, once in a process."""
    with open_object(name, facts, options) as file:
        return read_headers(file, facts.size)


def read_member(source: Path | str, bytes_max: int, options: Options) -> bytes:
    """Return the content of a member of a tar file. Raises InputError, also for one larger than ``bytes_max``."""
    file = open_ranges(source, options)
    if not file:
        raise NotFoundError(f"{source}: no member of a tar file")
    with file:
        if file.size > bytes_max:
            raise RefusedError(f"{source}: {file.size:,} bytes, expected {bytes_max:,} at most")
        data = file.read()
        file.check()
        return data
