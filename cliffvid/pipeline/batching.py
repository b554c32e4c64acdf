"""Batch parts of several videos together: build batches, split them to size, and run a stage on them."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Generic, Protocol, Self, TypeAlias, TypeVar

from ..tables import Table
from ..tracks.boxes import Boxes
from .counts import Counts


class Rows(Protocol):
    """The rows of a part: a table, or frames with their detections."""

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...


class Cuttable(Rows, Protocol):
    """Rows that support slicing."""

    def __getitem__(self, rows: slice, /) -> Self: ...


class HasCounts(Protocol):
    """The video that a part's rows belong to; it keeps the counts, and the boxes if they are given."""

    @property
    def counts(self) -> Counts: ...
    @property
    def boxes(self) -> Boxes | None: ...


R = TypeVar("R", bound=Rows)
S = TypeVar("S", bound=Rows)
C = TypeVar("C", bound=Cuttable)
T = TypeVar("T", bound=Table)
R_co = TypeVar("R_co", bound=Rows, covariant=True)


@dataclass(frozen=True, slots=True)
class Part(Generic[R_co]):
    """Rows of one video within a shared batch; ``rows`` None marks the end of that video."""

    video: HasCounts
    rows: R_co | None = None
    cut: bool = False  # the next part may have more rows of the last frame

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    @property
    def nbytes(self) -> int:
        return 0 if self.rows is None else self.rows.nbytes


Batch: TypeAlias = list[Part[R]]


def rows_in(batch: Sequence[Part[Rows]]) -> int:
    """Return the number of rows in a batch."""
    return sum(map(len, batch))


def lifted(
    stage: Callable[[list[R]], list[S]],
    batches: Iterable[Batch[R]],
    note: Callable[[Counts, S], None] = lambda counts, rows: None,
) -> Iterator[Batch[S]]:
    """Yield each batch after ``stage``, with every result still assigned to its video.

    ``note`` is called with each video's counts and its result.
    """
    for batch in batches:
        made = _through(stage, batch, note)
        del batch  # free it before the next one is requested; same for ``made``
        yield made
        del made


def _through(stage: Callable[[list[R]], list[S]], batch: Batch[R], note: Callable[[Counts, S], None]) -> Batch[S]:
    made = iter(stage([part.rows for part in batch if part.rows is not None]))
    done: Batch[S] = []
    for part in batch:
        if part.rows is None:  # an end stays one, and no rows are no end
            done.append(Part(part.video))
            continue
        rows = next(made)
        note(part.video.counts, rows)
        done.append(Part(part.video, rows, part.cut))
    return done


def rebatch(batches: Iterable[Batch[C]], rows: int, parts: float = math.inf) -> Iterator[Batch[C]]:
    """Yield the same rows in the same order, in batches of ``rows`` rows across videos; the last may be smaller.

    A batch is also closed once it holds ``parts`` nonempty parts. A video's end marker comes after all its rows.
    Consecutive parts of one video are not concatenated here, see ``joined``.
    """
    batch: Batch[C] = []
    room = rows
    for part in (part for batch_ in batches for part in batch_):
        while part.rows is not None and len(part) >= room:
            yield [*batch, replace(part, rows=part.rows[:room], cut=part.cut or len(part) > room)]
            part = replace(part, rows=part.rows[room:])
            batch, room = [], rows
        if part.rows is None and not batch:
            yield [part]
        elif len(part) or part.rows is None:
            batch.append(part)
            room -= len(part)
            if sum(len(each) > 0 for each in batch) >= parts:
                yield batch
                batch, room = [], rows
    if batch:
        yield batch


def joined(batches: Iterable[Batch[T]]) -> Iterator[Batch[T]]:
    """Yield each batch with consecutive parts of one video as one part."""
    for batch in batches:
        whole = _joined(batch)
        del batch  # free it before the next one is requested; same for ``whole``
        yield whole
        del whole


def _joined(batch: Batch[T]) -> Batch[T]:
    whole: Batch[T] = []
    for video, group in groupby(batch, lambda part: part.video):
        parts = list(group)
        if tables := [part.rows for part in parts if part.rows is not None]:
            last = max(at for at, part in enumerate(parts) if part.rows is not None)
            whole.append(Part(video, tables[0].concat(tables), parts[last].cut))
        whole += [part for part in parts if part.rows is None]
    return whole
