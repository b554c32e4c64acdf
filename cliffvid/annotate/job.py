"""Bulk annotation. Start reading here: ``annotate`` plans, schedules tasks, and commits their results."""

import platform
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from ..errors import CliffvidError, OutputError
from ..machine import interruptible, version
from ..option import given_apart
from ..options import Options, RunKeywords
from .inputs import FoundInputs, find_inputs
from .messages import Answer, Event, Fault, Join, LeftOut, Probed, Processed, Segment, Task, said_of
from .options import BulkKeywords, BulkOptions
from .plan import Plan, in_part, job_folder, recipe
from .progress import MetricsFile, Progress, Summary, Watch
from .scheduler import Failed, Scheduler, Took, open_pool
from .split import SegmentMerger
from .store.dataset import Shards, conclude, open_journal, writing
from .store.journal import Log, state_of
from .store.ownership import WORK
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
        out: The folder of the data set, created if needed; ``read_tracks(out, video=...)`` reads it.
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
    elsewhere = state_of(out).live if folder != out else {}
    with open_journal(folder) as log:
        watch = MetricsFile(bulk.metrics, folder, bulk.checkpoint_s, watch) if bulk.metrics else watch
        with BulkJob(folder, log, options, bulk, watch) as job, interruptible(job.stop):
            return job.run(found, elsewhere)


