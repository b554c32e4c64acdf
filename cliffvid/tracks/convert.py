"""Convert a tracks file to the formats of other programs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, Unpack

import numpy as np

from ..errors import InputError, UsageError
from ..files import Claim, check_free, write_whole
from ..geometry import symmetric_size
from ..models.body import load_body
from ..option import given
from ..tables import Tracks
from .formats.table import FORMATS, Format, format_of
from .level import Levels
from .meta import Meta, center_px
from .motion import Gaps, Piece, SceneFacts, on_even_clock, pieces, usual_rate
from .options import ConvertKeywords, ConvertOptions
from .read import chosen, read_both
from .write import open_writer

SLOWEST_FPS = 30  # Blender's add-ons reject lower rates, and PHC and GMR play them too fast
Encode: TypeAlias = Callable[[list[Piece], Path], bytes]  # the motion in a file, and the file's name


@dataclass(frozen=True)
class ConvertReport:
    """Result of one conversion."""

    files: list[Path]
    rows: int
    tracks: int
    warnings: list[str]
    level: str | None = None  # how the camera is held, in words, if the format needs it


@dataclass(frozen=True)
class Conversion:
    """One conversion: what is written to where."""

    to: str
    rows: Tracks
    meta: Meta
    levels: Levels | None  # if the format has people on a floor
    sources: tuple[Path, Path | None]
    target: Path
    in_folder: bool  # the names of several files begin with the target's
    options: ConvertOptions

    def write(self, out: Path, data: bytes) -> None:
        write_whole(out, data, self.options.overwrite)

    def check_free(self, out: Path) -> None:
        check_free(out, self.options.overwrite, *self.sources)


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
        out: A file or a folder. ``amass``, ``bvh`` and ``trc`` write one file per continuous piece of a track, and
            ``per_person`` one per track. Then it is a folder, created if needed; with a single one it may be a file.
        options: The format ``to`` write, and its settings. Default: the format that the ending of ``out`` stands for.
        like: See ``read_tracks``.
        **keywords: The fields of ConvertOptions, instead of ``options``.

    Raises:
        UsageError: ``out`` exists or does not tell the format, or a track or the body is missing.
        InputError: The tracks are unreadable or hold no usable rows.
        NotInstalledError: The format needs an optional package.
        OutputError: A file cannot be written.
    """
    options = given(ConvertOptions, options, keywords)
    tracks, out, like = Path(tracks), Path(out), None if like is None else Path(like)
    to = format_of(out) if options.to == "auto" else options.to
    kind = FORMATS[to]
    if options.per_person and kind.holds == "rows":
        raise UsageError(f"--per-person: --to {to} has one file; give --track to choose people")
    many = kind.holds == "piece" or options.per_person
    in_folder = out.is_dir() or (many and not out.name.lower().endswith(kind.endings))
    target = out / (tracks.stem.removesuffix("_cliff") + kind.endings[0]) if in_folder else out
    with Claim(target):  # one claim covers all files of the conversion
        rows, meta = read_both(tracks, like)
        levels = None
        if kind.axes is not None:  # the level that all people show, so that files of single tracks fit together
            levels = Levels.find(rows, load_body(meta["body"]["name"]), options.up, meta)
        rows = chosen(rows, options.track, tracks)
        work = Conversion(to, rows, meta, levels, (tracks, like), target, in_folder, options)
        files, warnings = _write_rows(work) if kind.holds == "rows" else _write_motion(work, kind)
    level, warnings = (levels.words(), warnings + levels.warnings()) if levels else (None, warnings)
    return ConvertReport(files, len(rows), len(np.unique(rows.track_id)), warnings, level)


def _write_rows(work: Conversion) -> tuple[list[Path], list[str]]:
    rows, target = work.rows, work.target
    work.check_free(target)
    if work.to == "csv":
        from .formats.csv import csv, flat_columns

        work.write(target, csv(flat_columns(rows)))
    elif work.to == "blender-script":
        from .formats.blender_script import script

        work.write(target, script(usual_rate(rows)))
    elif work.levels:
        from .formats.joints import joints_table

        work.write(target, joints_table(rows, load_body(work.meta["body"]["name"]), work.levels, target))
    else:
        with open_writer(work.to, target, rows, work.meta, work.options.overwrite) as writer:
            writer.write(rows)
            writer.finish()
    return [target], []


