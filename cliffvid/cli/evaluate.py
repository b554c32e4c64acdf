"""Commands for pseudo-ground-truth and evaluation."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..evaluate.options import EvalOptions, PseudoGTViewOptions
from ..options import Options
from .console import result, result_json, result_table, say
from .flags import Json, Overwrite, only, with_flags

if TYPE_CHECKING:
    from ..evaluate.pseudogt.check import Info
    from ..evaluate.scores import Evaluation

pseudogt_app = typer.Typer(help="CLIFF's pseudo-ground-truth files (cliffGT_v1).", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="A file in the layout of cliffGT_v1: .npz.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write.")]


@pseudogt_app.command("info")
def pseudogt_info(
    file: File,
    images: Annotated[
        Path | None, typer.Option(help="Folder of its images, for more checks.", show_default="none")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a file holds and which of its rows are wrong; every row is checked."""
    import dataclasses

    from ..evaluate.pseudogt.check import RULES, info

    found = info(file, images)
    if as_json:
        result_json(dataclasses.asdict(found) | {"keypoints": found.keypoints.tolist()})
        return
    result(*info_lines(file, found, RULES))


def info_lines(file: Path, found: "Info", rules: dict[str, str]) -> list[str]:
    """Return the findings as readable lines."""
    from ..evaluate.pseudogt.files import KEYPOINTS

    lines = [f"{file}: {found.rows:,} rows, {found.images:,} images, up to {found.subjects_most} people in one"]
    lines.append(f"  body {found.body}")
    for name, kind in found.dtypes.items():
        low, high = found.ranges.get(name, (None, None))
        lines.append(f"  {name:10} {kind:18}" + ("" if low is None else f" {low:.6g} to {high:.6g}"))
    lacking = [name for name, count in zip(KEYPOINTS, found.keypoints, strict=True) if count == 0]
    if lacking and found.rows:
        lines.append(f"  nowhere sure: {', '.join(lacking)}")
    if found.reprojection_px:
        errors_px = ", ".join(f"{name} {value:.2f}" for name, value in found.reprojection_px.items())
        lines.append(f"  S against part, pixels: {errors_px}; principal point: {found.principal_point}")
    for name, count in found.bad.items():
        if count:
            lines.append(f"  !! {count:,} rows: {rules[name]}; first {', '.join(map(str, found.first[name]))}")
    if not any(found.bad.values()):
        lines.append(f"  ok: no row breaks any of {len(found.bad)} rules")
    return lines


@pseudogt_app.command("view")
@with_flags
def pseudogt_view(
    file: File,
    images: Annotated[Path, typer.Option(help="The folder that the names of its images begin in.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write: .html.")],
    options: PseudoGTViewOptions,
    overwrite: Overwrite = False,
) -> None:
    """Write one page: image, 2D skeleton, front and side view; the arrow keys go back and on."""
    from ..evaluate.pseudogt.page import view
    from ..files import check_free

    check_free(out, overwrite, file)
    page = view(file, images, out, options, overwrite)
    if page.missing:
        say(f"warning: {page.missing} left out: their images are not there or cannot be read")
    say(f"{out}: {page.shown} of {page.total} {options.per}s, {page.bytes / 1e6:.1f} MB")


