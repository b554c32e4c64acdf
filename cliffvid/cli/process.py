"""Commands that read videos."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CliffvidError, UsageError, describe
from ..options import VISUALS, Options, OverlayOptions, SmoothOptions
from .console import result, result_json, say
from .flags import Json, Quiet, offering, only, with_flags
from .inputs import facts_text, in_folders, tell_failed, those_that_open, told_missing

if TYPE_CHECKING:
    from ..pipeline.video_run import Outcome
    from ..view.stills import Stills
    from .progress import View


@with_flags
def process(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Videos, images, folders of either, or 'patterns' of images; -: a list on stdin."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Tracks file, .parquet or .npz; a folder for several inputs, or if it has no ending.",
            show_default="named after the input, in this folder",
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the bodies on the video: .mp4; a folder for several inputs.", show_default="no film"
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write a page about the run: .html; a folder for several inputs.", show_default="no page"
        ),
    ] = None,
    look: Annotated[OverlayOptions, only("view")],
    visuals: Annotated[
        str | None,
        typer.Option(
            help=f"Also draw each image, beside the result: any of {','.join(VISUALS)}.",
            show_default="none",
            **offering(VISUALS),
        ),
    ] = None,
    smooth: Annotated[
        bool,
        typer.Option("--smooth", help="Also write smoothed tracks, NAME_smooth; --overlay and --report show those."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    options: Options,
) -> None:
    """Write the body tracks of each video."""
    inputs, missing = told_missing(inputs, as_json)
    if not inputs:
        raise typer.Exit(1)
    from ..pipeline.networks import open_models
    from ..pipeline.process import process_many
    from ..view.overlay import Painter
    from .progress import View

    look = replace(look, start_s=options.start_s, end_s=options.end_s, overwrite=options.overwrite)
    videos = in_folders(_inputs(inputs), {place for place in (out, overlay) if place}, quiet or as_json)
    every = _requests(videos, out or Path(), smooth, overlay, report, visuals, options)
    requests = those_that_open(every, options, as_json)
    if not requests:
        raise typer.Exit(1)
    with open_models(options) as models, View(quiet or as_json) as watch:
        watch.announce(models)
        if overlay or report:
            Painter(look, models.regressor.manifest.body)  # fails before the run, not after it
        if requests[0].gallery:
            requests[0].gallery.painter(models.regressor.manifest.body)
        by_output = {request.output: request for request in requests}
        pairs = [(request.video, request.output) for request in requests]
        outcomes = process_many(pairs, options, models=models, watch=watch.watch)
        done: list[bool] = []
        for number, outcome in enumerate(outcomes, 1):
            if number == len(pairs):  # drawing needs their memory now
                outcomes.close()
                models.close()
            done.append(_told(by_output[outcome.output], outcome, options, look, watch, as_json))
        watch.summarise_all()
    raise typer.Exit(0 if all(done) and len(done) == len(every) and not missing else 1)


@with_flags
def probe(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="As for process.")],
    options: Annotated[Options, only("stream", "image_fps", "allow_network")],
    count: Annotated[bool, typer.Option("--count", help="Decode all of it and print what was found.")] = False,
    as_json: Json = False,
) -> None:
    """Describe each input: container, codec, size, orientation, frame rate, colours, streams."""
    from ..video.probe import probe

    failed = 0
    for source in in_folders(_inputs(inputs), set(), quiet=True):
        try:
            facts = probe(source, options, count)
        except CliffvidError as error:
            failed += 1
            say(describe(error))
            if as_json:
                result_json({"path": source, "error": type(error).__name__, "message": str(error)})
            continue
        if as_json:
            result_json(facts)
        else:
            result(*facts_text(facts))
    raise typer.Exit(1 if failed else 0)


def _inputs(names: list[str]) -> list[Path | str]:
    """Return the inputs; ``-`` is replaced by the names on stdin, one per line."""
    from ..annotate.lists import names_on_stdin
    from ..video.open import source_of

    lines = names_on_stdin() if "-" in names else []
    if "-" in names and not lines:
        raise UsageError("-: nothing is named on stdin; write one input a line")
    return [source_of(name) for given in names for name in (lines if given == "-" else [given])]


@dataclass(frozen=True)
class Request:
    """One input and the output paths of its results."""

    video: Path | str
    output: Path
    steady: Path | None  # the smoothed tracks
    film: Path | None
    page: Path | None
    gallery: "Stills | None"

    def places(self) -> list[Path]:
        """Return all files to write; of images one of each kind."""
        pictures = map(Path, self.gallery.patterns) if self.gallery else ()
        return [place for place in (self.output, self.steady, self.film, self.page, *pictures) if place]


def _requests(
    videos: list[Path | str],
    out: Path,
    smooth: bool,
    film: Path | None,
    page: Path | None,
    visuals: str | None,
    options: Options,
) -> list[Request]:
    """Return the requests. Raises UsageError if an output path is not allowed."""
    from ..files import check_free, check_places
    from ..tracks.write import SUFFIXES, output_format
    from ..view.overlay import check_target
    from ..view.report import check_page
    from ..view.stills import open_stills, visuals_of
    from .targets import is_file_name, targets

    format = output_format(out if is_file_name(videos, out) else Path(), options.format)
    outputs = targets(videos, out, SUFFIXES[format])
    steady = [output.with_stem(f"{output.stem}_smooth") if smooth else None for output in outputs]
    films = targets(videos, film, ".mp4") if film else [None] * len(videos)
    pages = targets(videos, page, ".html") if page else [None] * len(videos)
    kinds = visuals_of(visuals) if visuals is not None else ()
    galleries = open_stills(videos, outputs, kinds, options) if kinds else [None] * len(videos)
    requests = [Request(*each) for each in zip(videos, outputs, steady, films, pages, galleries, strict=True)]
    for request in requests:
        check_free(request.output, options.overwrite, request.video)
        if request.steady:
            check_free(request.steady, options.overwrite, request.video)
        if request.film:
            check_target(request.film, options.overwrite, request.video)
        if request.page:
            check_page(request.page, options.overwrite, request.video)
    check_places(place for request in requests for place in request.places())
    return requests


def _told(
    request: Request, outcome: "Outcome", options: Options, look: OverlayOptions, view: "View", as_json: bool
) -> bool:
    """Draw the results of one video, report on it, and return whether all of it succeeded."""
    from ..files import Claim
    from ..tracks.smooth import smooth
    from ..view.overlay import overlay
    from ..view.report import report as write_page

    report, network, page = outcome.report, options.allow_network, None
    smoothed, drawn, pictures, shown = None, None, 0, request.steady or request.output
    try:
        if outcome.error or not report:
            raise outcome.error or AssertionError("neither a report nor an error")
        with Claim(request.output):  # so that no other run's rows are drawn
            if request.steady:
                smoothed = smooth(request.output, request.steady, SmoothOptions(overwrite=options.overwrite))
            if request.film:
                drawn = overlay(request.video, shown, request.film, look, network, view.watch_overlay)
            if request.gallery:
                pictures = request.gallery.draw()
            if request.page:
                bones = look.view == "skeleton"
                page = write_page(
                    shown, request.page, request.video, bones, look.renderer, options.overwrite, report.busy_s, network
                )
    except Exception as error:
        if "--debug" in sys.argv and not isinstance(error, CliffvidError):
            raise
        tell_failed(request.video, error, as_json)
        return False
    view.summarise(report, drawn)
    if smoothed:
        view.summarise_smooth(smoothed)
    if page:
        view.summarise_page(page)
    if request.gallery:
        view.say(f"  {pictures} pictures: {', '.join(request.gallery.patterns)}")
    if as_json:
        visuals = request.gallery and request.gallery.patterns
        more = {"overlay": request.film, "report": request.page, "visuals": visuals}
        result_json(report.as_dict() | more | {"smooth": smoothed and smoothed.as_dict()})
    return report.complete
