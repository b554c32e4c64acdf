"""Bulk annotation. Start reading here: ``annotate`` plans, schedules tasks, and commits their results."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from ..errors import CliffvidError, OutputError
from ..machine import interruptible, version
from ..option import given_apart
from ..options import Options, RunKeywords
from .inputs import FoundInputs, find_inputs
from .messages import Answer, Event, Fault, Join, LeftOut, Probe, Probed, Processed, Segment, Task, said_of
from .options import BulkKeywords, BulkOptions
from .plan import Intake, Plan, job_folder, part_of, recipe
from .progress import MetricsFile, Progress, Summary, Watch
from .scheduler import Failed, Scheduler, Took, open_pool
from .split import SegmentMerger
from .store.dataset import Shards, conclude, writing
from .store.endings import finished, given_up
from .store.journal import Log
from .store.opening import found_lines, opened, planned_state
from .store.ownership import WORK
from .store.place import Place
from .store.records import Ended, JobLine, Result


class AnnotateKeywords(RunKeywords, BulkKeywords, total=False):
    """Fields of Options and BulkOptions, as keywords."""


SHARD_BYTES = 64e6  # of rows in memory, before compression


def annotate(
    sources: str | Path | Iterable[str | Path],
    out: str | Path,
    options: Options | None = None,
    bulk: BulkOptions | None = None,
    watch: Watch = lambda event, progress: None,
    **keywords: Unpack[AnnotateKeywords],
) -> Summary:
    """Annotate all inputs into a data set; skip those that are finished already. A bad input fails alone.

    Args:
        sources: One or several folders, patterns, lists (.txt), manifests (.csv, .parquet), files, or ``-`` (stdin).
        out: The folder of the data set, for ``read_tracks(out, video=...)``, or ``s3://bucket/name``; made if needed.
        options: The settings of each video; the defaults if None.
        bulk: The settings of the job; the defaults if None.
        watch: Called with each event and the progress.
        **keywords: The fields of Options and BulkOptions, instead of both.

    Raises:
        UsageError: An option is invalid, or a source names no input.
        ModelError, BackendError: The networks cannot be used.
        OutputError: The disk is full; finished inputs are kept.
    """
    names = [sources] if isinstance(sources, str | Path) else sources
    run, job = given_apart((Options, options), (BulkOptions, bulk), keywords)
    found = find_inputs([str(name) for name in names], Path(out), run)
    return annotate_inputs(found, Path(out), run, job, watch)


def annotate_inputs(found: FoundInputs, out: Path, options: Options, bulk: BulkOptions, watch: Watch) -> Summary:
    """Run ``annotate`` on inputs that are found already."""
    folder = job_folder(out, bulk)
    elsewhere: Mapping[str, Ended] = planned_state(out, options).live if folder != out else {}
    with opened(folder, options) as (place, log):
        watch = MetricsFile(bulk.metrics, str(place.where), bulk.checkpoint_s, watch) if bulk.metrics else watch
        with BulkJob(place, log, options, bulk, watch) as job, interruptible(job.stop):
            return job.run(found, elsewhere)


class BulkJob:
    """One run over a plan; a context manager that ends all its processes."""

    def __init__(self, place: Place, journal: Log, options: Options, bulk: BulkOptions, watch: Watch) -> None:
        self.place, self.journal, self.options, self.bulk, self.watch = place, journal, options, bulk, watch
        self.folder = place.folder
        self.recipe = recipe(options)
        self.shards = Shards(place, journal)
        self.pool = open_pool(options, bulk, self.folder / WORK)
        self.tasks = Scheduler(self.pool)
        self.progress = Progress(pool=self.pool)
        self.interrupted, self.failures = False, 0
        self.fault: str | None = None

    def __enter__(self) -> "BulkJob":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def stop(self) -> None:
        """Stop the job between two steps; asked again, at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def run(self, found: FoundInputs, elsewhere: Mapping[str, Ended]) -> Summary:
        with writing(self.folder):
            self.shards.clean()
        plan = self.plan(found, elsewhere)
        try:
            if not self.interrupted:
                self._begin(plan)
                self._work(plan)
        except CliffvidError as error:
            self.fault = type(error).__name__
            with suppress(OutputError):  # the disk may still be full
                self._end(plan)
            raise
        return self._end(plan)

    def plan(self, found: FoundInputs, elsewhere: Mapping[str, Ended]) -> Plan:
        """Return the plan of this job's part of the inputs, none of them looked at; nothing is written."""
        whole = self.options.start_s == 0 and self.options.end_s == float("inf")
        split_s = self.bulk.split_s if whole else 0.0
        given = part_of(found.inputs, self.bulk)
        self.progress.inputs = len(given)
        left_out: LeftOut = {"ignored": found.ignored, "ignored_names": found.ignored_names}
        self._tell({"type": "found", "inputs": len(given), "doubled": found.doubled, **left_out})
        return Plan(
            self.recipe,
            self.journal.state,
            given,
            split_s=split_s,
            elsewhere=elsewhere,
            addresses=found.addresses,
        )

    def _begin(self, plan: Plan) -> None:
        """Write the settings and the names of new inputs to the journal."""
        begun: JobLine = {
            "type": "job",
            "started": time.time(),
            "inputs": len(plan.given),
            "settings": self.recipe.settings,
            "models": self.recipe.models,
            "software": f"cliffvid {version()}",
            "options": self.options.to_json(),
            "host": platform.node(),
            "workers": self.pool.count,
        }
        state = self.journal.state
        new = [
            name for name in plan.given if not (name in state.inputs or name in state.found or name in plan.elsewhere)
        ]
        with writing(self.folder):
            self.journal.append(begun, *found_lines(new))
        self._tell(begun)

    def _work(self, plan: Plan) -> None:
        progress, intake = self.progress, Intake(plan, self.progress)
        joins = SegmentMerger(plan, self.place, self.journal, self.tasks, self.options.stride, self._tell)
        progress.todo = sum(name not in self.journal.state.live for name in plan.given)
        progress.started = time.monotonic()
        self.tasks.draw_from(intake.probes())

        def took(answer: Answer) -> None:
            task, reply = answer.task, answer.reply
            if isinstance(reply, Probed):
                intake.take(task.video, reply)
                return
            assert isinstance(reply, Processed)
            if isinstance(task, Segment):
                joins.take(task, reply)
            elif isinstance(task, Join):
                self._took_whole(plan, task, joins.whole(task.video, reply.result), answer.rows)
                joins.remove(task.video)
            else:
                self._took_whole(plan, task, reply.result, answer.rows)
            progress.take(answer)
            self._worked(plan, task)

        def failed(task: Task, fault: Fault) -> None:
            if isinstance(task, Probe):
                intake.take(task.video, fault)
                return
            if isinstance(task, Segment | Join):
                joins.refuse(task.video)
            else:
                self._give_up(plan, task.video, task.attempt, fault)
            progress.done_s += task.size_s
            self._worked(plan, task)

        self._drive(took, failed, lambda: self._go_on(plan, intake.release(), joins))

    def _worked(self, plan: Plan, task: Task) -> None:
        if not isinstance(task, Segment):
            plan.lines.pop(task.video, None)

    def _go_on(self, plan: Plan, names: list[str], joins: SegmentMerger) -> None:
        """Go on with inputs that were looked at: write that down, remove stale results, and add the tasks."""
        if not names:
            return
        with writing(self.folder):
            for name in filter(plan.changed, names):
                self.journal.defer(plan.lines[name])
            self.shards.forget([name for name in names if plan.stale(name, self.bulk.retry_failed)])
            self.journal.append()
        for name in names:
            if fault := plan.kept.pop(name, None):
                self._tell({"type": "kept", "video": name, **said_of(fault)})
            fault = plan.failed.pop(name, None)
            if ended := plan.finished(name):
                if name not in self.journal.state.live:
                    plan.merged[name] = ended["status"]
                self.progress.statuses[ended["status"]] += 1
                del plan.lines[name]
            elif fault:
                self._give_up(plan, name, 0, fault)
                del plan.lines[name]
            else:
                tasks = plan.tasks_of(name)
                self.tasks.add(tasks)
                self.progress.known_s += sum(task.size_s for task in tasks)
                self.progress.phase = "annotate"
                if plan.lines[name]["cuts"]:  # all segments may have been finished when the last run ended
                    joins.join_if_whole(name)

    def _drive(self, took: Took, failed: Failed, release: Callable[[], object]) -> None:
        def tick() -> None:
            release()
            self._commit_if_due()
            self.watch({"type": "tick"}, self.progress)

        def retry(task: Task, fault: Fault) -> None:
            self._tell({"type": "retry", "video": task.video, "attempt": task.attempt, **said_of(fault)})

        self.tasks.drive(took, failed, self.stopped, retry, tick)

    def stopped(self) -> str | None:
        """Return the reason to stop early, or None."""
        most = self.bulk.max_failures
        if self.interrupted or self.fault:
            return "interrupted" if self.interrupted else self.fault
        return "failures" if most is not None and self.failures > most else None

    def _commit_if_due(self) -> None:
        shards = self.shards
        waited_s = time.monotonic() - shards.since if shards.since else 0
        if shards.bytes >= SHARD_BYTES or (shards.videos and waited_s >= self.bulk.checkpoint_s):
            self._commit()

    def _commit(self) -> None:
        with writing(self.folder):
            self.shards.commit()

    def _took_whole(self, plan: Plan, task: Task, result: Result, rows: bytes) -> None:
        if task.video in self.journal.state.live:  # a bug; rows must never be written twice
            raise AssertionError(f"{task.video}: done twice")
        key, job = plan.lines[task.video]["key"], len(self.journal.state.jobs) - 1
        ended = finished(task.video, key, task.attempt, result, job)
        self._count(ended, result["counts"]["decode"]["frames"] or 0)
        with writing(self.folder):
            if result["file"]:
                self.shards.adopt(ended, result["file"])
            else:
                self.shards.add(ended, rows)

    def _give_up(self, plan: Plan, name: str, attempts: int, fault: Fault) -> None:
        key, job = plan.lines[name]["key"], len(self.journal.state.jobs) - 1
        ended = given_up(name, key, attempts, fault.error, fault.message, job)
        if fault.log:
            ended["log"] = fault.log
        with writing(self.folder):
            if attempts:
                self.journal.append(ended)
            else:  # others may follow
                self.journal.defer(ended)
        self.failures += 1
        self._count(ended, 0)

    def _count(self, ended: Ended, frames: int) -> None:
        self.progress.done += 1
        self.progress.frames += frames
        self.progress.statuses[ended["status"]] += 1
        self._tell({**ended, "type": "video"})

    def _tell(self, event: Event) -> None:
        self.watch(event, self.progress)

    def _end(self, plan: Plan) -> Summary:
        """Commit finished inputs, rewrite videos.parquet and return the summary."""
        self.pool.close()
        self._commit()
        with writing(self.folder):
            self.journal.append()
        state, stopped = self.journal.state, self.stopped()
        statuses, seconds = plan.statuses(), self.progress.seconds
        summary = Summary(self.place.where, statuses, self.progress.done, self.progress.frames, seconds, stopped)
        if state.jobs:
            with writing(self.folder):
                conclude(self.place, self.journal, stopped, statuses=statuses)
                self.shards.clean()
        self._tell({"type": "end", "stopped": stopped, "statuses": statuses, "seconds": seconds})
        return summary
