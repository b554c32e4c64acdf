"""Make all results of one input from its tracks: smoothed tracks, an overlay film, stills and a report page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..concurrency import Stages
from ..files import Claim, check_free
from ..options import Options
from ..tracks.options import SmoothOptions
from ..tracks.smooth import SmoothReport, smooth
from .options import OverlayOptions
from .overlay import OverlayReport, Painter, check_target, overlay
from .report import PageReport, check_page, report
from .stills import Stills


@dataclass(frozen=True)
class ResultReports:
    """Reports of the results that were requested."""

    smooth: SmoothReport | None
    overlay: OverlayReport | None
    stills: int  # images written
    report: PageReport | None


@dataclass(frozen=True)
class Results:
    """Output paths of one input: its tracks, which ``process`` writes, and what ``make`` makes of them."""

    video: Path | str
    tracks: Path
    smooth: Path | None = None
    overlay: Path | None = None
    report: Path | None = None
    stills: Stills | None = None

    def files(self) -> list[Path]:
        """Return all files to write; of stills, one pattern per kind."""
        patterns = map(Path, self.stills.patterns) if self.stills else ()
        return [file for file in (self.tracks, self.smooth, self.overlay, self.report, *patterns) if file]

    def check(self, overwrite: bool) -> None:
        """Raise UsageError if an output exists and must not be replaced, or has an unsuitable extension."""
        for tracks in (self.tracks, self.smooth):
            if tracks:
                check_free(tracks, overwrite, self.video)
        if self.overlay:
            check_target(self.overlay, overwrite, self.video)
        if self.report:
            check_page(self.report, overwrite, self.video)

    def check_drawing(self, look: OverlayOptions, body: str) -> None:
        """Raise what drawing would raise if the renderer or the body is missing, before a run instead of after it."""
        if self.overlay or self.report:
            Painter(look, body)
        if self.stills:
            self.stills.painter(body)

    def make(
        self,
        options: Options,
        look: OverlayOptions,
        busy_s: dict[str, float] | None = None,
        watch: Callable[[Stages, int | None], None] = lambda stages, frames: None,
    ) -> ResultReports:
        """Make all results but the tracks. The overlay and the report show the smoothed tracks, if there are any.

        Args:
            options: The settings of the run.
            look: How to draw.
            busy_s: Seconds each stage of the run was busy, for the report page.
            watch: Called with the stages of the overlay, to show progress.

        Raises:
            CliffvidError: As ``smooth``, ``overlay`` and ``report`` do.
        """
        shown, network, smoothed, drawn, page = self.smooth or self.tracks, options.allow_network, None, None, None
        with Claim(self.tracks):  # so that the rows of another run are not drawn
            if self.smooth:
                smoothed = smooth(self.tracks, self.smooth, SmoothOptions(overwrite=options.overwrite))
            if self.overlay:
                drawn = overlay(self.video, shown, self.overlay, look, network, watch)
            stills = self.stills.draw() if self.stills else 0
            if self.report:
                skeleton = look.view == "skeleton"
                more = options.overwrite, busy_s, network
                page = report(shown, self.report, self.video, skeleton, look.renderer, *more)
        return ResultReports(smoothed, drawn, stills, page)
