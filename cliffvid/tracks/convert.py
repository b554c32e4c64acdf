"""Convert a tracks file to the formats of other programs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Unpack

import numpy as np

from ..errors import InputError, UsageError
from ..files import Claim, check_free, write_whole
from ..models.body import Body, load_body
from ..option import given
from ..tables import Array, Float64, Tracks
from .level import Levels
from .meta import Meta, shots_of
from .motion import Y_UP, Z_UP, Gaps, Piece, on_even_clock, pieces, usual_step
from .options import ConvertKeywords, ConvertOptions
from .read import chosen, read_both
from .write import in_file, open_writer

SUFFIXES = {
    "parquet": ".parquet",
    "npz": ".npz",
    "cliff": "_cliff.npz",
    "csv": ".csv",
    "gltf": ".glb",
    "amass": ".npz",
    "bvh": ".bvh",
}
MANY = ("amass", "bvh")  # one file per piece of a track
MOTION = (*MANY, "gltf")  # of bodies on a floor; the others have the camera's frame
SLOWEST_FPS = 30  # Blender's add-ons reject lower rates, and PHC and GMR play them too fast


@dataclass(frozen=True)
class ConvertReport:
    """Result of one conversion."""

    files: list[Path]
    rows: int
    tracks: int
    warnings: list[str]
    level: str | None = None  # how the camera is held, in words, if the format needs it


def convert(
    tracks: str | Path,
    out: str | Path,
    options: ConvertOptions | None = None,
    like: str | Path | None = None,
    **keywords: Unpack[ConvertKeywords],
) -> ConvertReport:
    """Write the motion of a tracks file in another format.

    Args:
        tracks: The tracks file.
        out: A file or a folder. ``amass`` and ``bvh`` write one file per continuous piece of a track. For them it is a
            folder, created if needed; with a single piece it may be a file.
        options: The format ``to`` write, and its settings.
        like: See ``read_tracks``.
        **keywords: The fields of ConvertOptions, instead of ``options``.

    Raises:
        UsageError: ``out`` exists, or a track or the body is missing.
        InputError: The tracks are unreadable or hold no usable rows.
        OutputError: A file cannot be written.
    """
    options = given(ConvertOptions, options, keywords)
    tracks, out, like = Path(tracks), Path(out), None if like is None else Path(like)
    suffix = SUFFIXES[options.to]
    in_folder = out.is_dir() or (options.to in MANY and out.suffix.lower() != suffix)
    target = out / (tracks.stem.removesuffix("_cliff") + suffix) if in_folder else out
    levels: Levels | None = None
    with Claim(target):  # one claim covers all files of the conversion
        rows, meta = read_both(tracks, like)
        if options.to in MOTION:  # the level that all people show, so that files of single tracks fit together
            levels = Levels.find(rows, load_body(meta["body"]["name"]), options.up, shots_of(meta))
        rows = chosen(rows, options.track, tracks)
        if levels and options.to in MANY:
            files, warnings = _per_piece(rows, meta, levels, (tracks, like), target, in_folder, options)
        else:
            files, warnings = _whole(rows, meta, levels, (tracks, like), target, options)
    level = levels.words() if levels else None
    return ConvertReport(files, len(rows), len(np.unique(rows.track_id)), warnings, level)


def _whole(
    rows: Tracks,
    meta: Meta,
    levels: Levels | None,
    sources: tuple[Path, Path | None],
    target: Path,
    options: ConvertOptions,
) -> tuple[list[Path], list[str]]:
    check_free(target, options.overwrite, *sources)
    warnings: list[str] = []
    if options.to == "csv":
        write_whole(target, csv(rows, _joint_names(rows)), options.overwrite)
    elif levels:
        data, warnings = _glb(rows, meta, levels, sources[0], options)
        write_whole(target, data, options.overwrite)
    else:
        with open_writer(options.to, target, rows, meta, options.overwrite) as writer:
            writer.write(rows)
            writer.finish()
    return [target], warnings


def _per_piece(
    rows: Tracks,
    meta: Meta,
    levels: Levels,
    sources: tuple[Path, Path | None],
    out: Path,
    in_folder: bool,
    options: ConvertOptions,
) -> tuple[list[Path], list[str]]:
    body, gaps = load_body(meta["body"]["name"]), Gaps()
    save, axes, warnings = _saver(body, meta, options)
    found = list(pieces(rows, body, axes, levels, options.max_gap_s, gaps))
    if not found:
        raise InputError(f"{sources[0]}: no row has a valid position: nothing to convert")
    targets = [out]
    if in_folder:
        many = {piece.track_id for piece in found if piece.number > 1}
        targets = [out.with_stem(f"{out.stem}_{_name(piece, many)}") for piece in found]
    elif len(found) > 1:
        raise UsageError(f"{out}: one file, but there are {len(found)} pieces of motion; name a folder, or --track")
    for target in targets:
        check_free(target, options.overwrite, *sources)
    for target, piece in zip(targets, found, strict=True):
        write_whole(target, save(on_even_clock(piece, options.fps)), options.overwrite)
    return targets, warnings + gaps.warnings(options.max_gap_s)


def _saver(body: Body, meta: Meta, options: ConvertOptions) -> tuple[Callable[[Piece], bytes], Float64, list[str]]:
    """Return a function that encodes a piece as file bytes, the axes it expects, and warnings."""
    if options.to == "bvh":
        from .formats.bvh import bvh_text

        return lambda piece: bvh_text(piece, body, options.fps, options.cm).encode(), Y_UP, []
    from .formats.amass import Target, amass_npz

    target = Target(body, options.layout)
    if options.fps < SLOWEST_FPS:
        target.warnings.append(f"--fps {options.fps}: Blender's add-ons want {SLOWEST_FPS} or more")
    source = meta["video"]["name"]
    return lambda piece: amass_npz(piece, target, options.fps, source), Z_UP, target.warnings


def _name(piece: Piece, many: set[int]) -> str:
    part = f"_{piece.number:02d}" if piece.track_id in many else ""
    return f"track{piece.track_id:04d}{part}"


def _glb(rows: Tracks, meta: Meta, levels: Levels, tracks: Path, options: ConvertOptions) -> tuple[bytes, list[str]]:
    from .formats.gltf import glb

    body, gaps, video = load_body(meta["body"]["name"]), Gaps(), meta["video"]
    found = list(pieces(rows, body, Y_UP, levels, options.max_gap_s, gaps))
    if not found:
        raise InputError(f"{tracks}: no row has a valid position: nothing to convert")
    people = [list(group) for _, group in groupby(found, key=lambda piece: piece.track_id)]
    step_s = usual_step(rows)[1] or 0.04
    width, height = video["width_px"], video["height_px"]
    focal = float(np.median(rows.focal_px))
    camera = {"aspectRatio": width / height, "yfov": float(2 * np.arctan(height / 2 / focal)), "znear": 0.05}
    data = glb(people, body, step_s, options.skeleton_only, video["name"], camera)
    warnings = gaps.warnings(options.max_gap_s)
    if not options.skeleton_only:
        if licence := body.licence_warning("the file"):
            warnings.append(licence)
        if body.pose_dirs_m is not None:
            warnings.append("glTF skins without the body's pose correctives: bent joints look a little thinner")
    return data, warnings


def csv(rows: Tracks, joints: list[str]) -> bytes:
    """Return all columns as CSV, one number per column, with units in the names; floats in full precision."""
    import pyarrow as pa
    import pyarrow.csv

    columns: dict[str, Array] = {}
    for name, column in in_file(rows).items():
        names = _column_names(name, column, joints)
        columns |= dict(zip(names, column.reshape(len(rows), len(names)).T, strict=True))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table({n: np.ascontiguousarray(c) for n, c in columns.items()}), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _column_names(name: str, column: Array, joints: list[str]) -> list[str]:
    axes = ("x", "y", "z")
    match name:
        case "bbox_xyxy":
            return ["bbox_x0_px", "bbox_y0_px", "bbox_x1_px", "bbox_y1_px"]
        case "global_orient":
            return [f"global_orient_{axis}_rad" for axis in axes]
        case "body_pose":
            return [f"{joint}_{axis}_rad" for joint in joints[1:] for axis in axes]
        case "joint_confidence":
            return [f"{joint}_confidence" for joint in joints]
        case "betas":
            return [f"beta_{k}" for k in range(column.shape[1])]
        case "transl":
            return [f"transl_{axis}_m" for axis in axes]
        case "pred_cam":
            return ["pred_cam_s", "pred_cam_tx", "pred_cam_ty"]
        case "crop_center_size_px":
            return ["crop_cx_px", "crop_cy_px", "crop_size_px"]
    return [name]


def _joint_names(rows: Tracks) -> list[str]:
    from ..models.body import SMPL_JOINTS

    return SMPL_JOINTS[: 1 + rows.body_pose.shape[1] // 3]