def _write_motion(work: Conversion, kind: Format) -> tuple[list[Path], list[str]]:
    assert work.levels is not None and kind.axes is not None
    body, gaps, options = load_body(work.meta["body"]["name"]), Gaps(), work.options
    encode, warnings = _people_encoder(work) if kind.holds == "people" else _piece_encoder(work)
    found = list(pieces(work.rows, body, kind.axes, work.levels, options.max_gap_s, gaps))
    if not found:
        raise InputError(f"{work.sources[0]}: no row has a valid position: nothing to convert")
    if kind.holds == "piece":
        shares = [[piece] for piece in found]
    elif options.per_person:
        shares = _by_person(found)
    else:
        shares = [found]
    targets = _targets(work, shares)
    for target in targets:
        work.check_free(target)
    for target, share in zip(targets, shares, strict=True):
        work.write(target, encode(share, target))
    return targets, warnings + gaps.warnings(options.max_gap_s)


def _targets(work: Conversion, shares: list[list[Piece]]) -> list[Path]:
    """Return the file of each share of the motion."""
    out = work.target
    if FORMATS[work.to].holds == "people" and not work.options.per_person:
        return [out]
    if work.in_folder:
        many = {share[0].track_id for share in shares if share[0].number > 1}
        return [out.with_stem(f"{out.stem}_{_name(share[0], many)}") for share in shares]
    if len(shares) > 1:
        what = "people" if work.options.per_person else "pieces of motion"
        raise UsageError(f"{out}: one file, but there are {len(shares)} {what}; name a folder, or --track")
    return [out]


def _name(piece: Piece, many: set[int]) -> str:
    part = f"_{piece.number:02d}" if piece.track_id in many else ""
    return f"track{piece.track_id:04d}{part}"


def _piece_encoder(work: Conversion) -> tuple[Encode, list[str]]:
    """Return a function that encodes one piece as a file's bytes, and warnings."""
    body, options = load_body(work.meta["body"]["name"]), work.options
    fps = options.fps
    if work.to == "bvh":
        from .formats.bvh import bvh_text

        return lambda share, _: bvh_text(on_even_clock(share[0], fps), body, fps, options.cm).encode(), []
    if work.to == "trc":
        from .formats.trc import trc_text

        return lambda share, out: trc_text(on_even_clock(share[0], fps), body, fps, out.name).encode(), []
    from .formats.amass import Target, amass_npz

    target, source = Target(body, options.layout), work.meta["video"]["name"]
    if fps < SLOWEST_FPS:
        target.warnings.append(f"--fps {fps}: Blender's add-ons want {SLOWEST_FPS} or more")
    return lambda share, _: amass_npz(on_even_clock(share[0], fps), target, fps, source), target.warnings


def _people_encoder(work: Conversion) -> tuple[Encode, list[str]]:
    """Return a function that encodes people as a file's bytes, and warnings."""
    body, video, skeleton_only = load_body(work.meta["body"]["name"]), work.meta["video"], work.options.skeleton_only
    size_wh = video["width_px"], video["height_px"]
    scene = SceneFacts(
        body,
        name=video["name"],
        rate=usual_rate(work.rows),
        size_px=symmetric_size(size_wh, center_px(work.meta, size_wh)),  # glTF's cameras have no principal point
        focal_px=float(np.median(work.rows.focal_px)) if len(work.rows) else 0.0,
        skeleton_only=skeleton_only,
    )
    warnings: list[str] = []
    if not skeleton_only:
        if licence := body.licence_warning("the file"):
            warnings.append(licence)
        if body.pose_dirs_m is not None:
            warnings.append("skinned without the body's pose correctives: bent joints look a little thinner")
    if work.to == "gltf":
        from .formats.gltf import glb

        return lambda share, _: glb(_by_person(share), scene), warnings
    from .formats.usd import load_usd, usd_file

    load_usd()
    return lambda share, out: usd_file(_by_person(share), scene, out), warnings


def _by_person(found: list[Piece]) -> list[list[Piece]]:
    return [list(group) for _, group in groupby(found, key=lambda piece: piece.track_id)]
