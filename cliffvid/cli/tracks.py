"""Commands that show and convert tracks."""

from pathlib import Path
from typing import Annotated

import typer

from ..tracks.options import ConvertOptions, SmoothOptions
from ..view.options import OverlayOptions
from .console import result_json, say
from .flags import Json, Overwrite, Quiet, only, with_flags


@with_flags
def overlay(
    video: Annotated[Path, typer.Argument(help="The video.")],
    tracks: Annotated[Path, typer.Argument(help="Its tracks: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Film to write: .mp4, .mov or .mkv.")],
    look: OverlayOptions,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw the bodies of a tracks file on its video."""
    from ..view.overlay import overlay as draw
    from .progress import View

    with View(quiet or as_json) as watch:
        report = draw(video, tracks, out, look, watch=watch.watch_overlay)
    watch.summarise_overlay(report)
    if as_json:
        result_json(report.as_dict())


@with_flags
def report(
    *,
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write: .html.")],
    video: Annotated[
        Path | None, typer.Option(help="Its video, for a picture of each track.", show_default="no pictures")
    ] = None,
    skeleton_only: Annotated[
        bool, typer.Option("--skeleton-only", help="Leave out the body's surface; a licence may forbid passing it on.")
    ] = False,
    look: Annotated[OverlayOptions, only("renderer", "up")],
    overwrite: Overwrite = False,
) -> None:
    """Write a page about a tracks file: timeline, charts, pictures, and a 3D player."""
    from ..view.report import report as write_page
    from .progress import View

    page = write_page(tracks, out, video, skeleton_only, look.renderer, overwrite, up=look.up)
    View(quiet=False).summarise_page(page)


@with_flags
def convert(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, or a folder.")],
    options: ConvertOptions,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Take the metadata of this tracks file, which the rows of TRACKS were taken from.",
            show_default="the file's own",
        ),
    ] = None,
) -> None:
    """Convert a tracks file for other programs: glTF, USD, FBX by Blender, BVH, TRC, AMASS, CSV, joints."""
    from ..tracks.convert import convert as write

    report = write(tracks, out, options, like)
    for warning in report.warnings:
        say(f"warning: {out}: {warning}")
    if report.level:
        say(f"{out}: {report.level}")
    where = str(report.files[0]) if len(report.files) == 1 else f"{report.files[0].parent}: {len(report.files)} files"
    say(f"{where}, {report.tracks} tracks, {report.rows:,} rows")


@with_flags
def smooth(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Smoothed tracks file to write: .parquet or .npz.")],
    options: SmoothOptions,
    as_json: Json = False,
) -> None:
    """Smooth tracks and fill short gaps, in a new file; print jitter and foot skate before and after."""
    from ..tracks.smooth import smooth as write
    from .progress import View

    report = write(tracks, out, options)
    View(as_json).summarise_smooth(report)
    if as_json:
        result_json(report.as_dict())
