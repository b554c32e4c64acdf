"""Commands that read videos."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CliffvidError, UsageError, describe
from ..option import check
from ..options import Options
from ..view.options import VISUALS, OverlayOptions
from .console import result, result_json, say
from .flags import CameraFile, Json, Quiet, offering, only, with_flags
from .inputs import facts_text, in_folders, print_failed, those_that_open, without_missing

if TYPE_CHECKING:
    from ..pipeline.video_run import Outcome
    from ..view.results import Results
    from .progress import View


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT", help="Videos, images, folders of either, or 'patterns' of images; -: a list on stdin."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Tracks file, .parquet or .npz; a folder for several inputs, or if it has no ending.",
        show_default="named after the input, in this folder",
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(help="Also draw the bodies on the video: .mp4; a folder for several inputs.", show_default="no film"),
]
ReportPage = Annotated[
    Path | None,
    typer.Option(help="Also write a page about the run: .html; a folder for several inputs.", show_default="no page"),
]
Visuals = Annotated[
    str | None,
    typer.Option(
        help=f"Also draw each image, beside the result: any of {','.join(VISUALS)}.",
        show_default="none",
        **offering(VISUALS),
    ),
]
Smooth = Annotated[
    bool,
    typer.Option("--smooth", help="Also write smoothed tracks, NAME_smooth; --overlay and --report show those."),
]


@with_flags
def process(
    *,
    inputs: Inputs,
    out: Out = None,
    overlay: Overlay = None,
    report: ReportPage = None,
    look: Annotated[OverlayOptions, only("view")],
    visuals: Visuals = None,
    smooth: Smooth = False,
    camera: CameraFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    options: Options,
) -> None:
    """Write the body tracks of each video."""
    options = options.with_camera(camera) if camera else options
    inputs, missing = without_missing(inputs, as_json)
    if not inputs:
        raise typer.Exit(1)
    from ..pipeline.networks import open_models
    from ..pipeline.process import process_many
    from .progress import View

    look = replace(look, start_s=options.start_s, end_s=options.end_s, overwrite=options.overwrite)
    videos = in_folders(_inputs(inputs), {place for place in (out, overlay) if place}, quiet or as_json)
    check(
        options.boxes is None or len(videos) == 1,
        f"--boxes {options.boxes}: is of one input, {len(videos)} are given; process each with its own boxes",
    )
    every = _results(videos, out or Path(), smooth, overlay, report, visuals, options)
    wanted = those_that_open(every, options, as_json)
    if not wanted:
        raise typer.Exit(1)
    with open_models(options) as models, View(quiet or as_json) as view:
        view.announce(models)
        wanted[0].check_drawing(look, models.regressor.manifest.body)
        by_output = {results.tracks: results for results in wanted}
        pairs = [(results.video, results.tracks) for results in wanted]
        outcomes = process_many(pairs, options, models=models, watch=view.watch)
        done: list[bool] = []
        for number, outcome in enumerate(outcomes, 1):
            if number == len(pairs):  # drawing needs their memory now
                outcomes.close()
                models.close()
            done.append(_finished(by_output[outcome.output], outcome, options, look, view, as_json))
        view.summarise_all(len(every))
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


def _results(
    videos: list[Path | str],
    out: Path,
    smooth: bool,
    overlay: Path | None,
    report: Path | None,
    visuals: str | None,
    options: Options,
) -> list["Results"]:
    """Return the output paths of each input. Raises UsageError if one of them is not allowed."""
    from ..files import check_places
    from ..tracks.write import SUFFIXES, output_format
    from ..view.results import Results
    from ..view.stills import open_stills, visuals_of
    from .targets import is_file_name, targets

    format = output_format(out if is_file_name(videos, out) else Path(), options.format)
    outputs = targets(videos, out, SUFFIXES[format])
    steady = [output.with_stem(f"{output.stem}_smooth") if smooth else None for output in outputs]
    films = targets(videos, overlay, ".mp4") if overlay else [None] * len(videos)
    pages = targets(videos, report, ".html") if report else [None] * len(videos)
    kinds = visuals_of(visuals) if visuals is not None else ()
    stills = open_stills(videos, outputs, kinds, options) if kinds else [None] * len(videos)
    every = [Results(*each) for each in zip(videos, outputs, steady, films, pages, stills, strict=True)]
    for results in every:
        results.check(options.overwrite)
    check_places(file for results in every for file in results.files())
    return every


def _finished(
    results: "Results", outcome: "Outcome", options: Options, look: OverlayOptions, view: "View", as_json: bool
) -> bool:
    """Make the other results of one video, report on it, and return whether all of it succeeded."""
    report = outcome.report
    try:
        if outcome.error or not report:
            raise outcome.error or AssertionError("neither a report nor an error")
        made = results.make(options, look, report.busy_s, view.watch_overlay)
    except Exception as error:
        if "--debug" in sys.argv and not isinstance(error, CliffvidError):
            raise
        print_failed(results.video, error, as_json)
        return False
    view.summarise(report, made.overlay)
    if made.smooth:
        view.summarise_smooth(made.smooth)
    if made.report:
        view.summarise_page(made.report)
    patterns = results.stills and results.stills.patterns
    if patterns:
        view.say(f"  {made.stills} pictures: {', '.join(patterns)}")
    if as_json:
        more = {"overlay": results.overlay, "report": results.report, "visuals": patterns}
        result_json(report.as_dict() | more | {"smooth": made.smooth and made.smooth.as_dict()})
    return report.complete
