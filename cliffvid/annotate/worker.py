"""Run the tasks of a worker, in a local process or a Ray actor."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from ..concurrency import Stages
from ..models.batch_size import videos_at_once, with_batch_sizes
from ..options import Options
from ..pipeline.batching import Batch
from ..pipeline.chain import Chain
from ..pipeline.networks import Models, open_models
from ..tables import Frames
from .messages import Answer, Join, Probe, Segment, Task, Trial, Whole
from .task_runs import JoinRun, SegmentRun, TaskRun, TrialRun, WholeRun, fault_of, probed


class Worker:
    """Worker that passes tasks through one chain, ``videos_at_once`` of them at a time.

    The first task that needs the networks opens them. An error in one input is put into its answer. An error of the
    chain itself is put into the answers of all tasks in it.
    """

    def __init__(self, options: Options, work: Path) -> None:
        self.options, self.work = options, work
        self._models: Models | None = None

    def run(self, tasks: Iterator[Task | None]) -> Iterator[Answer]:
        """Yield the answer to each task as soon as it is there, in any order.

        None means that there is no task for now: that ends it once no task is at work. ``tasks`` is asked in other
        threads, but in one at a time.
        """
        held = [task for task in [next(tasks, None)] if task]
        while held:
            first = held.pop()
            work = self._probe if isinstance(first, Probe) else self._process
            yield from work(first, _alike(first, tasks, held))

    def _probe(self, first: Task, more: Iterator[Task | None]) -> Iterator[Answer]:
        tasks, width = itertools.chain([first], more), videos_at_once(self.options)
        sources = (probed(task, self.options) if isinstance(task, Probe) else None for task in tasks)
        with Stages(self.options.prefetch if width > 1 else 0) as stages:
            yield from stages.merged("probe", "inputs", sources, width, lambda answer: 1)

    def _process(self, first: Task, more: Iterator[Task | None]) -> Iterator[Answer]:
        at_work: dict[Task, TaskRun | None] = {first: None}
        try:
            with self._chain() as chain:

                def begin(task: Task | None) -> Iterator[Batch[Frames]] | None:
                    if task is None:
                        return None
                    at_work[task] = None  # answered even if it cannot begin
                    at_work[task] = run = self._begin(task, chain)
                    return run.parts()

                for part in chain.bodies(map(begin, itertools.chain([first], more))):
                    run = part.video
                    assert isinstance(run, TaskRun)
                    run.take(part.rows)
                    if part.rows is None:
                        del at_work[run.task]
                        yield run.answer()
        except Exception as error:
            for task, begun in at_work.items():
                if begun:
                    begun.close()
                yield Answer(task, fault_of(error))

    def _chain(self) -> Chain:
        if self._models is None:
            self._models = open_models(self.options)
            self.options = with_batch_sizes(self.options, self._models.detector, self._models.regressor)
        return Chain(self.options, self._models)

    def _begin(self, task: Task, chain: Chain) -> TaskRun:
        match task:
            case Whole():
                return WholeRun(task, chain, self.work)
            case Segment():
                return SegmentRun(task, chain, self.work)
            case Trial():
                return TrialRun(task, chain)
            case Join():
                return JoinRun(task, self.options, self.work)
        raise AssertionError(f"{task}: none of a chain")


def _alike(first: Task, tasks: Iterator[Task | None], held: list[Task]) -> Iterator[Task | None]:
    """Yield tasks for as long as they are probes, as ``first`` is or is not; the one after these goes to ``held``."""
    while (task := next(tasks, None)) is None or isinstance(task, Probe) == isinstance(first, Probe):
        yield task
    held.append(task)
