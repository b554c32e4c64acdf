"""Keep a data set in an object store, with the promises of a folder.

Files are made in a temporary folder and uploaded whole. What a folder's journal holds in one file are objects here,
``journal/000000001.jsonl`` and on, one for all lines that are added together; joined they are that file. Each is put on
the condition that there is none of its name. So of two runs only one can add a given object: a run begins by adding a
``claim``, and any earlier run that is still at work stops when it adds its next one, and adds no rows any more.

Of the files that no line names, a run removes those that it found before its claim: none of them can be named later.
"""

import platform
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar, cast

from ...errors import InputError, OutputError, UsageError
from ...files import folder_beside
from ...names import label
from ...options import Options
from ...video.stores import Deed, asked, client
from .journal import Journal
from .ownership import COPY, NAME, TRACKS, WORK
from .place import Place
from .reading import replay
from .records import SHARD, WORK_FILE
from .state import State

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
    def info(self, path: str) -> dict[str, int]: ...
    def cat_file(self, path: str) -> bytes: ...
    def pipe_file(self, path: str, data: bytes, *, mode: str) -> object: ...
    def put_file(self, source: str, path: str) -> object: ...
    def get_file(self, path: str, target: str) -> object: ...
    def rm_file(self, path: str) -> object: ...
    def cat_ranges(
        self, paths: list[str], starts: None, ends: None, *, on_error: str
    ) -> Sequence[bytes | Exception]: ...


class StoredPlace(Place):
    """A prefix in a store, and a temporary folder for what is being made.

    Raises InputError if it cannot be listed, UsageError if it holds other files.
    """

    def __init__(self, address: str, folder: Path, options: Options) -> None:
        super().__init__(folder)
        self.where = self.address = address
        self.store = cast(Store, client(address, options))
        found = self._listed()
        self.pieces = [name for name in found if PIECE.fullmatch(name)]
        if not self.pieces:
            self._check_free(found)
        self._held = {name for name in found if _is_own(name)}
        for place in (TRACKS, WORK):
            (folder / place).mkdir()

    def _listed(self) -> list[str]:
        found = asked(self.address, lambda: self.store.find(self.address, detail=True), FETCH)
        base = f"{self.address.partition('://')[2]}/"
        return sorted(
            name[len(base) :] for name, info in found.items() if info["type"] == "file" and name.startswith(base)
        )

    def _check_free(self, found: list[str]) -> None:
        names = [name for name in found if name and not name.endswith("/")]  # some tools make objects for folders
        if any(map(SHARD.fullmatch, names)):
            advice = f"{COPY}, and give `cliffvid annotate-verify FOLDER --rebuild`"
            raise UsageError(f"{self.address}: holds shards and has lost its journal; {advice}")
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            what = f"holds other files ({label(names[0])}{more})"
            raise UsageError(f"{self.address}: {what}; name a new prefix, or an empty one")

    def publish(self, part: Path, name: str) -> None:
        self._send(part, name)
        part.unlink()

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

    def names(self) -> list[str]:
        return sorted(self._held)

    def remove(self, name: str) -> None:
        super().remove(name)
        if name in self._held:
            self.take_back(name)
            self._held.discard(name)

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
        """Write the journal as one file into the folder. Raises InputError if an object of it is missing."""
        expected = [_piece(number) for number in range(1, len(self.pieces) + 1)]
        if missing := sorted({*expected} - {*self.pieces}):
            raise InputError(f"{self.address}/{missing[0]}: missing; put back a copy of it, or {COPY}")
        with (self.folder / NAME).open("wb") as file:
            for first in range(0, len(expected), AT_ONCE):
                addresses = [f"{self.address}/{name}" for name in expected[first : first + AT_ONCE]]
                read = self.store.cat_ranges(addresses, None, None, on_error="return")
                for address, data in zip(addresses, read, strict=True):
                    file.write(data if isinstance(data, bytes) else self._read(address))
        return self.folder / NAME

    def _read(self, address: str) -> bytes:
        return asked(address, lambda: self.store.cat_file(address), FETCH)


class StoredJournal(Journal):
    """Journal of a data set in a store; a context manager. Raises InputError if it is damaged."""

    def __init__(self, place: StoredPlace) -> None:
        self._place, self._number = place, len(place.pieces)
        self._fault: OutputError | None = None
        with _naming(place):
            size = place.fetch_journal().stat().st_size
            super().__init__(place.folder)
            if self.path.stat().st_size < size:
                raise InputError(f"{self.path}: line {self.lines + 1} is damaged; ")

    def claim(self) -> None:
        """Take the data set from any other run. Raises OutputError if the store cannot prove that."""
        self.hold()
        if self._place.put_new(_piece(self._number), b""):
            self._place.take_back(_piece(self._number))
            raise OutputError(
                f"{self._place.address}: the store replaces objects that should stay, so that two runs could spoil "
                "each other's work; name a local folder, and copy the finished data set to the store"
            )

    def hold(self) -> None:
        """Claim the data set. Raises OutputError if another run has claimed it since this one did."""
        self.append({"type": "claim", "id": uuid.uuid4().hex, "host": platform.node(), "claimed": time.time()})

    def _write(self, data: bytes) -> None:
        if self._fault:
            raise self._fault
        try:
            mine = self._place.put_new(_piece(self._number + 1), data)
        except OutputError as error:  # the object may be there: what would follow it is not known
            self._fault = error
            raise
        if not mine:
            what = "another annotate has taken it over; this one stops, and what it has finished is kept"
            self._fault = OutputError(f"{self._place.address}: {what}")
            raise self._fault
        self._number += 1


@contextmanager
def open_stored(address: str, options: Options) -> Iterator[tuple[StoredPlace, StoredJournal]]:
    """Yield a data set in a store, open for writing. Raises as its place and its journal."""
    with _place(address, options) as place, StoredJournal(place) as journal:
        journal.claim()
        yield place, journal


def stored_state(address: str, options: Options) -> State:
    """Return the state of a data set in a store; an empty one if there is none yet. Raises as its place."""
    with _place(address, options) as place, _naming(place):
        return replay(place.fetch_journal())[0]


@contextmanager
def _place(address: str, options: Options) -> Iterator[StoredPlace]:
    with folder_beside(Path(tempfile.gettempdir()) / "cliffvid") as folder:
        yield StoredPlace(address.rstrip("/"), folder, options)


@contextmanager
def _naming(place: StoredPlace) -> Iterator[None]:
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


def _piece(number: int) -> str:
    return f"journal/{number:09d}.jsonl"


def _is_own(name: str) -> bool:
    place, _, file = name.partition("/")
    return bool(SHARD.fullmatch(name) or (place == WORK and WORK_FILE.fullmatch(file)))
