"""The commands that show tracks: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from .console import result_json
from .options import VIEWS, OverlayOptions


def overlay(
    video: Annotated[Path, typer.Argument(help="The video.")],
    tracks: Annotated[Path, typer.Argument(help="Its tracks: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The film to write: .mp4, .mov or .mkv.")],
    view: Annotated[
        str, typer.Option(help=f"{' | '.join(VIEWS)}: side is seen from the right angle, skeleton needs no renderer.")
    ] = OverlayOptions.view,
    boxes: Annotated[bool, typer.Option("--boxes", help="Draw the boxes too.")] = OverlayOptions.boxes,
    ids: Annotated[bool, typer.Option("--ids", help="Write the identities too.")] = OverlayOptions.ids,
    renderer: Annotated[
        str, typer.Option(help="auto | gl | pyrender; auto: the first one installed.")
    ] = OverlayOptions.renderer,
    alpha: Annotated[float, typer.Option(help="How much of the picture a body hides, to 1.")] = OverlayOptions.alpha,
    body: Annotated[
        str | None, typer.Option(help="Another body of the family, as smpl-male. [default: the tracks' own]")
    ] = OverlayOptions.body,
    track: Annotated[list[int] | None, typer.Option(help="Draw this identity; may be given again.")] = None,
    start: Annotated[float, typer.Option(help="Seconds; the film begins there.")] = OverlayOptions.start_s,
    end: Annotated[float, typer.Option(help="Seconds; the film ends there.")] = OverlayOptions.end_s,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing film.")
    ] = OverlayOptions.overwrite,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and warnings only.")] = False,
) -> None:
    """Draw the bodies of a tracks file on its video."""
    from .overlay import overlay as draw
    from .progress import View

    look = OverlayOptions(
        view=view,
        boxes=boxes,
        ids=ids,
        renderer=renderer,
        alpha=alpha,
        body=body,
        track=tuple(track or ()),
        start_s=start,
        end_s=end,
        overwrite=overwrite,
    )
    with View(quiet or as_json) as watch:
        report = draw(video, tracks, out, look, watch=watch.watch_overlay)
    watch.summarise_overlay(report)
    if as_json:
        result_json(report.as_dict())


def report(
    tracks: Annotated[Path, typer.Argument(help="A tracks file: .parquet or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write: .html.")],
    video: Annotated[Path | None, typer.Option(help="Its video, for a picture of each track.")] = None,
    skeleton_only: Annotated[
        bool, typer.Option("--skeleton-only", help="Leave out the body's surface; a licence may forbid to pass it on.")
    ] = False,
    renderer: Annotated[str, typer.Option(help="Of the pictures: auto | gl | pyrender.")] = OverlayOptions.renderer,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
) -> None:
    """Write one page about a tracks file: timeline, charts, pictures, and a 3D player."""
    from .progress import View
    from .report import report as write_page

    page = write_page(tracks, out, video, skeleton_only, renderer, overwrite)
    View(quiet=False).summarise_page(page)
