"""Reach objects in stores (S3, Google Cloud Storage, through fsspec) and at web addresses; read them by ranges.

Nothing but the store that an address names is contacted. An error of the store is retried a few times; what the store
says about an object that is missing, or forbidden, is believed at once.
"""

import errno
import os
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

from ..errors import (
    AccessError,
    CliffvidError,
    EmptyError,
    InputError,
    NotFoundError,
    NotInstalledError,
    RefusedError,
    UnreadableError,
)
from ..inputs import RangeFile
from ..names import public
from ..optional import load
from ..options import Options


class StoreKind(NamedTuple):
    """How the stores of one scheme are read."""

    package: str
    extra: str
    who: str  # what to do without credentials
    place: str = "the store"
    missing: str = "has no such object, or no such bucket; check the name"
    forbidden: str = "check the credentials and the bucket's policy"
    shape: str = "an object ({}); it has a bucket and a key"


SCHEMES = "http", "https"
WEB = StoreKind(
    *("", "", ""),
    place="the server",
    missing="has no such file; check the address",
    forbidden="the address may have expired, or need a user and a password",
    shape="a file ({}); it is like https://host/clip.mp4",
)
STORES = {
    "s3": StoreKind(
        "s3fs",
        "s3",
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; public data: FSSPEC_S3_ANON=true",
    ),
    "gs": StoreKind("gcsfs", "gcs", "set GOOGLE_APPLICATION_CREDENTIALS; public data: FSSPEC_GS_TOKEN=anon"),
    **dict.fromkeys(SCHEMES, WEB),
}
# Credentials are looked for in the surroundings, not on the network: elsewhere than in a cloud, asking takes seconds.
NO_LOOKUPS = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}
CONNECT_S, READ_S = 10, 20


class Deed(NamedTuple):
    """What a store is asked to do with an object, in the words of its errors, and the pauses between attempts."""

    doing: str
    do: str
    cut: str  # what it did with fewer bytes than it should
    waits_s: tuple[float, ...]


READ = Deed("reading", "deliver", "sent", (0.3, 0.6, 1.2))
REFUSED = errno.EINVAL, errno.EPERM, errno.ENOSYS  # codes that s3fs gives to answers which no retry changes
NOBODY = "RefreshError", "ProfileNotFound", "TokenRetrievalError"  # errors of credentials, beside those named so
# A read at a new place fetches the least, as a header may be all that is needed; reads that go on fetch ever more.
LEAST_BYTES, MOST_BYTES, HELD_BYTES = 1 << 16, 1 << 21, 1 << 24
T = TypeVar("T")


class FileSystem(Protocol):
    """What is used of a file system of fsspec."""

    def info(self, path: str) -> dict[str, object]: ...
    def cat_file(self, path: str, *, start: int, end: int) -> bytes: ...


class Listing(FileSystem, Protocol):
    """One whose objects can be listed."""

    def glob(self, path: str, *, detail: bool) -> dict[str, dict[str, object]]: ...
    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, object]]: ...


class Facts(NamedTuple):
    """What a store says about an object."""

    size: int
    tag: str
    ranges: bool

    @property
    def content(self) -> str:
        """Return what stands for the content in a data set, of which not a byte was read."""
        return f"{self.tag} size {self.size}"


def in_store(address: Path | str) -> TypeGuard[str]:
    """Return whether a name is the address of an object in a store."""
    return isinstance(address, str) and "://" in address and _scheme(address) in STORES


def open_object(source: str, facts: Facts, options: Options) -> RangeFile:
    """Open an object whose facts are known. Raises InputError."""
    if not facts.size:
        raise EmptyError(f"{source}: the file is empty; upload it again")
    if facts.ranges:
        return StoredFile(source, facts, options)
    from .web import CopiedFile, web  # with TLS, 40 ms that most runs need not take

    copy = asked(source, lambda: web().copy(source, facts.size))
    return CopiedFile(source, facts.size, f"{source} {facts.content}", copy)


def check_leave(address: str, options: Options) -> None:
    """Raise RefusedError unless addresses may be read from."""
    if not options.allow_network:
        raise RefusedError(f"{address}: an address; give --allow-network to use it")


def facts_of(address: str, options: Options) -> Facts:
    """Return the size and the ETag of an object, by one request. Raises InputError."""
    info = asked(address, lambda: client(address, options).info(address))
    size, etag = info.get("size"), str(info.get("ETag") or info.get("etag") or "").strip('"')
    tag = info.get("tag") or (etag and f"etag {etag}")
    if info.get("type") == "directory":
        raise NotFoundError(f"{address}: a folder of objects; name one of them, or all by a slash at the end")
    if not isinstance(size, int) or size < 0 or not isinstance(tag, str) or not tag:
        raise UnreadableError(f"{address}: the store does not tell its size and ETag, by which it would be read")
    return Facts(size, tag, bool(info.get("ranges", True)))


def is_listable(address: str) -> bool:
    """Return whether an address may be a pattern or a prefix: web servers do not list what they have."""
    return _scheme(address) not in SCHEMES


def suffix_of(name: Path | str) -> str:
    """Return the suffix of a name in lower case, without the query of a web address."""
    is_web = isinstance(name, str) and in_store(name) and not is_listable(name)
    return Path(urlsplit(str(name)).path if is_web else name).suffix.lower()