@pseudogt_app.command("convert")
def pseudogt_convert(
    file: Annotated[Path, typer.Argument(help="The .npz, or the .parquet made of one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet or .npz to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Keep a file as parquet, or make the .npz again: no bit of any array is lost."""
    from ..evaluate.pseudogt.files import to_npz, to_parquet
    from ..files import check_free

    ways = {(".npz", ".parquet"): to_parquet, (".parquet", ".npz"): to_npz}
    way = ways.get((file.suffix.lower(), out.suffix.lower()))
    if way is None:
        raise UsageError(f"{file} to {out}: from .npz to .parquet or from .parquet to .npz")
    check_free(out, overwrite, file)
    rows = way(file, out, overwrite)
    say(f"{out}: {rows:,} rows")


@pseudogt_app.command("make")
def pseudogt_make(
    tracks: Annotated[Path, typer.Argument(help="Tracks of a folder of images: .parquet or .npz.")],
    images: Annotated[Path, typer.Argument(help="That folder.")],
    out: Out,
    joint_regressor: Annotated[
        Path | None,
        typer.Option(help="J_regressor_extra.npy, for the datasets' hips, neck, pelvis and head.", show_default="none"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn what was found in images into a file of the same layout."""
    from ..evaluate.pseudogt.make import make
    from ..files import check_free

    check_free(out, overwrite, tracks)
    report = make(tracks, images, out, joint_regressor, overwrite)
    if report.left_out:
        say(f"warning: {report.left_out} rows left out: their camera is impossible")
    if report.note:
        say(f"note: {report.note}")
    say(f"{out}: {report.rows:,} rows, {report.images:,} images")


@with_flags
def evaluate(
    tracks: Annotated[Path, typer.Argument(help="A tracks file, or a folder of them named after the sequences.")],
    truth: Annotated[Path, typer.Argument(help="A .pkl of 3DPW, EMDB or AGORA, or a folder of them.")],
    options: EvalOptions,
    run: Annotated[Options, only("models_dir", "regressor", "overwrite")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="With --protocol paper: first make TRACKS, a folder, from these images.", show_default="none"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure tracks against ground truth: joints, surface, acceleration and detections."""
    from ..evaluate.evaluate import evaluate

    if images:
        _predict(tracks, truth, images, options, run)
    found = evaluate(tracks, truth, options)
    if as_json:
        result_json(found.as_dict())
    else:
        _table(found)
    for note in found.notes:
        say(f"note: {note}")
    for name in found.without_tracks:
        say(f"warning: {name}: no tracks in {tracks}; left out")
    raise typer.Exit(1 if found.without_tracks else 0)


def _predict(tracks: Path, truth: Path, images: Path, options: EvalOptions, run: Options) -> None:
    """Write the tracks that the paper's protocol evaluates."""
    from ..evaluate.ground_truth import read_truth, truth_files
    from ..evaluate.predict import predict
    from ..files import Claim, check_free
    from ..option import check
    from ..pipeline.networks import open_models

    check(
        options.protocol == "paper", "--images: makes the tracks of --protocol paper; for another, process the images"
    )
    check(not tracks.is_file() and not tracks.suffix, f"{tracks}: with --images name a folder for the tracks")
    run = replace(run, boxes=truth)
    with open_models(run) as models:
        for file in truth_files(truth):
            people = read_truth(file, options.truth_body)
            out = tracks / f"{people.name}.parquet"
            check_free(out, run.overwrite, file)
            with Claim(out):
                say(f"{out}: {predict(people, images, out, run, models):,} rows")


COLUMNS = {
    "name": "sequence",
    "people": "people",
    "recall": "recall",
    "mpjpe_mm": "MPJPE mm",
    "pa_mpjpe_mm": "PA-MPJPE mm",
    "pve_mm": "PVE mm",
    "accel_mm_per_frame2": "accel mm/frame²",
    "auc": "AUC",
    "auc_with_missed": "AUC, missed 0",
    "f1": "F1",
    "nmje_mm": "NMJE mm",
    "nmve_mm": "NMVE mm",
}


def _table(found: "Evaluation") -> None:
    """Print the scores and their meaning."""
    from rich.table import Table

    scores = [*found.sequences, found.overall]
    shown = [key for key in COLUMNS if any(getattr(score, key) is not None for score in scores)]
    table = Table(title=f"{found.protocol}: {found.words}", title_justify="left")
    for key in shown:
        table.add_column(COLUMNS[key], justify="left" if key == "name" else "right")
    for score in scores:
        cells = [_cell(key, getattr(score, key)) for key in shown]
        table.add_row(*cells, end_section=score is found.sequences[-1])
    result_table(table)
    result(
        f"{found.joints}, {found.root} at 0; matched by boxes of IoU {found.iou_min:g} or more, the largest total in "
        "each frame; means are over people found. AUC: correct joints at 0 to 150 mm."
    )


def _cell(key: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str | int):
        return "-" if value is None else str(value)
    return f"{value:.1f}" if "mm" in key else f"{value:.3f}"