class BulkJob:
    """One run over a plan; a context manager that ends all its processes."""

    def __init__(self, folder: Path, journal: Log, options: Options, bulk: BulkOptions, watch: Watch) -> None:
        self.folder, self.journal, self.options, self.bulk, self.watch = folder, journal, options, bulk, watch
        self.recipe = recipe(options)
        self.shards = Shards(folder, journal)
        self.pool = open_pool(options, bulk, folder / WORK)
        self.tasks = Scheduler(self.pool)
        self.progress = Progress(pool=self.pool)
        self.interrupted = False
        self.failures = 0
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

    def run(self, found: FoundInputs, elsewhere: dict[str, Ended]) -> Summary:
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

    def plan(self, found: FoundInputs, elsewhere: dict[str, Ended]) -> Plan:
        """Probe every input and return the plan; nothing is written."""
        whole = self.options.start_s == 0 and self.options.end_s == float("inf")
        split_s = self.bulk.split_s if whole else 0.0
        plan = Plan(self.recipe, self.journal.state, split_s=split_s, elsewhere=elsewhere)
        given = {name: each for name, each in found.inputs.items() if in_part(name, self.bulk)}
        self.progress.inputs = len(given)
        left_out: LeftOut = {"ignored": found.ignored, "ignored_names": found.ignored_names}
        self._tell({"type": "found", "inputs": len(given), "doubled": found.doubled, **left_out})
        self.tasks.add(map(plan.probe, given.values()))

        def took(answer: Answer) -> None:
            assert isinstance(answer.reply, Probed | Fault)
            plan.take(given[answer.task.video], answer.reply)
            self.progress.planned += 1

        self._drive(took, lambda task, fault: took(Answer(task, fault)))
        return plan

    def _begin(self, plan: Plan) -> None:
        """Write the plan to the journal, and remove the results that it makes stale."""
        begun: JobLine = {
            "type": "job",
            "started": time.time(),
            "inputs": len(plan.lines),
            "settings": self.recipe.settings,
            "models": self.recipe.models,
            "software": f"cliffvid {version()}",
            "options": self.options.to_json(),
            "host": platform.node(),
            "workers": self.pool.count,
        }
        with writing(self.folder):
            self.journal.append(begun, *plan.changed())
            self.shards.forget(plan.stale(self.bulk.retry_failed))
        self._tell(begun)
        for name, fault in plan.kept.items():
            self._tell({"type": "kept", "video": name, **said_of(fault)})
        for name, fault in plan.failed.items():
            if not plan.finished(name):
                self._give_up(plan, name, 0, fault)

    def _work(self, plan: Plan) -> None:
        progress = self.progress
        for name in plan.lines:
            if (ended := plan.finished(name)) and name not in plan.failed:
                progress.statuses[ended["status"]] += 1
        tasks = plan.tasks()
        self.tasks.add(tasks)
        joins = SegmentMerger(plan, self.folder, self.journal, self.tasks, self.options.stride, self._tell)
        for name, line in plan.lines.items():  # all segments may have been finished when the last run ended
            if not plan.finished(name) and line["cuts"]:
                joins.join_if_whole(name)
        progress.phase, progress.started = "annotate", time.monotonic()
        progress.size_s = sum(task.size_s for task in tasks)

        def took(answer: Answer) -> None:
            task, processed = answer.task, answer.reply
            assert isinstance(processed, Processed)
            if isinstance(task, Segment):
                joins.take(task, processed)
            elif isinstance(task, Join):
                self._took_whole(plan, task, joins.whole(task.video, processed.result), answer.rows)
                joins.remove(task.video)
            else:
                self._took_whole(plan, task, processed.result, answer.rows)
            progress.take(answer)

        def failed(task: Task, fault: Fault) -> None:
            if isinstance(task, Segment | Join):
                joins.refuse(task.video)
            else:
                self._give_up(plan, task.video, task.attempt, fault)
            progress.done_s += task.size_s

        self._drive(took, failed)

    def _drive(self, took: Took, failed: Failed) -> None:
        def tick() -> None:
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
        if self.journal.state.live.get(task.video):  # a bug; rows must never be written twice
            raise AssertionError(f"{task.video}: done twice")
        ended = self._ended(plan, task, result)
        with writing(self.folder):
            if result["file"]:
                self.shards.adopt(ended, result["file"])
            else:
                self.shards.add(ended, rows)

    def _ended(self, plan: Plan, task: Task, result: Result) -> Ended:
        """Return the journal's record of a finished input."""
        counts = result["counts"]
        status = "partial" if counts["decode"]["damaged"] else "ok" if result["rows"] else "empty"
        ended: Ended = {
            "video": task.video,
            "key": plan.lines[task.video]["key"],
            "status": status,
            "message": "; ".join(result["warnings"]) or None,
            "attempts": task.attempt,
            "rows": result["rows"],
            "counts": counts,
            "seconds": result["seconds"],
            "codec": result["codec"],
            "width_px": result["width_px"],
            "height_px": result["height_px"],
            "rate": result["rate"],
            "finished": time.time(),
            "job": len(self.journal.state.jobs) - 1,
        }
        self._count(ended, counts["decode"]["frames"] or 0)
        return ended

    def _give_up(self, plan: Plan, name: str, attempts: int, fault: Fault) -> None:
        ended: Ended = {
            "video": name,
            "key": plan.lines[name]["key"],
            "status": "failed",
            "error": fault.error,
            "message": fault.message,
            "attempts": attempts,
            "finished": time.time(),
            "job": len(self.journal.state.jobs) - 1,
        }
        if fault.log:
            ended["log"] = fault.log
        with writing(self.folder):
            self.journal.append({"type": "failed", **ended})
        self.failures += 1
        self._count(ended, 0)

    def _count(self, ended: Ended, frames: int) -> None:
        self.progress.done += 1
        self.progress.frames += frames
        self.progress.statuses[ended["status"]] += 1
        self._tell({"type": "video", **ended})

    def _tell(self, event: Event) -> None:
        self.watch(event, self.progress)

    def _end(self, plan: Plan) -> Summary:
        """Commit finished inputs, rewrite videos.parquet and return the summary."""
        self.pool.close()
        self._commit()
        state, stopped = self.journal.state, self.stopped()
        ended = [plan.finished(name) for name in plan.lines]
        statuses = Counter(each["status"] if each else "skipped" for each in ended)
        seconds = self.progress.seconds
        summary = Summary(self.folder, statuses, self.progress.done, self.progress.frames, seconds, stopped)
        if state.jobs:
            with writing(self.folder):
                conclude(self.folder, self.journal, stopped, statuses=statuses)
                self.shards.clean()
        self._tell({"type": "end", "stopped": stopped, "statuses": statuses, "seconds": seconds})
        return summary
