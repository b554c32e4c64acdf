"""Show progress and summary of a run on stderr."""

from contextlib import ExitStack
from time import perf_counter
from typing import Self

from ..concurrency import Stages
from ..pipeline.chain import Chain
from ..pipeline.networks import Models
from ..pipeline.report import TRACK_AND_WRITE, Report
from ..tracks.smooth import SmoothReport
from ..view.overlay import OverlayReport
from ..view.report import PageReport
from .bars import Bar, Bars
from .console import live, say


class View:
    """Live bar per stage, if stderr is a terminal, and a plain summary; a context manager."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bars, self._shown = Bars(), ExitStack()
        self._start = perf_counter()
        self._reports: list[Report] = []

    def __enter__(self) -> Self:
        if not self.quiet:
            self._shown.enter_context(live(self._bars.draw))
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def announce(self, models: Models) -> None:
        sessions = models.sessions
        manifests = [session.manifest for session in sessions]
        # one name stands for two TensorRT backends, so it is shown
        runs = " and ".join(sorted({f"{session.backend} on {session.device}" for session in sessions}))
        names = " + ".join(manifest.name for manifest in manifests)
        stand_in = any(manifest.rank == 0 for manifest in manifests)
        note = " (open stand-ins; the README tells what they can do and how to use others)" if stand_in else ""
        unmet = [f"warning: {manifest.name}: {manifest.unmet}" for manifest in manifests if manifest.unmet]
        self.say(f"models: {names}, by {runs}{note}", *(f"  {words}" for words in (*unmet, *models.chosen)))

    def watch(self, chain: Chain) -> None:
        self._start = perf_counter()
        self._bars.sources["chain"] = lambda: chain_bars(chain)

    def watch_overlay(self, stages: Stages, frames: int | None) -> None:
        self._bars.sources["overlay"] = lambda: overlay_bars(stages, frames)

    def say(self, *lines: str) -> None:
        if not self.quiet:
            say(*lines)

    def summarise(self, report: Report, drawn: OverlayReport | None) -> None:
        self._reports.append(report)
        say(*(f"warning: {report.video}: {warning}" for warning in report.warnings))
        size_kb = report.bytes / 1000
        people = report.people / report.frames if report.frames else 0
        (frames_at_once, people_at_once), fill = report.batch_sizes.values(), report.batch_fill
        few = report.detector and report.frames_detected < report.frames
        some = f" ({report.frames_detected} seen by the detector)" if few else ""
        full = " and ".join(f"{share:.0%}" for share in fill.values())
        self.say(
            f"{report.video}: {report.frames} frames{some}, {people:.1f} people a frame, {report.tracks} tracks",
            f"  {report.seconds:.1f} s, {report.frames_per_s:.1f} frames/s, bounded by {report.bound_by}",
            f"  {report.advice}",
            f"  batches of {frames_at_once} frames and {people_at_once} people" + (f", {full} full" if fill else ""),
            f"  {report.output} ({report.people} rows, {size_kb:.0f} kB)" + ("" if report.complete else ", partial"),
        )
        if drawn:
            self.summarise_overlay(drawn)

    def summarise_all(self, asked: int) -> None:
        """Print the total speed of several inputs, of ``asked`` ones; run together, each takes longer than alone."""
        frames, rows = (sum(getattr(report, name) for report in self._reports) for name in ("frames", "people"))
        seconds = perf_counter() - self._start
        done = len(self._reports)
        if asked > 1 and done:
            inputs = f"{asked} inputs" if done == asked else f"{done} of {asked} inputs"
            self.say(f"{inputs}: {frames} frames, {rows} rows in {seconds:.1f} s, {frames / seconds:.1f} frames/s")

    def summarise_overlay(self, report: OverlayReport) -> None:
        say(*(f"warning: {report.out}: {warning}" for warning in report.warnings))
        left_out = f" ({report.not_drawn} implausible rows not drawn)" if report.not_drawn else ""
        speed, slowest = report.frames / report.seconds, max(report.busy_s, key=lambda stage: report.busy_s[stage])
        self.say(
            f"{report.out}: {report.frames} frames, {report.drawn} with people{left_out}, sound: {report.sound}",
            f"  renderer: {report.renderer or 'none needed'}",
            f"  {report.seconds:.1f} s, {speed:.1f} frames/s, bounded by {slowest}",
        )

    def summarise_page(self, page: PageReport) -> None:
        say(*(f"warning: {page.out}: {warning}" for warning in page.warnings))
        self.say(f"{page.out}: {page.tracks} tracks, {page.pictures} pictures, {page.bytes / 1e6:.1f} MB")

    def summarise_smooth(self, report: SmoothReport) -> None:
        say(*(f"warning: {report.out}: {warning}" for warning in report.warnings))
        self.say(*report.lines())


def chain_bars(chain: Chain) -> list[Bar]:
    """Return a bar for each stage, in order, from the chain's counters."""
    if not chain.stages.at_work:
        return []
    # Counts cover the videos opened so far: there is no total before the last is open.
    claims = [claim for claim in chain.claimed if claim is not None]
    total = sum(claims) if len(claims) == chain.expected else None
    bars = [Bar(s.name, s.unit, s.done, total if s.unit == "frames" else None) for s in chain.stages.stages]
    bars.append(Bar(TRACK_AND_WRITE, "rows", chain.rows, None))
    if chain.expected > 1:
        bars.append(Bar("done", "videos", chain.done, chain.expected))
    return bars


def overlay_bars(stages: Stages, frames: int | None) -> list[Bar]:
    """Return the bar of a video being drawn: frames output by its last stage."""
    return [Bar("overlay", "frames", stages.stages[-1].done, frames)] if stages.at_work else []
