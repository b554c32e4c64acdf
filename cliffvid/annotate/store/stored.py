"""Keep a data set in an object store, with the promises of a folder.

Files are made in a temporary folder and uploaded whole. What a folder's journal holds in one file are objects here,
``journal/000000001.jsonl`` and on, one for all lines that are added together; joined they are that file. Each is put on
the condition that there is none of its name. So of two runs only one can add a given object: a run begins by adding a
``claim``, and any earlier run that is still at work stops when it adds its next one, and adds no rows any more. So
no object of a journal is ever removed: that of a part that was merged ends with ``merged``, after which it is empty.

Of the files that no line names, a run removes those that it found before its claim: none of them can be named later.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol, TypeVar, cast

from ...errors import InputError, OutputError, UsageError
from ...files import folder_beside
from ...names import label
from ...options import Options
from ...tracks.data_set import VIDEOS
from ...video.stores import Deed, asked, client
from .journal import Journal
from .ownership import COPY, NAME, PARTS, TRACKS, WORK
from .place import Place
from .reading import Folded, Reading
from .records import SHARD, WORK_FILE, JobLine

T = TypeVar("T")
WAITS_S = 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 20.0  # a job of days outlasts a short failure
WRITE = Deed("writing", "take", "holds", WAITS_S)
REMOVE = Deed("removing", "remove", "holds", WAITS_S)
FETCH = Deed("reading", "deliver", "sent", WAITS_S)
PIECE = re.compile(r"journal/[0-9]{9}\.jsonl")
AT_ONCE = 256  # objects of the journal that are read together


class Store(Protocol):
    """What is used of a file system of fsspec, to write too."""

    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, object]]: ...
    def ls(self, path: str, *, detail: bool) -> list[str]: ...
    def exists(self, path: str) -> bool: ...
    def info(self, path: str) -> dict[str, int]: ...
    def cat_file(self, path: str) -> bytes: ...
    def pipe_file(self, path: str, data: bytes, *, mode: str) -> object: ...
    def put_file(self, source: str, path: str) -> object: ...
    def get_file(self, path: str, target: str) -> object: ...
    def cp_file(self, source: str, target: str) -> object: ...
    def rm_file(self, path: str) -> object: ...
    def cat_ranges(
        self, paths: list[str], starts: None, ends: None, *, on_error: str
    ) -> Sequence[bytes | Exception]: ...


class StoredPlace(Place):
    """A prefix in a store, and a temporary folder for what is being made or read.

    Raises InputError if it cannot be listed.
    """

    def __init__(self, address: str, folder: Path, options: Options) -> None:
        super().__init__(folder)
        self.where = self.address = address
        self.store = cast(Store, client(address, options))
        self.pieces = self._pieces()
        self._fetched = 0  # pieces of the journal that are in its copy here
        for place in (TRACKS, WORK):
            (folder / place).mkdir()

    def _listed(self, below: str) -> list[str]:
        """Return the names of all objects below a name, which is empty or ends in a slash, sorted."""
        found = asked(self.address, lambda: self.store.find(f"{self.address}/{below}", detail=True), FETCH)
        base = f"{self.address.partition('://')[2]}/"
        return sorted(
            name[len(base) :] for name, info in found.items() if info["type"] == "file" and name.startswith(base)
        )

    def _pieces(self) -> list[str]:
        return [name for name in self._listed("journal/") if PIECE.fullmatch(name)]

    @cached_property
    def _found(self) -> tuple[set[str], list[str]]:
        """Return the names of the objects that a run may remove, with those that it puts; and all others."""
        found = [name for name in self._listed("") if name and not name.startswith(f"{PARTS}/")]
        own = {name for name in found if _is_own(name)}
        return own, [name for name in found if name not in own and not name.endswith("/")]

    @property
    def _held(self) -> set[str]:
        return self._found[0]

    def has_journal(self) -> bool:
        return bool(self.pieces)

    def check_own(self) -> None:
        self._check_not_lost()
        names = [] if self.pieces else self._found[1]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            what = f"holds other files ({label(names[0])}{more})"
            raise UsageError(f"{self.address}: {what}; name a new prefix, or an empty one")

    def _check_not_lost(self) -> None:
        if not self.pieces and any(map(SHARD.fullmatch, self._held)):
            advice = f"{COPY}, and give `cliffvid annotate-verify FOLDER --rebuild`"
            raise UsageError(f"{self.address}: holds shards and has lost its journal; {advice}")

    def read(self, reading: Reading[Folded]) -> None:
        if self._fetched:
            self.pieces = self._pieces()
        if not self.pieces:
            self._check_not_lost()
            raise InputError(f"{self.address}: no data set of `cliffvid annotate`; it has no journal")
        with naming(self):
            reading.read(self.fetch_journal())

    def at_work(self, jobs: list[JobLine]) -> None:
        """Return None: a store does not tell."""

    def parts(self) -> list[Path]:
        def ask() -> list[str]:
            try:
                return self.store.ls(f"{self.address}/{PARTS}", detail=False)
            except FileNotFoundError:
                return []

        parts = [f"{self.address}/{PARTS}/{name.rpartition('/')[2]}" for name in asked(self.address, ask, FETCH)]
        return [
            Path(part) for part in sorted(parts) if asked(part, partial(self.store.exists, f"{part}/{piece(1)}"), FETCH)
        ]

    def publish(self, part: Path, name: str) -> None:
        self._send(part, name)
        part.unlink()

    def bring(self, other: Place, file: str, name: str) -> None:
        """Have the store copy a file of another data set in it, as ``name``."""
        source, address = f"{other.where}/{file}", f"{self.address}/{name}"
        size = asked(source, lambda: self.store.info(source)["size"], FETCH)

        def copy() -> None:
            self.store.cp_file(source, address)
            if (there := self.store.info(address)["size"]) != size:
                raise EOFError(f"{there:,} bytes of the {size:,} of {source}")

        self._held.add(name)
        _written(address, copy, WRITE)

    def keep(self, names: list[str]) -> None:
        for name in names:
            self._send(self.folder / name, name)

    def _send(self, path: Path, name: str) -> None:
        size, address = path.stat().st_size, f"{self.address}/{name}"

        def send() -> None:
            self.store.put_file(str(path), address)
            if (there := self.store.info(address)["size"]) != size:
                raise EOFError(f"{there:,} bytes of the {size:,} that were sent")

        if _is_own(name):
            self._held.add(name)
        _written(address, send, WRITE)

    def local(self, name: str) -> Path:
        path, address = self.folder / name, f"{self.address}/{name}"

        def fetch() -> None:
            self.store.get_file(address, str(path))
            size = self.store.info(address)["size"]
            if (here := path.stat().st_size) != size:
                raise EOFError(f"{here:,} bytes of the {size:,} promised")

        if not path.exists():
            asked(address, fetch, FETCH)
        return path

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        path = self.local(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        return sorted([*self._held, *(name for name in self._found[1] if name.startswith(f"{TRACKS}/"))])

    def is_own(self, name: str) -> bool:
        return name in self._held

    def remove(self, name: str) -> None:
        if name in self._held:  # another's name may lead out of the temporary folder
            super().remove(name)
            self.take_back(name)
            self._held.discard(name)

    def retire(self, journal: Journal) -> None:
        """Empty a part that was merged."""
        journal.append({"type": "merged"})
        for name in (VIDEOS, *sorted(self._held)):
            self.take_back(name)

    def take_back(self, name: str) -> None:
        """Remove an object that this run has put or may remove."""

        def take() -> None:
            with suppress(FileNotFoundError):
                self.store.rm_file(f"{self.address}/{name}")

        _written(f"{self.address}/{name}", take, REMOVE)

    def put_new(self, name: str, data: bytes) -> bool:
        """Put an object if there is none of its name; return whether the one that is there then is this."""
        address = f"{self.address}/{name}"

        def put() -> bool:
            try:
                self.store.pipe_file(address, data, mode="create")
            except Exception as error:  # there may be one: another's, or this, put by an attempt that seemed to fail
                try:
                    there = self.store.cat_file(address)
                except Exception:
                    raise error from None
                return there == data
            return True

        return _written(address, put, WRITE)

    def fetch_journal(self) -> Path:
        """Write the journal as one file into the folder, or what came since to it, and return its path.

        Raises InputError if an object of it is missing.
        """
        expected = [piece(number) for number in range(1, len(self.pieces) + 1)]
        if missing := sorted({*expected} - {*self.pieces}):
            raise InputError(f"{self.address}/{missing[0]}: missing; put back a copy of it, or {COPY}")
        with (self.folder / NAME).open("ab") as file:
            for first in range(self._fetched, len(expected), AT_ONCE):
                addresses = [f"{self.address}/{name}" for name in expected[first : first + AT_ONCE]]
                read = self.store.cat_ranges(addresses, None, None, on_error="return")
                parts = [
                    data if isinstance(data, bytes) else self._read(address)
                    for address, data in zip(addresses, read, strict=True)
                ]
                file.writelines(parts)
                self._fetched += len(parts)
        return self.folder / NAME

    def _read(self, address: str) -> bytes:
        return asked(address, lambda: self.store.cat_file(address), FETCH)


@contextmanager
def stored_place(address: str, options: Options) -> Iterator[StoredPlace]:
    """Yield a data set in a store, to be read. Raises as its place."""
    with folder_beside(Path(tempfile.gettempdir()) / "cliffvid") as folder:
        yield StoredPlace(address.rstrip("/"), folder, options)


@contextmanager
def naming(place: StoredPlace) -> Iterator[None]:
    """Name the data set in the error of a damaged journal, instead of the copy that was read."""
    try:
        yield
    except InputError as error:
        path = f"{place.folder / NAME}: "
        if not str(error).startswith(path):
            raise
        what = str(error).removeprefix(path).partition("; ")[0]
        advice = f"{COPY}, and give `cliffvid annotate-verify FOLDER --rebuild`"
        raise InputError(f"{place.address}/journal: {what}; {advice}") from error


def _written(address: str, ask: Callable[[], T], deed: Deed) -> T:
    try:
        return asked(address, ask, deed)
    except InputError as error:
        raise OutputError(f"{error}; what is finished is kept") from error


def piece(number: int) -> str:
    return f"journal/{number:09d}.jsonl"


def _is_own(name: str) -> bool:
    place, _, file = name.partition("/")
    return bool(SHARD.fullmatch(name) or (place == WORK and WORK_FILE.fullmatch(file)))
