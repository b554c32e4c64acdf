"""Show the progress of an annotation job: lines or live bars on stderr, or JSON events on stdout."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from rich.console import RenderableType
from rich.progress import Progress as Bars
from rich.progress import TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from ..names import label, listed, printable
from .bars import NARROW, KnownBar
from .console import can_draw, live, result_json, say

if TYPE_CHECKING:  # a status needs neither FFmpeg nor OpenCV
    from ..annotate.estimate import PlanLine, PlanTotal
    from ..annotate.messages import Event, KeptEvent, LeftOut, RetryEvent, Task, VideoEvent
    from ..annotate.progress import Progress, Summary
    from ..annotate.status import Status

EVERY_S = 10.0  # seconds between two lines of progress
NAME_WIDTH, BAR_WIDTH = 14, 20  # columns before a bar's text
OTHER_WIDTH = NAME_WIDTH + BAR_WIDTH + 18  # name, bar, kind of task, duration and spaces


def open_view(quiet: bool, as_json: bool) -> "AnnotateView":
    if as_json:
        return JsonView()
    if quiet:
        return AnnotateView(quiet=True)
    return LiveView() if can_draw() else AnnotateView()


class AnnotateView:
    """Plain progress lines on stderr; a context manager."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def watch(self, event: "Event", progress: "Progress") -> None:
        """Show an event of a job; tick events come several times a second."""
        match event["type"]:
            case "tick":
                self._tick(progress)
            case "found":
                parts = [counted(event["inputs"], "input")]
                if event["ignored"]:
                    parts.append(left_out(event))
                if event["doubled"]:
                    parts.append(f"{event['doubled']} named twice")
                self._say("; ".join(parts))
            case "video" if event["status"] == "failed":
                self._say(f"failed: {_said(event)} ({event['error']})", always=True)
            case "video" if event["status"] == "partial":
                self._say(f"warning: {_said(event)}", always=True)
            case "retry":
                self._say(f"again in a moment: {_said(event)}")
            case "kept":
                self._say(f"warning: {_said(event)}; what is known of it is kept", always=True)

    def _say(self, line: str, always: bool = False) -> None:
        if always or not self.quiet:
            say(line)

    def _tick(self, progress: "Progress") -> None:
        if time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            self._say(line_of(progress))

    def summary(self, summary: "Summary") -> list[str]:
        """Return the lines that summarise a run."""
        statuses = ", ".join(f"{count} {status}" for status, count in summary.statuses.most_common())
        rate = summary.frames / summary.seconds if summary.seconds else 0
        lines = [f"{summary.out}: {statuses or 'nothing'}"]
        if summary.done:
            did = f"{counted(summary.done, 'input')}, {summary.frames} frames"
            lines.append(f"  this run: {did}, {summary.seconds:.1f} s, {rate:.1f} frames/s")
        if summary.stopped == "interrupted":
            lines.append("interrupted: what was finished is kept; the same command goes on from there")
        elif summary.stopped:
            lines.append("stopped by failures: what was finished is kept; the same command goes on from there")
        if summary.statuses["failed"]:
            lines.append("  failed inputs are in videos.parquet with their reasons; --retry-failed tries them again")
        return lines


def _said(event: "VideoEvent | RetryEvent | KeptEvent") -> str:
    """Return the message about an input, with its name once, at the start."""
    name, message = label(event["video"]), label(" ".join((event["message"] or "").split()))
    return message if message.startswith(name) else f"{name}: {message}"


def left_out(event: "LeftOut") -> str:
    """Return a text about the ignored files of folders, and why they are ignored."""
    names = listed([label(name) for name in event["ignored_names"]], event["ignored"])
    return f"{counted(event['ignored'], 'file')} left out, no videos or images beside videos: {names}"


def counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def line_of(progress: "Progress") -> str:
    if progress.phase == "plan":
        return f"plan: {progress.planned} of {progress.inputs} inputs looked at"
    ended = sum(progress.statuses.values())
    line = f"{ended} of {progress.inputs} inputs, {progress.statuses['failed']} failed"
    line += f", {progress.frames / progress.seconds:.1f} frames/s" if progress.frames else ""
    if progress.left_s is not None:
        line += f", about {duration(progress.left_s)} left"
    return line


def duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"


