"""The command line: parse, call, print. Results go to files and stdout, everything else to stderr."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from .cli_annotate import annotate, annotate_merge, annotate_status, annotate_verify
from .cli_bench import bench
from .cli_inputs import facts_text, in_folders, tell_failed, those_that_open, told_missing
from .cli_models import doctor, export_app, models_app
from .cli_options import Json, ParseError, Quiet, flag, make_command, offering, only, parse_message, with_flags
from .cli_see import overlay, report
from .cli_truth import evaluate, pseudogt_app
from .cli_use import convert, smooth
from .console import close_streams, hear_the_library, open_streams, result, result_json, say
from .errors import CliffvidError, UsageError, describe
from .machine import thread_environment, usable_cores
from .options import VISUALS, Options, OverlayOptions, SmoothOptions

if TYPE_CHECKING:
    from .view.stills import Gallery


class Commands(TyperGroup):
    """All commands: Ctrl-C has one exit code, once everything inside has cleaned up."""

    def invoke(self, context: typer.Context) -> object:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            say("interrupted: what was finished is kept, nothing half-written is left behind")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help="Video to per-frame SMPL body tracks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 some failed, 2 usage, 130 interrupted, 128 + n ended by signal n."""
    open_streams()
    hear_the_library()
    os.environ.update(thread_environment(usable_cores()))  # before any library is loaded
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup SIGHUP is ignored
            signal.signal(number, _end)
    try:
        sys.exit(make_command(app)(standalone_mode=False) or 0)
    except Ended as ended:
        say(f"ended by {ended.name}: nothing half-written is left behind")
        raise
    except ParseError as error:
        if message := parse_message(error):
            say(f"error: {message}")
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if not isinstance(error.__cause__, BrokenPipeError):  # of ``| head``, which has seen enough
            say(describe(error))
        sys.exit(error.exit_code if isinstance(error, CliffvidError) else 1)
    finally:
        close_streams()


# Those that there are: not all systems have all.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


class Ended(SystemExit):
    """A signal asks the process to end, which it does as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def _end(number: int, frame: object) -> None:
    for each in (*ENDING, signal.SIGINT):  # asked again, while it cleans up
        signal.signal(each, signal.SIG_IGN)
    raise Ended(number)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .machine import version

        result(version())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


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
    view: flag(OverlayOptions, "view") = OverlayOptions.view,
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
    from .pipeline.networks import open_models
    from .pipeline.process import process_many
    from .progress import View
    from .view.overlay import Painter

    look = OverlayOptions(view=view, start_s=options.start_s, end_s=options.end_s, overwrite=options.overwrite)
    videos = in_folders(_inputs(inputs), {place for place in (out, overlay) if place}, quiet or as_json)
    every = _requests(videos, out or Path(), smooth, overlay, report, visuals, options)
    requests = those_that_open(every, options, as_json)
    if not requests:
        raise typer.Exit(1)
    with open_models(options) as models, View(quiet or as_json) as watch:
        watch.announce(models)
        if overlay or report:
            Painter(look, models.regressor.manifest.body)  # refused before the work rather than after it
        if requests[0].gallery:
            requests[0].gallery.painter(models.regressor.manifest.body)
        by_output = {request.output: request for request in requests}
        pairs = [(request.video, request.output) for request in requests]
        outcomes = process_many(pairs, options, models=models, watch=watch.watch)
        done: list[bool] = []
        for number, outcome in enumerate(outcomes, 1):
            if number == len(pairs):  # what is drawn now needs their memory
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
    from .video.probe import probe

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
    """What is named, and for ``-`` what each line on stdin names."""
    from .annotate.lists import names_on_stdin
    from .video.open import source_of

    lines = names_on_stdin() if "-" in names else []
    if "-" in names and not lines:
        raise UsageError("-: nothing is named on stdin; write one input a line")
    return [source_of(name) for given in names for name in (lines if given == "-" else [given])]


@dataclass(frozen=True)
class Request:
    """One input and where what is made of it goes."""

    video: Path | str
    output: Path
    steady: Path | None  # the smoothed tracks
    film: Path | None
    page: Path | None
    gallery: "Gallery | None"

    def places(self) -> list[Path]:
        """All files that are to be written, of pictures one of each kind."""
        pictures = map(Path, self.gallery.patterns) if self.gallery else ()
        return [place for place in (self.output, self.steady, self.film, self.page, *pictures) if place]


def _requests(
    videos: list, out: Path, smooth: bool, film: Path | None, page: Path | None, visuals: str | None, options: Options
) -> list[Request]:
    """What there is to do. Raises UsageError if anything must not be written where it would be."""
    from .files import check_free, check_places
    from .targets import is_file_name, targets
    from .tracks.write import SUFFIXES, output_format
    from .view.overlay import check_target
    from .view.report import check_page
    from .view.stills import open_galleries, visuals_of

    format = output_format(out if is_file_name(videos, out) else Path(), options.format)
    outputs = targets(videos, out, SUFFIXES[format])
    steady = [output.with_stem(f"{output.stem}_smooth") if smooth else None for output in outputs]
    films = targets(videos, film, ".mp4") if film else [None] * len(videos)
    pages = targets(videos, page, ".html") if page else [None] * len(videos)
    kinds = visuals_of(visuals) if visuals is not None else ()
    galleries = open_galleries(videos, outputs, kinds, options) if kinds else [None] * len(videos)
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


def _told(request: Request, outcome, options: Options, look: OverlayOptions, view, as_json: bool) -> bool:
    """Draw what one video gave, tell how it went, and say whether all of it was done."""
    from .files import Claim
    from .tracks.smooth import smooth
    from .view.overlay import overlay
    from .view.report import report as write_page

    report, network, page = outcome.report, options.allow_network, None
    smoothed, drawn, pictures, shown = None, None, 0, request.steady or request.output
    try:
        if outcome.error:
            raise outcome.error
        with Claim(request.output):  # no other run's rows are drawn
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


# In the order of the help.
TRACKS, DATA_SETS, GROUND_TRUTH, MACHINE = "Tracks", "Data sets", "Ground truth", "Models and machine"
for panel, command, name in (
    (None, process, "process"),
    (None, probe, "probe"),
    (TRACKS, overlay, "overlay"),
    (TRACKS, report, "report"),
    (TRACKS, smooth, "smooth"),
    (TRACKS, convert, "convert"),
    (DATA_SETS, annotate, "annotate"),
    (DATA_SETS, annotate_status, "annotate-status"),
    (DATA_SETS, annotate_merge, "annotate-merge"),
    (DATA_SETS, annotate_verify, "annotate-verify"),
    (GROUND_TRUTH, evaluate, "eval"),
    (MACHINE, doctor, "doctor"),
    (MACHINE, bench, "bench"),
):
    app.command(name, rich_help_panel=panel)(command)
app.add_typer(pseudogt_app, name="pseudogt", rich_help_panel=GROUND_TRUTH)
app.add_typer(models_app, name="models", rich_help_panel=MACHINE)
app.add_typer(export_app, name="export", rich_help_panel=MACHINE)
