"""What a run shows while it works and when it is done, on stderr."""

import sys
from time import perf_counter
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from .overlay import OverlayReport
from .pipeline import Flow, Models
from .report import PageReport
from .smooth import SmoothReport
from .summary import TRACK_AND_WRITE, Report


class View:
    """A live bar per stage and a plain summary; nothing live where stderr is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        self._bars: StageBars | None = None
        self._start, self._reports = perf_counter(), []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def announce(self, models: Models) -> None:
        if self.quiet:
            return
        sessions = models.detector, models.regressor
        manifests = [session.manifest for session in sessions]
        # one name stands for two TensorRTs, so that it is worth telling
        runs = " and ".join(sorted({f"{session.backend} on {session.device}" for session in sessions}))
        names = " + ".join(manifest.name for manifest in manifests)
        stand_in = any(manifest.rank == 0 for manifest in manifests)
        note = " (open stand-ins; the README tells what they can do and how to use others)" if stand_in else ""
        self.console.print(f"models: {names}, by {runs}{note}", soft_wrap=True)
        unmet = [f"warning: {manifest.name}: {manifest.unmet}" for manifest in manifests if manifest.unmet]
        for words in (*unmet, *models.chosen):
            self.console.print(f"  {words}", soft_wrap=True, markup=False)

    def watch(self, flow: Flow) -> None:
        self._start = perf_counter()
        if not self.quiet and sys.stderr.isatty():
            self._bars = StageBars(flow, self.console)
            self._bars.start()

    def stop(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    def say(self, line: str) -> None:
        if not self.quiet:
            self.console.print(line, soft_wrap=True, markup=False)

    def summarise(self, report: Report, drawn: OverlayReport | None) -> None:
        self._reports.append(report)
        for warning in report.warnings:
            self.console.print(f"warning: {report.video}: {warning}", soft_wrap=True, markup=False)
        if self.quiet:
            return
        size_kb = report.output.stat().st_size / 1000
        people = report.people / report.frames if report.frames else 0
        (frames_at_once, people_at_once), fill = report.batch_sizes.values(), report.batch_fill
        full = " and ".join(f"{share:.0%}" for share in fill.values())
        lines = [
            f"{report.video}: {report.frames} frames, {people:.1f} people a frame, {report.tracks} tracks",
            f"  {report.seconds:.1f} s, {report.frames_per_s:.1f} frames/s, bounded by {report.bound_by}",
            f"  {report.advice}",
            f"  batches of {frames_at_once} frames and {people_at_once} people" + (f", {full} full" if fill else ""),
            f"  {report.output} ({report.people} rows, {size_kb:.0f} kB)" + ("" if report.complete else ", partial"),
        ]
        self.console.print("\n".join(lines), soft_wrap=True, markup=False)
        if drawn:
            self.summarise_overlay(drawn)

    def summarise_all(self) -> None:
        """How fast several inputs were together: beside others each of them takes longer than by itself."""
        frames, rows = (sum(getattr(report, name) for report in self._reports) for name in ("frames", "people"))
        seconds = perf_counter() - self._start
        if len(self._reports) > 1:
            self.say(
                f"{len(self._reports)} inputs: {frames} frames, {rows} rows in {seconds:.1f} s, "
                f"{frames / seconds:.1f} frames/s"
            )

    def summarise_overlay(self, report: OverlayReport) -> None:
        for warning in report.warnings:
            self.console.print(f"warning: {report.out}: {warning}", soft_wrap=True, markup=False)
        if self.quiet:
            return
        speed, slowest = report.frames / report.seconds, max(report.busy_s, key=report.busy_s.get)
        lines = [
            f"{report.out}: {report.frames} frames, {report.drawn} with people, sound: {report.sound}",
            f"  renderer: {report.renderer or 'none needed'}",
            f"  {report.seconds:.1f} s, {speed:.1f} frames/s, bounded by {slowest}",
        ]
        self.console.print("\n".join(lines), soft_wrap=True, markup=False)

    def summarise_page(self, page: PageReport) -> None:
        for warning in page.warnings:
            self.console.print(f"warning: {page.out}: {warning}", soft_wrap=True, markup=False)
        self.say(f"{page.out}: {page.tracks} tracks, {page.pictures} pictures, {page.bytes / 1e6:.1f} MB")

    def summarise_smooth(self, report: SmoothReport) -> None:
        for warning in report.warnings:
            self.console.print(f"warning: {report.out}: {warning}", soft_wrap=True, markup=False)
        self.say("\n".join(report.lines()))


class StageBars:
    """One bar per stage, read from the flow's own counters each time the screen is drawn."""

    def __init__(self, flow: Flow, console: Console) -> None:
        self._flow, self._tasks = flow, {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, justify="right")),
            BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=40)),
            TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True, justify="right")),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
            auto_refresh=False,  # the Live below draws it; it is never started itself
            expand=True,
        )
        self._live = Live(
            get_renderable=self._drawn, console=console, transient=True, refresh_per_second=8, redirect_stdout=False
        )

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def _drawn(self) -> RenderableType:
        flow = self._flow
        claims = [*flow.claimed]  # of the videos opened so far: no total before the last one is
        total = sum(claims) if len(claims) == flow.expected and None not in claims else None
        rows = [(s.name, s.unit, s.done, total if s.unit == "frames" else None) for s in flow.stages.stages]
        rows.append((TRACK_AND_WRITE, "rows", flow.rows, None))
        if flow.expected > 1:
            rows.append(("done", "videos", flow.done, flow.expected))
        for name, unit, done, of in rows:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=of, count="", rate="")
            count = f"{done}/{of} {unit}" if of else f"{done} {unit}"
            self._bars.update(self._tasks[name], total=of, completed=done, count=count)
            task = self._bars.tasks[self._tasks[name]]
            speed = task.finished_speed or task.speed
            self._bars.update(task.id, rate=f"{speed:.1f}/s" if speed else "")
        return self._bars.get_renderable()
