"""All concurrency of the project.

A stage is a generator from iterator to iterator. ``Stages.ahead`` runs one in a thread of its own, a bounded number of
batches ahead of its consumer; order is kept, and without it (depth 0) the same chain is plain single-threaded Python.
"""

import atexit
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, wraps
from time import perf_counter
from typing import ParamSpec, Protocol, Self, TypeVar, cast
from weakref import WeakSet

from . import optional
from .errors import BackendError

T = TypeVar("T")
Made = TypeVar("Made", covariant=True)
P = ParamSpec("P")
# A stage makes its next batch only while those that wait for the next stage hold less: two batches of four frames of
# 1080p, or one frame of 8K.
AHEAD_BYTES = 64 << 20


class _End(Enum):
    """What stands for the item after the last one."""

    END = 0


_END = _End.END


@dataclass
class Stage:
    """What one stage did so far. Each number is written by one thread alone."""

    name: str
    unit: str  # what it counts
    done: int = 0
    consumer_wait_s: float = 0.0  # the next stage waited for this one
    width: int = 1  # threads that worked at a time
    clocks: list[list[float]] = field(default_factory=lambda: [[0.0]])  # of each thread that still works, one before
    # If that is to be kept: each time it made a batch, and each time the next stage waited for one.
    spans: list[tuple[float, float]] | None = None
    waits: list[tuple[float, float]] = field(default_factory=list)

    @property
    def inside_s(self) -> float:
        """In the stage's own code, waiting for the stage before included; the mean of its threads."""
        return sum(clock[0] for clock in self.clocks) / self.width


def _length(item: object) -> int:
    return len(cast(Sized, item))


