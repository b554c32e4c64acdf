"""The journal of a data set in a store, which one run holds until another takes it; see stored.py."""

import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import InputError, OutputError
from ...options import Options
from .journal import Journal
from .stored import StoredPlace, naming, piece, stored_place


class StoredJournal(Journal):
    """Journal of a data set in a store; a context manager. Raises InputError if it is damaged."""

    def __init__(self, place: StoredPlace) -> None:
        self._place, self._number = place, len(place.pieces)
        self._fault: OutputError | None = None
        with naming(place):
            size = place.fetch_journal().stat().st_size
            super().__init__(place.folder)
            if self.path.stat().st_size < size:
                raise InputError(f"{self.path}: line {self.lines + 1} is damaged; ")

    def claim(self) -> None:
        """Take the data set from any other run. Raises OutputError if the store cannot prove that."""
        self.hold()
        if self._place.put_new(piece(self._number), b""):
            self._place.take_back(piece(self._number))
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
            mine = self._place.put_new(piece(self._number + 1), data)
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
    """Yield a data set in a store, open for writing. Raises as its place and journal, UsageError for other files."""
    with stored_place(address, options) as place:
        place.check_own()
        place.names()  # those found before the claim are no later run's
        with StoredJournal(place) as journal:
            journal.claim()
            yield place, journal
