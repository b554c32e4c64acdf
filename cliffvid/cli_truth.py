"""The commands about ground truth: parse, call, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .cli_models import say
from .cli_see import interruptible
from .options import OverlayOptions

pseudogt_app = typer.Typer(help="CLIFF's pseudo-ground-truth files (cliffGT_v1).", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="A file in the layout of cliffGT_v1: .npz.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


@pseudogt_app.command("info")
def pseudogt_info(
    file: File,
    images: Annotated[Path | None, typer.Option(help="The folder of its images, for more checks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Tell what a file holds and which of its rows are wrong; every row is checked."""
    import dataclasses

    from .pseudogt_info import RULES, info

    with interruptible():
        found = info(file, images)
    if as_json:
        print(json.dumps(dataclasses.asdict(found) | {"keypoints": found.keypoints.tolist()}))
        return
    for line in info_lines(file, found, RULES):
        print(line)


def info_lines(file: Path, found, rules: dict[str, str]) -> list[str]:
    """What was found, in lines for people."""
    from .pseudogt import KEYPOINTS

    lines = [f"{file}: {found.rows:,} rows, {found.images:,} images, up to {found.subjects_most} people in one"]
    lines.append(f"  body {found.body}")
    for name, kind in found.dtypes.items():
        low, high = found.ranges.get(name, (None, None))
        lines.append(f"  {name:10} {kind:18}" + ("" if low is None else f" {low:.6g} to {high:.6g}"))
    lacking = [name for name, count in zip(KEYPOINTS, found.keypoints, strict=True) if count == 0]
    if lacking and found.rows:
        lines.append(f"  nowhere sure: {', '.join(lacking)}")
    if found.reprojection_px:
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.reprojection_px.items())
        lines.append(f"  S against part, pixels: {told}; principal point: {found.principal_point}")
    for name, count in found.bad.items():
        if count:
            lines.append(f"  !! {count:,} rows: {rules[name]}; first {', '.join(map(str, found.first[name]))}")
    if not any(found.bad.values()):
        lines.append(f"  ok: no row breaks any of {len(found.bad)} rules")
    return lines


@pseudogt_app.command("view")
def pseudogt_view(
    file: File,
    images: Annotated[Path, typer.Option(help="The folder that the names of its images begin in.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write: .html.")],
    per: Annotated[str, typer.Option(help="image: everybody in it | subject: one row at a time.")] = "image",
    most: Annotated[int, typer.Option("--max", help="How many at most.")] = 50,
    start: Annotated[int, typer.Option(help="How many to pass over first.")] = 0,
    body: Annotated[
        str | None, typer.Option(help="Another body, as smpl-male. [default: the file's, else smpl]")
    ] = None,
    skeleton_only: Annotated[
        bool, typer.Option("--skeleton-only", help="Show S instead of the body: needs no body file, no renderer.")
    ] = False,
    renderer: Annotated[str, typer.Option(help="auto | gl | pyrender.")] = OverlayOptions.renderer,
    overwrite: Overwrite = False,
) -> None:
    """Write one page: image, 2D skeleton, front and side view; the arrow keys go back and on."""
    from .pseudogt import check_target
    from .pseudogt_view import view

    check_target(file, out, overwrite)
    with interruptible():
        page = view(file, images, out, per, most, start, body, skeleton_only, renderer)
    if page.missing:
        say(f"warning: {page.missing} left out: their images are not there or cannot be read")
    say(f"{out}: {page.shown} of {page.total} {per}s, {page.bytes / 1e6:.1f} MB")


@pseudogt_app.command("convert")
def pseudogt_convert(
    file: Annotated[Path, typer.Argument(help="The .npz, or the .parquet made of one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet or .npz to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Keep a file as parquet, or make the .npz again: no bit of any array is lost."""
    from .options import check
    from .pseudogt import check_target, to_npz, to_parquet

    ways = {(".npz", ".parquet"): to_parquet, (".parquet", ".npz"): to_npz}
    way = ways.get((file.suffix.lower(), out.suffix.lower()))
    check(way is not None, f"{file} to {out}: from .npz to .parquet or from .parquet to .npz")
    check_target(file, out, overwrite)
    with interruptible():
        rows = way(file, out)
    say(f"{out}: {rows:,} rows")


@pseudogt_app.command("make")
def pseudogt_make(
    tracks: Annotated[Path, typer.Argument(help="Tracks of a folder of images: .parquet or .npz.")],
    images: Annotated[Path, typer.Argument(help="That folder.")],
    out: Out,
    regressor: Annotated[
        Path | None, typer.Option(help="J_regressor_extra.npy, for the datasets' hips, neck, pelvis and head.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn what was found in images into a file of the same layout."""
    from .pseudogt import check_target
    from .pseudogt_make import make

    check_target(tracks, out, overwrite)
    with interruptible():
        report = make(tracks, images, out, regressor)
    if report.left_out:
        say(f"warning: {report.left_out} rows left out: their camera is impossible")
    if report.note:
        say(f"note: {report.note}")
    say(f"{out}: {report.rows:,} rows, {report.images:,} images")
