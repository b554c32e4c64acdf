"""All concurrency and re-batching of the project.

A stage is a generator from iterator to iterator. ``Stages.ahead`` runs one in a thread of its own, a bounded number of
batches ahead of its consumer; order is kept, and without it (depth 0) the same chain is plain single-threaded Python.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from .types import Table

T = TypeVar("T")
TableT = TypeVar("TableT", bound=Table)
_END = object()


@dataclass
class Stage:
    """What one stage did so far. Each number is written by one thread alone."""

    name: str
    unit: str  # what it counts
    done: int = 0
    inside_s: float = 0.0  # in the stage's own code, waiting for the stage before included
    consumer_wait_s: float = 0.0  # the next stage waited for this one


class Stages:
    """Owner of every thread of a chain; leaving the ``with`` block ends them all, last stage first.

    Closing is the cancel signal: a fault anywhere, or Ctrl-C, leaves no thread behind. The owner is needed because a
    stage that raises cannot close the stages before it.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.stages: list[Stage] = []
        self._open: list[Generator] = []

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_) -> None:
        while self._open:
            self._open.pop().close()

    def ahead(self, name: str, unit: str, items: Iterable[T]) -> Iterator[T]:
        """The same items in order, made up to ``depth`` batches ahead; the length of a batch counts as its units."""
        stage = Stage(name, unit)
        self.stages.append(stage)
        timed = _timed(stage, items)
        made = _prefetch(timed, self.depth) if self.depth else timed
        watched = _watched(stage, made)
        self._open += [timed, made, watched] if self.depth == 0 else [made, watched]
        return watched

    def busy_s(self) -> dict[str, float]:
        """Seconds each stage spent in its own work: not waiting for the stage before, nor for room ahead."""
        waits = [0.0] + [stage.consumer_wait_s for stage in self.stages[:-1]]
        return {stage.name: max(stage.inside_s - wait, 0) for stage, wait in zip(self.stages, waits, strict=True)}


def _timed(stage: Stage, items: Iterable[T]) -> Generator[T]:
    iterator = iter(items)
    while True:
        start = perf_counter()
        item = next(iterator, _END)
        stage.inside_s += perf_counter() - start
        if item is _END:
            return
        yield item


def _watched(stage: Stage, items: Iterator[T]) -> Generator[T]:
    while True:
        start = perf_counter()
        item = next(items, _END)
        stage.consumer_wait_s += perf_counter() - start
        if item is _END:
            return
        stage.done += len(item)
        yield item


def _prefetch(items: Generator[T], depth: int) -> Generator[T]:
    """The items in order, while a thread stays at most ``depth`` ahead. Its fault surfaces here, traceback and all."""
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    fault: list[BaseException] = []

    def put(item) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.05)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
        except BaseException as error:
            fault.append(error)
        finally:
            items.close()
            put(_END)

    worker = threading.Thread(target=work, daemon=True, name="cliffvid")
    worker.start()
    try:
        while (item := ready.get()) is not _END:
            yield item
        if fault:
            raise fault[0]
    finally:
        stop.set()
        worker.join()


class Owner:
    """A thread that lives as long as the process and alone touches what must not change hands: a graphics context."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cliffvid-owner")

    def call(self, work: Callable[..., T], *args) -> T:
        """What ``work`` returns or raises, run in the owner's thread; calls from several threads queue up."""
        return self._thread.submit(work, *args).result()


def rebatch(tables: Iterable[TableT], rows: int) -> Iterator[TableT]:
    """The same rows in the same order, in tables of exactly ``rows`` rows but for the last."""
    waiting: list[TableT] = []
    held = 0
    for table in tables:
        waiting.append(table)
        held += len(table)
        if held < rows:
            continue
        whole = type(table).concat(waiting)
        cut = held - held % rows
        for start in range(0, cut, rows):
            yield whole[start : start + rows]
        waiting, held = ([whole[cut:]], held - cut) if held > cut else ([], 0)
    if held:
        yield type(waiting[0]).concat(waiting)
