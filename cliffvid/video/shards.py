"""Read the members of tar files in place. A member is named as if its tar file were a folder: shards/000.tar/clip.mp4.

Tar files come from strangers. No link is followed, no name is used as a place, and no header makes us read more than
its share. Only regular, uncompressed, unsparse members are there; all others are counted.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import NotFoundError, RefusedError, UnreadableError
from ..inputs import RangeFile, check_input, open_input

SUFFIX = ".tar"
BLOCK = 512
HEADERS_MAX = 1 << 20
EXTENDED_BYTES = 1 << 16  # of one long name or set of attributes
REGULAR, SPARSE = (b"\0", b"0", b"7"), b"S"  # types of members; 7 is contiguous
NAMES, ATTRIBUTES, COMMENTS = b"L", b"x", b"Kg"  # types of headers about the next member; of links and of all members
WITHOUT_DATA = b"123456"  # links, devices, folders, pipes: whatever size they claim
USTAR = b"ustar\0"  # other formats keep no part of the name in the field of the prefix
PACKED = dict.fromkeys((".tar.gz", ".tgz"), "gunzip") | dict.fromkeys((".tar.zst", ".tzst"), "unzstd")
PACKED |= dict.fromkeys((".tar.bz2", ".tbz2"), "bunzip2") | dict.fromkeys((".tar.xz", ".txz"), "unxz")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Member(NamedTuple):
    """Where a member's data lies, in bytes."""

    start: int
    size: int


@dataclass
class Shard:
    """What a tar file holds."""

    members: dict[str, Member] = field(default_factory=dict)  # of equal names the last, which unpacking would leave
    doubled: int = 0
    ignored: list[str] = field(default_factory=list)  # no regular files
    fault: str | None = None  # why there may be more members


@dataclass
class _Next:
    """What extended headers say about the next member."""

    name: bytes | None = None
    size: int | None = None
    known: bool = True  # False: they say too much to be read, or that it is sparse


class _Broken(Exception):
    """Raised where a tar file breaks off or is damaged."""


def is_tar(name: str) -> bool:
    """Return whether a name is that of a tar file. No Path is made of it: those keep the parts of all names."""
    return name.lower().endswith(SUFFIX) and os.path.isfile(name)


def tar_in(address: str) -> str:
    """Return the address of the tar file that an address of a member leads into, or is; empty for any other."""
    found = re.match(r"(\w+://[^?#]+?\.tar)(/|$)", address, re.IGNORECASE)
    return found[1] if found else ""


def refuse_compressed(name: Path | str) -> None:
    """Raise RefusedError for the name of a compressed tar file, in which no member can be found without reading it."""
    if program := next((each for end, each in PACKED.items() if str(name).lower().endswith(end)), None):
        raise RefusedError(f"{name}: a compressed tar file; uncompress it ({program}), and name the .tar file")


def shard_of(path: Path) -> Path | None:
    """Return the tar file that a path leads into; None for any other path."""
    above = (parent for parent in path.parents if parent.suffix.lower() == SUFFIX)
    return next((parent for parent in above if os.path.isfile(parent)), None)


def read_shard(path: Path) -> Shard:
    """Return what a tar file holds. Raises InputError if it is no regular file, or may not be read."""
    check_input(path)
    facts = path.stat()
    return _read_shard(path, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns))


@lru_cache(maxsize=256)
def _read_shard(path: Path, stamp: tuple[int, ...]) -> Shard:
    with open_input(path) as file:
        return read_headers(file, os.fstat(file.fileno()).st_size)


def read_headers(file: BinaryIO | RangeFile, size: int) -> Shard:
    """Return what an open tar file holds. Raises InputError if its ranges cannot be fetched."""
    shard = Shard()
    try:
        for name, member in _headers(file, size):
            _add(shard, os.fsdecode(name), member)
    except _Broken as error:
        shard.fault = str(error)
    if isinstance(file, RangeFile):
        file.check()
    return shard


def _add(shard: Shard, name: str, member: Member | None) -> None:
    name = "/".join(part for part in name.split("/") if part not in ("", "."))
    if member is None or not name or "\0" in name:
        shard.ignored.append(name)
    else:
        shard.doubled += name in shard.members
        shard.members[name] = member


def _headers(file: BinaryIO | RangeFile, end: int) -> Iterator[tuple[bytes, Member | None]]:
    """Yield the name and the place of each member; None for what is no regular file. Raises _Broken."""
    at, about = 0, _Next()
    for _ in range(HEADERS_MAX):
        head = _block(file, at)
        if not any(head):
            return
        kind, size = head[156:157], _number(head[124:136])
        _check(head, size, at)
        start = at + BLOCK
        if kind in NAMES + ATTRIBUTES + COMMENTS:
            _extend(about, kind, file.read(size) if size <= EXTENDED_BYTES else None)
            at = start + _padded(size)
            continue
        size = 0 if kind in WITHOUT_DATA else size if about.size is None else about.size
        while kind in SPARSE and head[482 if start == at + BLOCK else 504]:
            head, start = _block(file, start), start + BLOCK
        whole = kind in REGULAR and about.known
        name = _name(head) if about.name is None else about.name
        if kind == b"\0" and name.endswith(b"/"):  # an old way to say folder
            whole, size = False, 0
        yield name, Member(start, size) if whole else None
        if start + size > end:
            raise _Broken(f"is cut short: it has {end:,} bytes, and a member that needs {start + size:,}")
        at = start + _padded(size)
        about = _Next()
    raise _Broken(f"has more than {HEADERS_MAX:,} members; split it")


