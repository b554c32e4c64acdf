"""Schedule tasks to workers, and retry transient failures."""

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..errors import BackendError, CliffvidError, ModelError, OutputError, UsageError
from ..machine import on_gpu, usable_cores, usable_memory_bytes
from ..models.batch_size import VIDEOS_ON_GPU
from ..options import Options
from .messages import Answer, Fault, Task
from .options import BulkOptions

BACKOFF_S = (1.0, 4.0)  # before the second and the third attempt
WORKER_BYTES = 1_000_000_000  # upper bound of memory per worker with its own networks
AHEAD = 1000  # tasks that are ready before others are drawn: among them the longest goes first
PATIENCE_S = 0.2  # interval at which time limits and signals are checked

Took = Callable[[Answer], None]
Failed = Callable[[Task, Fault], None]


class Pool(Protocol):
    """Interface of a pool of workers."""

    count: int

    def takes(self, task: Task) -> bool: ...
    def at_work(self) -> list[tuple[str, Task, float]]: ...
    def submit(self, task: Task) -> None: ...
    def wait(self, timeout_s: float) -> list[Answer]: ...
    def close(self) -> None: ...


def open_pool(options: Options, bulk: BulkOptions, work: Path) -> Pool:
    """Return the pool that the options ask for."""
    if bulk.runner == "ray":
        from .ray_pool import RayPool

        return RayPool(bulk.workers, bulk.address, options, work)
    from .local_pool import LocalPool

    shared = bulk.networks == "shared" or (bulk.networks == "auto" and on_gpu(options.device, options.backend))
    count = bulk.workers or default_workers(options, shared)
    if shared:  # one process; as many tasks again wait in it, so that its networks need not
        return LocalPool(1, replace(options, videos_at_once=count), work, width=2 * count)
    threads = options.threads or max(usable_cores() // count, 1)
    return LocalPool(count, replace(options, threads=threads, videos_at_once=1), work)


def default_workers(options: Options, shared: bool) -> int:
    """Return the default number of workers, or of inputs that one worker decodes at once if networks are shared.

    It is one per core, as far as memory allows: networks of this size gain less from a second thread than from a second
    worker. On a GPU it is one worker, or at most ``VIDEOS_ON_GPU`` inputs.
    """
    if on_gpu(options.device, options.backend):
        return min(usable_cores(), VIDEOS_ON_GPU) if shared else 1
    room = usable_memory_bytes()
    return usable_cores() if room is None else max(min(usable_cores(), room // WORKER_BYTES), 1)


class Scheduler:
    """Queue of tasks, longest first; ``drive`` runs them on the pool's workers.

    Tasks may come from an iterator, which is asked for more when few are left: a plan need not be made whole first.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._first: deque[Task] = deque()
        self._ready: list[tuple[float, int, Task]] = []  # a heap of (-size, number, task)
        self._later: list[tuple[float, int, Task]] = []  # a heap of (time, number, task)
        self._source: Iterator[Task] = iter(())
        self._numbers = itertools.count()
        self._running = 0

    def draw_from(self, source: Iterator[Task]) -> None:
        """Take tasks from an iterator, before the ready ones, whenever fewer than half of ``AHEAD`` are ready."""
        self._source = source

    def add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            heapq.heappush(self._ready, (-task.size_s, next(self._numbers), task))

    def add_first(self, tasks: Iterable[Task]) -> None:
        self._first.extendleft(tasks)

    def drop(self, video: str) -> None:
        """Remove the tasks of an input that no worker has started."""
        self._first = deque(task for task in self._first if task.video != video)
        self._ready = [each for each in self._ready if each[2].video != video]
        self._later = [each for each in self._later if each[2].video != video]
        heapq.heapify(self._ready)
        heapq.heapify(self._later)

    def _next(self) -> Task | None:
        """Return the task that is to run next, and leave it in its queue."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._first.appendleft(heapq.heappop(self._later)[2])
        if not self._first and len(self._ready) < AHEAD // 2:
            self._first.extend(itertools.islice(self._source, AHEAD - len(self._ready)))
        return self._first[0] if self._first else self._ready[0][2] if self._ready else None

    def _submit(self, task: Task) -> None:
        if self._first:
            self._first.popleft()
        else:
            heapq.heappop(self._ready)
        self.pool.submit(task)
        self._running += 1

    def drive(
        self,
        took: Took,
        failed: Failed,
        stopped: Callable[[], object] = lambda: None,
        retry: Failed = lambda task, fault: None,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        """Run all tasks, or until ``stopped`` returns a reason; ``tick`` is called regularly.

        Raises OutputError, ModelError, BackendError or UsageError for errors that every task would meet.
        """
        while (self._next() or self._later or self._running) and not stopped():
            while (task := self._next()) and self.pool.takes(task):
                self._submit(task)
            for answer in self.pool.wait(PATIENCE_S if self._running else PATIENCE_S / 4):
                self._running -= 1
                if not isinstance(answer.reply, Fault):
                    took(answer)
                elif not self._again(answer.task, answer.reply, retry):
                    failed(answer.task, answer.reply)
            tick()

    def _again(self, task: Task, fault: Fault, retry: Failed) -> bool:
        if fault.stop:
            kinds = {kind.__name__: kind for kind in (OutputError, ModelError, BackendError, UsageError)}
            raise kinds.get(fault.error, CliffvidError)(fault.message)
        if not fault.transient or task.last:
            return False
        retry(task, fault)
        when = time.monotonic() + BACKOFF_S[task.attempt - 1]
        again = replace(task, attempt=task.attempt + 1, last=task.attempt == len(BACKOFF_S))
        heapq.heappush(self._later, (when, next(self._numbers), again))
        return True
