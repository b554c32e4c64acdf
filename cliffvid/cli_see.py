"""The commands that show tracks: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import Json, Overwrite, Quiet, flag, with_flags
from .console import result_json
from .options import OverlayOptions


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
    from .progress import View
    from .view.overlay import overlay as draw

    with View(quiet or as_json) as watch:
        report = draw(video, tracks, out, look, watch=watch.watch_overlay)
    watch.summarise_overlay(report)
    if as_json:
        result_json(report.as_dict())


def report(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write: .html.")],
    video: Annotated[
        Path | None, typer.Option(help="Its video, for a picture of each track.", show_default="no pictures")
    ] = None,
    skeleton_only: Annotated[
        bool, typer.Option("--skeleton-only", help="Leave out the body's surface; a licence may forbid passing it on.")
    ] = False,
    renderer: flag(OverlayOptions, "renderer") = OverlayOptions.renderer,
    overwrite: Overwrite = False,
) -> None:
    """Write a page about a tracks file: timeline, charts, pictures, and a 3D player."""
    from .progress import View
    from .view.report import report as write_page

    page = write_page(tracks, out, video, skeleton_only, renderer, overwrite)
    View(quiet=False).summarise_page(page)