class LiveView(AnnotateView):
    """Live bars for planning and processing, and a line for each worker."""

    def __init__(self) -> None:
        super().__init__()
        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=NAME_WIDTH))
        bar, seconds = KnownBar(bar_width=BAR_WIDTH), TimeElapsedColumn(table_column=Column(no_wrap=True))
        words = Column(ratio=1, no_wrap=True, overflow="ellipsis"), Column(ratio=1, overflow="fold")
        wide, narrow = (TextColumn("{task.fields[said]}", markup=False, table_column=column) for column in words)
        self._columns = {False: (name, bar, wide, seconds), True: (name, narrow, seconds)}  # key: narrow terminal
        self.bars = Bars(auto_refresh=False, expand=True)  # drawn by console.live, never started
        self._shown, self._width = ExitStack(), 80
        self._plan = self.bars.add_task("plan", said="")
        self._work = self.bars.add_task("annotate", said="", start=False)
        self._workers: dict[str, TaskID] = {}  # worker -> its bar
        self._at: dict[str, Task] = {}  # worker -> the task that its bar shows

    def __enter__(self) -> Self:
        self._shown.enter_context(live(self._draw))
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def _draw(self, width: int) -> RenderableType:
        self._width = width
        self.bars.columns = self._columns[width < NARROW]
        return self.bars.get_renderable()

    def _tick(self, progress: "Progress") -> None:
        planned = f"{progress.planned} of {progress.inputs}"
        self.bars.update(self._plan, total=progress.inputs, completed=progress.planned, said=planned)
        if progress.phase != "plan":
            if not self.bars.tasks[1].started:
                self.bars.start_task(self._work)
                self.bars.stop_task(self._plan)
            self.bars.update(self._work, total=progress.size_s or 1, completed=progress.done_s, said=line_of(progress))
        at_work = progress.pool.at_work() if progress.pool else []
        for worker, task, _ in at_work:
            if worker not in self._workers:
                self._workers[worker] = self.bars.add_task(f"worker {worker}", total=None, said="")
            if self._at.get(worker) is not task:
                said = f"{task.do} {_end_of(printable(task.video), self._width - OTHER_WIDTH)}"
                self.bars.reset(self._workers[worker], said=said, visible=True)
            self._at[worker] = task
        for worker in self._workers.keys() - {worker for worker, *_ in at_work}:
            self.bars.update(self._workers[worker], visible=False)


def _end_of(name: str, most: int) -> str:
    """Return a name, shortened at its start if too long, as ends distinguish names better."""
    return name if len(name) <= max(most, 8) else f"…{name[1 - max(most, 8) :]}"


class JsonView(AnnotateView):
    """Events as JSON lines on stdout."""

    def watch(self, event: "Event", progress: "Progress") -> None:
        if event["type"] != "tick":
            result_json(event)


def plan_text(lines: "tuple[*tuple[PlanLine, ...], PlanTotal]") -> str:
    """Return the plan as readable text."""

    *inputs, total = lines
    said = []
    for line in inputs:
        length = f"{line['duration_s']:9.1f} s" if line["duration_s"] is not None else "        ? s"
        more = f", {line['segments']} segments" if line["segments"] > 1 else ""
        done = "" if line["todo"] or line["message"] else "  done"
        said.append(f"{length}  {(line['kind'] or '') + more:22} {line['video']}{done}")
        if line["message"]:
            said.append(f"             {line['message']}")
    said.append(
        f"{total['todo']} of {total['inputs']} inputs to do: {duration(total['duration_s'])} of video, "
        f"{total['frames']} frames, {total['workers']} workers"
    )
    if total["ignored"]:
        said.append(left_out(total))
    if total["estimate_s"] is not None:
        said.append(f"about {duration(total['estimate_s'])}, by a trial on one of them")
    return "\n".join(said)


def rates(facts: "Status") -> str:
    """Return the speed of a run in words, to be appended; empty if it is unknown."""
    if not facts["frames_per_s"] or not facts["videos_per_min"]:
        return ""
    text = f", {facts['frames_per_s']:.1f} frames/s, {facts['videos_per_min']:.1f} videos/min"
    if facts["workers"] and facts["workers"] > 1:
        text += f", {facts['frames_per_s'] / facts['workers']:.1f} frames/s for each of {facts['workers']} workers"
    return text


HOW = {True: "at work", False: "broken off; the same command goes on from there", None: "at work, or broken off"}


def status_text(facts: "Status") -> str:
    """Return the status as readable text."""

    said = ", ".join(f"{count} {name}" for name, count in facts["statuses"].items())
    held = f"{counted(facts['rows'], 'row')} in {counted(facts['shards'], 'shard')}"
    lines = [f"{facts['folder']}: {counted(facts['inputs'], 'input')}: {said or 'none'}; {held}"]
    lines += [f"  failed: {count} {error}" for error, count in facts["errors"].items()]
    run = facts["run"]
    how = f"ended: {facts['ended']}" if facts["ended"] else HOW[facts["at_work"]]
    line = (
        f"  last run ({how}): {counted(run['inputs'], 'input')}, {run['frames']} frames in {duration(run['seconds'])}"
    )
    lines.append(line + rates(facts))
    if facts["left_s"] is not None:
        lines.append(f"  about {duration(facts['left_s'])} left")
    if facts["ended"] and facts["at_work"]:
        lines.append("  a job is at work on it")
    if facts["slowest"]:
        lines.append("  slowest:")
        lines += [f"    {each['seconds']:8.1f} s  {each['video']}" for each in facts["slowest"]]
    return "\n".join(lines)