def _block(file: BinaryIO | RangeFile, at: int) -> bytes:
    file.seek(at)
    head = file.read(BLOCK)
    if len(head) < BLOCK:
        raise _Broken("has no end mark, so it may be cut short")
    return head


def _check(head: bytes, size: int, at: int) -> None:
    """Raise _Broken unless a header matches its sum, which some programs formed from signed bytes."""
    bare = head[:148] + b" " * 8 + head[156:]
    sums = sum(bare), sum(byte - 256 * (byte > 127) for byte in bare)
    if size < 0 or _number(head[148:156]) not in sums:
        known = next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None) if not at else None
        raise _Broken(f"is compressed ({known}); uncompress it" if known else f"is damaged at byte {at:,}")


def _number(text: bytes) -> int:
    """Return a number in octal digits, or above 8 GiB in binary; -1 for anything else."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:])
    try:
        return int(text.split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _name(head: bytes) -> bytes:
    name, prefix = head[:100].split(b"\0")[0], head[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and head[257:263] == USTAR else name


def _extend(about: _Next, kind: bytes, data: bytes | None) -> None:
    """Take what an extended header says; ``data`` is None for one that is too large."""
    if kind in COMMENTS:
        return
    if data is None:
        about.known = False
    elif kind in NAMES:
        about.name = data.split(b"\0")[0]
    else:
        for key, value in _attributes(data):
            about.known = about.known and not key.startswith(b"GNU.sparse")
            if key == b"path":
                about.name = value
            if key == b"size" and value.isdigit() and len(value) < 19:
                about.size = int(value)


def _attributes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of lines such as ``18 path=clip.mp4``, of which the number is the length in bytes."""
    while data:
        digits = data[:8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        line, data = data[len(digits) + 1 : length], data[length:]
        if length <= len(digits) + 1 or not line.endswith(b"\n"):
            return
        key, _, value = line[:-1].partition(b"=")
        yield key, value


class MemberFile(RangeFile):
    """A member of a tar file. Raises InputError if it is not there as a whole."""

    _tar: BinaryIO | None = None  # an object that was never opened is closed too

    def __init__(self, path: Path, tar: Path) -> None:
        shard, name = read_shard(tar), path.relative_to(tar).as_posix()
        member = _member(shard, str(path), str(tar), name, tar.stat().st_size)
        super().__init__(str(path), member.size)
        self._start, self._tar = member.start, open_input(tar)

    def fetch(self, start: int, size: int) -> bytes:
        assert self._tar
        try:
            self._tar.seek(self._start + start)
            data = self._tar.read(size)
        except OSError as error:
            raise UnreadableError(f"{self.name}: cannot be read ({error.strerror})") from error
        if not data:
            raise UnreadableError(f"{self.name}: cut short while it was read; give the same command again")
        return data

    def close(self) -> None:
        if self._tar:
            self._tar.close()
        super().close()


class StoredMember(RangeFile):
    """A member of a tar file of which ranges are fetched. Raises InputError if it is not there as a whole."""

    def __init__(self, name: str, tar: RangeFile, shard: Shard) -> None:
        self._tar = tar  # first, as it is closed with this one also if the member is not there
        member = _member(shard, name, tar.name, name[len(tar.name) + 1 :], tar.size)
        super().__init__(name, member.size)
        self.content, self._start = f"{name} {tar.content}", member.start

    def fetch(self, start: int, size: int) -> bytes:
        return self._tar.fetch(self._start + start, size)

    def close(self) -> None:
        self._tar.close()
        super().close()


def _member(shard: Shard, path: str, tar: str, name: str, size: int) -> Member:
    if name not in shard.members:
        raise NotFoundError(f"{path}: {tar} has no such member" + (f"; it {shard.fault}" if shard.fault else ""))
    member = shard.members[name]
    if member.start + member.size > size:
        raise UnreadableError(f"{path}: cut short with {tar}; copy or download that again")
    return member


def refuse_shard(path: Path | str, shard: Shard) -> None:
    """Raise UnreadableError for a tar file itself, which is no video."""
    fault = shard.fault
    raise UnreadableError(
        f"{path}: {fault}; members after that are lost, copy or download it again"
        if fault
        else f"{path}: a tar file; name a member, such as {path}/clip.mp4, or give it to annotate"
    )
