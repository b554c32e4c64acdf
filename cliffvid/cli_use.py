"""The commands that use tracks: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import Json, with_flags
from .console import result_json, say
from .options import ConvertOptions, SmoothOptions


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
    """Convert a tracks file for other programs: AMASS, BVH, glTF, the CLIFF demo's npz, CSV."""
    from .tracks.convert import convert as write

    report = write(tracks, out, options, like)
    for warning in report.warnings:
        say(f"warning: {out}: {warning}")
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
    from .progress import View
    from .tracks.smooth import smooth as write

    report = write(tracks, out, options)
    View(as_json).summarise_smooth(report)
    if as_json:
        result_json(report.as_dict())
