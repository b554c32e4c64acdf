"""The commands that use tracks: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from .console import result_json, say
from .options import AMASS_LAYOUTS, CONVERT_TO, SMOOTH_METHODS, ConvertOptions, SmoothOptions


def convert(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    to: Annotated[str, typer.Option(help=" | ".join(CONVERT_TO))],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, or a folder.")],
    track: Annotated[list[int] | None, typer.Option(help="Write this identity; may be given again.")] = None,
    fps: Annotated[int, typer.Option(help="Of amass and bvh, whose clocks are even.")] = ConvertOptions.fps,
    max_gap_s: Annotated[
        float, typer.Option(help="Interpolate across gaps up to this long; cut the motion at longer ones.")
    ] = ConvertOptions.max_gap_s,
    layout: Annotated[
        str, typer.Option(help=f"Of amass: {' | '.join(AMASS_LAYOUTS)}; auto: by the tracks' body.")
    ] = ConvertOptions.layout,
    cm: Annotated[bool, typer.Option("--cm", help="BVH in centimetres instead of metres.")] = ConvertOptions.cm,
    skeleton_only: Annotated[
        bool,
        typer.Option("--skeleton-only", help="glTF without the body's surface; a licence may forbid to pass it on."),
    ] = ConvertOptions.skeleton_only,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = ConvertOptions.overwrite,
) -> None:
    """Turn a tracks file into what other programs read: AMASS, BVH, glTF, the CLIFF demo's npz, CSV."""
    from .convert import convert as write

    options = ConvertOptions(to, tuple(track or ()), fps, max_gap_s, layout, cm, skeleton_only, overwrite)
    report = write(tracks, out, options)
    for warning in report.warnings:
        say(f"warning: {out}: {warning}")
    where = str(report.files[0]) if len(report.files) == 1 else f"{report.files[0].parent}: {len(report.files)} files"
    say(f"{where}, {report.tracks} tracks, {report.rows:,} rows")


def smooth(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The smoothed tracks file; the raw one stays as it is.")],
    method: Annotated[
        str, typer.Option(help=f"{' | '.join(SMOOTH_METHODS)}: looks both ways in time | back only.")
    ] = SmoothOptions.method,
    sigma_s: Annotated[
        float, typer.Option(help="Of savgol: the more seconds, the steadier and the duller.")
    ] = SmoothOptions.sigma_s,
    cutoff_hz: Annotated[
        float, typer.Option(help="Of one-euro: the lower, the steadier and the later.")
    ] = SmoothOptions.cutoff_hz,
    speed_gain: Annotated[
        float, typer.Option(help="Of one-euro: the higher, the less what moves fast is smoothed.")
    ] = SmoothOptions.speed_gain,
    max_gap_s: Annotated[float, typer.Option(help="Fill gaps up to this long.")] = SmoothOptions.max_gap_s,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = SmoothOptions.overwrite,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Make tracks steady and fill short gaps, in a new file; print jitter and foot skate before and after."""
    from .progress import View
    from .smooth import smooth as write

    report = write(tracks, out, SmoothOptions(method, sigma_s, cutoff_hz, speed_gain, max_gap_s, overwrite))
    View(as_json).summarise_smooth(report)
    if as_json:
        result_json(report.as_dict())