def list_store(pattern: str, options: Options) -> list[str]:
    """Return the addresses that match a pattern, or all below a prefix that ends in a slash, sorted."""

    def ask() -> dict[str, dict[str, object]]:
        store = cast(Listing, client(pattern, options))
        return (store.find if pattern.endswith("/") else store.glob)(pattern, detail=True)

    found = asked(pattern, ask)
    return sorted(f"{_scheme(pattern)}://{name}" for name, info in found.items() if info["type"] == "file")


class StoredFile(RangeFile):
    """An object, of which the ranges read last are held in memory."""

    def __init__(self, address: str, facts: Facts, options: Options) -> None:
        super().__init__(address, facts.size)
        self.content = f"{address} {facts.content}"
        self._store = client(address, options)
        self._held: dict[int, bytes] = {}  # by where they begin, the one used last at the end

    def fetch(self, start: int, size: int) -> bytes:
        for begin, data in self._held.items():
            if begin <= start < begin + len(data):
                break
        else:
            begin, data = start, self._get(start)
        self._held[begin] = self._held.pop(begin, data)
        return data[start - begin : start - begin + size]

    def _get(self, start: int) -> bytes:
        before = next((len(data) for begin, data in self._held.items() if begin + len(data) == start), 0)
        end = start + min(max(2 * before, LEAST_BYTES), MOST_BYTES)
        end = min([end, self.size, *(begin for begin in self._held if begin > start)])
        data = asked(self.name, lambda: self._range(start, end))
        while self._held and sum(map(len, self._held.values())) + len(data) > HELD_BYTES:
            del self._held[next(iter(self._held))]
        return data

    def _range(self, start: int, end: int) -> bytes:
        data = self._store.cat_file(self.name, start=start, end=end)
        if len(data) != end - start:
            raise EOFError(f"{len(data):,} bytes for the {end - start:,} from {start:,} on, of {self.size:,} promised")
        return data


def client(address: str, options: Options) -> FileSystem:
    """Return the client of a store. Raises RefusedError without leave to reach it, or without its package."""
    check_leave(address, options)
    try:
        return _file_system(_scheme(address))
    except NotInstalledError as error:  # other inputs need no store
        raise RefusedError(f"{address}: {error}") from error


@cache
def _file_system(scheme: str) -> FileSystem:
    """Return the one client of a kind of store in this process: each holds connections."""
    if scheme in SCHEMES:
        from .web import web

        return web()
    for name, value in NO_LOOKUPS.items():
        os.environ.setdefault(name, value)
    install = f'pip install "cliffvid[{STORES[scheme].extra}]"'
    load(STORES[scheme].package, install)
    settings: dict[str, object] = {"use_listings_cache": False}
    if scheme == "s3":
        retries = {"mode": "standard", "total_max_attempts": 1}  # it is retried here, not in three layers
        settings["config_kwargs"] = {"retries": retries, "connect_timeout": CONNECT_S, "read_timeout": READ_S}
    else:
        settings["token"] = os.environ.get("FSSPEC_GS_TOKEN", "google_default")
    made = load("fsspec", install).filesystem(scheme, **settings)
    made.retries = 1
    return cast(FileSystem, made)


def asked(address: str, ask: Callable[[], T], deed: Deed = READ) -> T:
    """Return the store's answer, asked for again where another try may help. Raises InputError."""
    for wait_s in (*deed.waits_s, None):
        try:
            return ask()
        except CliffvidError:
            raise
        except Exception as error:  # of some library for networks
            if refused := _refusal(address, error, deed):
                raise refused from error
            if wait_s is None:
                raise _given_up(address, error, deed) from _cause(error)
        time.sleep(wait_s * random.uniform(0.5, 1))
    raise AssertionError("the last attempt returns or raises")


def _refusal(address: str, error: Exception, deed: Deed) -> InputError | None:
    """Return the error for an answer that stays the same however often it is asked for."""
    kind, words, store = type(error).__name__, reason(error), STORES[_scheme(address)]
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{address}: {store.place} {store.missing}")
    if "Credential" in kind or kind in NOBODY:
        return AccessError(f"{address}: no credentials for {store.place} ({words}); {store.who}")
    if isinstance(error, PermissionError):
        return AccessError(f"{address}: {store.place} forbids {deed.doing} it; {store.forbidden}")
    if isinstance(error, ValueError) or kind == "ParamValidationError":
        return NotFoundError(f"{address}: no address of {store.shape.format(words)}")
    if isinstance(error, OSError) and error.errno in REFUSED:
        return UnreadableError(f"{address}: {store.place} refuses to {deed.do} it ({words})")
    return None


def _given_up(address: str, error: Exception, deed: Deed) -> InputError:
    place = STORES[_scheme(address)].place
    if isinstance(error, EOFError):
        return UnreadableError(f"{address}: {place} {deed.cut} {error}; upload it again")
    return UnreadableError(f"{address}: {place} does not {deed.do} it ({reason(error)}); try again later")


def _cause(error: Exception) -> Exception:
    """Return the cause of giving up, by which a bulk job knows that another attempt may help."""
    if isinstance(error, EOFError):
        return error
    cause = TimeoutError(errno.ETIMEDOUT, reason(error))
    cause.__cause__ = error
    return cause


def reason(error: Exception) -> str:
    """Return an error of a library in one line, without secrets."""
    words = public(" ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split()))
    return words if len(words) <= 200 else f"{words[:200]} ..."


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower()