class Stages:
    """Owner of every thread of a chain; leaving the ``with`` block ends them all, last stage first.

    Closing is the cancel signal: a fault anywhere, or Ctrl-C, leaves no thread behind. The owner is needed because a
    stage that raises cannot close the stages before it. ``keep_spans`` keeps when each stage was at work.
    """

    def __init__(self, depth: int, keep_spans: bool = False) -> None:
        self.depth, self.keep_spans = depth, keep_spans
        self.stages: list[Stage] = []
        self._open: list[Generator[object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.pop().close()

    def ahead(self, name: str, unit: str, items: Iterable[T], units_in: Callable[[T], int] = _length) -> Iterator[T]:
        """Yield the same items in order, made up to ``depth`` ahead; ``units_in`` counts what is in one."""
        return self.merged(name, unit, [items], 1, units_in)

    def merged(
        self, name: str, unit: str, sources: Iterable[Iterable[T]], width: int, units_in: Callable[[T], int] = _length
    ) -> Iterator[T]:
        """Yield the items of several sources, ``width`` of which are read at a time, each in a thread and up to
        ``depth`` items ahead. They take turns, so that the order is always the same.
        """
        stage = Stage(name, unit, spans=[] if self.keep_spans else None)
        self.stages.append(stage)
        watched = _watched(stage, _turns(stage, sources, width, self.depth), units_in)
        self._open.append(watched)
        return watched

    @property
    def at_work(self) -> bool:
        """Whether stages are open: not before the first, nor once all are closed."""
        return bool(self._open)

    def busy_s(self) -> dict[str, float]:
        """Seconds each stage spent in its own work: not waiting for the stage before, nor for room ahead."""
        waits = self.waiting_s()
        return {stage.name: max(stage.inside_s - waits[stage.name], 0) for stage in self.stages}

    def waiting_s(self) -> dict[str, float]:
        """Seconds each stage waited for the stage before it."""
        waits = [0.0] + [stage.consumer_wait_s for stage in self.stages[:-1]]
        return {stage.name: wait for stage, wait in zip(self.stages, waits, strict=True)}


def _turns(stage: Stage, sources: Iterable[Iterable[T]], width: int, depth: int) -> Generator[T]:
    waiting = iter(sources)
    live: deque[tuple[list[float], _Ahead[T]]] = deque()
    try:
        while True:
            while len(live) < width and (source := next(waiting, None)) is not None:
                clock = [0.0]
                stage.clocks.append(clock)
                timed = _timed(stage.name, clock, stage.spans, source)
                live.append((clock, _Prefetch(timed, depth) if depth else timed))
            if not live:
                return
            stage.width = max(stage.width, len(live))
            clock, items = live[0]
            item: T | _End = next(items, _END)
            if isinstance(item, _End):
                live.popleft()
                stage.clocks[0][0] += clock[0]
                stage.clocks = [other for other in stage.clocks if other is not clock]
                continue
            live.rotate(-1)
            yield item
            del item  # here and below: a batch that was handed on is let go before the next is made
    finally:
        for _, items in live:
            items.close()


def _timed(name: str, clock: list[float], spans: list[tuple[float, float]] | None, items: Iterable[T]) -> Generator[T]:
    iterator, marked = iter(items), _marker()
    try:
        while True:
            start = perf_counter()
            with marked(name):
                item: T | _End = next(iterator, _END)
            end = perf_counter()
            clock[0] += end - start
            if spans is not None:
                spans.append((start, end))
            if isinstance(item, _End):
                return
            yield item
            del item
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


@cache
def _marker() -> Callable[[str], AbstractContextManager[object]]:
    """What marks a stage's batches for NVIDIA's profilers, where the package nvtx is installed; else nothing."""
    try:
        mark: Callable[[str], AbstractContextManager[object]] = optional.load("nvtx", "pip install nvtx").annotate
        return mark
    except BackendError:  # a run does without it
        return nullcontext


def _watched(stage: Stage, items: Generator[T], units_in: Callable[[T], int]) -> Generator[T]:
    try:
        while True:
            start = perf_counter()
            item: T | _End = next(items, _END)
            end = perf_counter()
            stage.consumer_wait_s += end - start
            if stage.spans is not None:
                stage.waits.append((start, end))
            if isinstance(item, _End):
                return
            stage.done += units_in(item)
            yield item
            del item
    finally:
        items.close()


class _Ahead(Protocol[Made]):
    """What is read item by item and may be closed before its end."""

    def __next__(self) -> Made: ...
    def close(self) -> None: ...


class _Prefetch(Iterator[T]):
    """The items in order, while a thread stays at most ``depth`` ahead, and makes none while AHEAD_BYTES are waiting.
    Its fault surfaces here, traceback and all.
    """

    def __init__(self, items: Generator[T], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[T | _End] = queue.Queue(depth)
        self._held_bytes, self._taken = 0, threading.Condition()
        self._stop = threading.Event()
        self._fault: BaseException | None = None
        self._worker = threading.Thread(target=self._work, daemon=True, name="cliffvid")
        at_work[self] = None
        self._worker.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                with self._taken:
                    self._held_bytes += _held_bytes(item)
                self._put(item)
                del item  # who took it lets it go
                with self._taken:
                    self._taken.wait_for(lambda: self._held_bytes < AHEAD_BYTES or self._stop.is_set())
                if self._stop.is_set():
                    break
        except BaseException as error:
            self._fault = error
        finally:
            self._items.close()
            self._put(_END)
            at_work.pop(self, None)

    def _put(self, item: T | _End) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.05)
            except queue.Full:
                continue

    def __next__(self) -> T:
        item = self._ready.get()
        if isinstance(item, _End):
            self.close()
            if self._fault:
                raise self._fault
            raise StopIteration
        with self._taken:
            self._held_bytes -= _held_bytes(item)
            self._taken.notify()
        return item

    def is_alive(self) -> bool:
        return self._worker.is_alive()

    def close(self) -> None:
        with self._taken:
            self._stop.set()
            self._taken.notify()
        self._worker.join()


def _held_bytes(item: object) -> int:
    """The memory that a batch takes: of parts, or one that tells."""
    return sum(map(_held_bytes, item)) if isinstance(item, list) else int(getattr(item, "nbytes", 0))


class Work(Protocol):
    """Owns a thread that works ahead of whoever takes what it made."""

    def is_alive(self) -> bool: ...
    def close(self) -> None: ...


# What is still open when Python ends, such as an iterator that a program kept, is ended here in time. Python would take
# the threads by surprise: one that is in native code then aborts the process. And it would close the iterators last,
# when parts of itself are gone.
_iterators: WeakSet[Generator[object]] = WeakSet()
at_work: dict[Work, None] = {}  # in the order they began: a chain's last stage first, as it asks the one before


def closed_at_exit(make: Callable[P, Generator[T]]) -> Callable[P, Generator[T]]:
    """Make a generator function whose generators are closed before Python ends."""

    @wraps(make)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        made = make(*args, **kwargs)
        _iterators.add(made)
        return made

    return begin


@atexit.register
def _end_all() -> None:
    for work in list(at_work):
        if work.is_alive():
            work.close()
    for each in list(_iterators):
        if not getattr(each, "gi_running", False):  # by a thread of the program's own, which waits for good now
            each.close()
