"""Run pipeline stages in prefetching threads; all concurrency of the project is here.

A stage is a generator that maps an iterator to an iterator. ``Stages.ahead`` runs one in its own thread, a bounded
number of batches ahead of its consumer, in order. With depth 0 the same chain is plain single-threaded Python.
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
from typing import ParamSpec, Protocol, Self, TypeAlias, TypeVar, cast
from weakref import WeakSet

from . import optional
from .errors import BackendError

T = TypeVar("T")
Made = TypeVar("Made", covariant=True)
P = ParamSpec("P")
Sources: TypeAlias = Iterable[Iterable[T] | None]  # None: no other source for now
# A stage makes its next batch only while those queued hold less: two of four 1080p frames, or one 8K frame.
AHEAD_BYTES = 64 << 20


class _End(Enum):
    """Sentinel that marks the end of an iterator."""

    END = 0


_END = _End.END


@dataclass
class Stage:
    """Statistics of one stage. Each number is written by a single thread."""

    name: str
    unit: str  # of ``done``, such as frames
    done: int = 0
    consumer_wait_s: float = 0.0  # time for which the next stage waited for this one
    width: int = 1  # most threads at work at the same time
    clocks: list[list[float]] = field(default_factory=lambda: [[0.0]])  # finished threads in sum, then one per live one
    # Recorded on request: (start, end) of each batch made, and of each wait of the next stage.
    spans: list[tuple[float, float]] | None = None
    waits: list[tuple[float, float]] = field(default_factory=list)

    @property
    def inside_s(self) -> float:
        """Return the seconds spent inside the stage, waits for the previous stage included; the mean of its threads."""
        return sum(clock[0] for clock in self.clocks) / self.width


def _length(item: object) -> int:
    return len(cast(Sized, item))


class Stages:
    """Context manager that owns every thread of a chain; leaving it ends them all, last stage first.

    Closing is the cancel signal: after an exception in any stage, or Ctrl-C, no thread is left. An owner is needed
    because a stage that raises cannot close the stages before it. ``keep_spans`` records when each stage worked.
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
        """Yield the same items in order, prefetched up to ``depth`` ahead; ``units_in`` counts the units of an item."""
        return self.merged(name, unit, [items], 1, units_in)

    def merged(
        self, name: str, unit: str, sources: Sources[T], width: int, units_in: Callable[[T], int] = _length
    ) -> Iterator[T]:
        """Yield the items of several sources round-robin, so that the order is deterministic.

        ``width`` sources are read at the same time, each in its own thread and up to ``depth`` items ahead. After None
        the next source is asked for again with the next item; None ends it if no source is open.
        """
        stage = Stage(name, unit, spans=[] if self.keep_spans else None)
        self.stages.append(stage)
        watched = _watched(stage, _turns(stage, sources, width, self.depth), units_in)
        self._open.append(watched)
        return watched

    @property
    def at_work(self) -> bool:
        """Return whether any stage is open: False before the first one and after all are closed."""
        return bool(self._open)

    def busy_s(self) -> dict[str, float]:
        """Return the seconds of own work per stage, without waits for the previous stage or for queue space."""
        waits = self.waiting_s()
        return {stage.name: max(stage.inside_s - waits[stage.name], 0) for stage in self.stages}

    def waiting_s(self) -> dict[str, float]:
        """Return the seconds that each stage waited for the previous one."""
        waits = [0.0] + [stage.consumer_wait_s for stage in self.stages[:-1]]
        return {stage.name: wait for stage, wait in zip(self.stages, waits, strict=True)}


def _turns(stage: Stage, sources: Sources[T], width: int, depth: int) -> Generator[T]:
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
            del item  # here and below: release a batch that was passed on before the next one is made
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
    """Return the context manager that marks batches for NVIDIA's profilers; a no-op where nvtx is not installed."""
    try:
        mark: Callable[[str], AbstractContextManager[object]] = optional.load("nvtx", "pip install nvtx").annotate
        return mark
    except BackendError:  # optional
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
    """Iterator that can be closed before its end."""

    def __next__(self) -> Made: ...
    def close(self) -> None: ...


class _Prefetch(Iterator[T]):
    """Iterator whose items are prefetched in order by a thread, at most ``depth`` ahead.

    The thread pauses while AHEAD_BYTES or more are queued. Its exception is raised here, with its traceback.
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
                del item  # the consumer alone holds it now
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
    """Return the memory of a batch: its ``nbytes`` (0 without), for a list the sum of its items."""
    return sum(map(_held_bytes, item)) if isinstance(item, list) else int(getattr(item, "nbytes", 0))


class Work(Protocol):
    """Owner of a thread that prefetches for its consumer."""

    def is_alive(self) -> bool: ...
    def close(self) -> None: ...


# What is still open at exit, such as an iterator that a program kept, is closed here in time. Otherwise Python stops
# threads abruptly, one in native code aborts the process, and iterators are closed when the interpreter is half gone.
_iterators: WeakSet[Generator[object]] = WeakSet()
at_work: dict[Work, None] = {}  # in starting order: a chain's last stage first, since it pulls from the one before


def closed_at_exit(make: Callable[P, Generator[T]]) -> Callable[P, Generator[T]]:
    """Decorate a generator function so that its generators are closed before Python exits."""

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
        if not getattr(each, "gi_running", False):  # running in a thread of the program, which is blocked by now
            each.close()
