"""Write an offline HTML report for a tracks file: detections, confidence, jitter and a 3D player."""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ..errors import InputError, UsageError
from ..files import check_free, claims, write_whole
from ..geometry import symmetric_size
from ..tables import AT_BORDER, BAD_CAMERA, IMPLAUSIBLE, NOT_DRAWN, Tracks
from ..tracks.level import Levels
from ..tracks.meta import Meta, center_px
from ..tracks.read import read_both
from ..video.open import open_source
from ..video.reader import DecodeCounts
from . import charts
from .draw import Pixels, draw_skeletons
from .html import page, part, script_json
from .options import OverlayOptions, Renderer
from .overlay import Painter, check_same_video, decoding
from .player import player_data
from .renderers import compose

SUFFIXES = (".html", ".htm")
SHEET_MAX = 60  # images at most, of the longest tracks
PICTURE_WH = (180, 240)


@dataclass(frozen=True)
class PageReport:
    """Result of writing one report page."""

    out: Path
    tracks: int
    pictures: int
    bytes: int
    warnings: list[str]


@claims
def report(
    tracks: str | Path,
    out: str | Path,
    video: str | Path | None = None,
    skeleton_only: bool = False,
    renderer: Renderer = OverlayOptions.renderer,
    overwrite: bool = False,
    busy_s: dict[str, float] | None = None,
    allow_network: bool = False,
    up: str = OverlayOptions.up,
) -> PageReport:
    """Write the HTML report of a tracks file.

    Args:
        tracks: The tracks file.
        out: The page to write, ``.html``.
        video: The video of the tracks, to add an image of each track.
        skeleton_only: Omit the body mesh, whose licence may forbid redistribution.
        renderer, overwrite, up: As in ``OverlayOptions``; ``up`` is that of the player.
        busy_s: Seconds each stage of the run was busy, to add them.
        allow_network: Allow ``video`` to be a URL.

    Raises:
        UsageError: ``out`` exists, or the body is missing.
        InputError: A file is unreadable, or the video does not match.
        BackendError: Rendering fails.
        OutputError: The page cannot be written.
    """
    tracks, out = Path(tracks), Path(out)
    check_page(out, overwrite, tracks, video)
    rows, meta = read_both(tracks)
    view: Literal["skeleton", "overlay"] = "skeleton" if skeleton_only or video is None else "overlay"
    painter = Painter(OverlayOptions(view=view, renderer=renderer, alpha=1.0, up=up), meta["body"]["name"], meta)
    size_wh, pictures = (meta["video"]["width_px"], meta["video"]["height_px"]), dict[int, bytes]()
    if video:
        size_wh, pictures = contact_sheet(video, tracks, meta, rows, painter, allow_network)
    levels = Levels.find(rows, painter.body, up, meta)
    data, pack, every = player_data(rows, painter.body, _around(meta, size_wh), skeleton_only, levels)
    warnings = _warnings(meta, None if skeleton_only else painter.body.licence_warning("the page"), len(rows), every)
    warnings += levels.warnings()
    text = page(
        "report.html",
        meta["video"]["name"],
        heading=escape(meta["video"]["name"]),
        subtitle=escape(_subtitle(meta, tracks)),
        notes="".join(f'<div class="note">{escape(line[0].upper() + line[1:])}.</div>' for line in warnings),
        facts=_facts(rows, meta),
        timeline=charts.timeline(rows),
        people=charts.people_per_frame(rows),
        sheet=_sheet(rows, pictures) if video else "",
        depth=charts.depth(rows),
        jitter=charts.jitter(rows, painter.body),
        stages=f'<h2>Time at work</h2><div class="charts">{charts.bars(busy_s)}</div>' if busy_s else "",
        footer=escape(f"{meta.get('software', '')} · body {painter.body.name} · {_models(meta)} · {levels.words()}"),
        data=script_json(data),
        pack=pack,
        player=part("player.js"),
    )
    write_whole(out, text, overwrite)
    return PageReport(out, len(data["tracks"]), len(pictures), len(text), warnings)


def _warnings(meta: Meta, licence: str | None, rows: int, every: int) -> list[str]:
    warnings = [licence] if licence else []
    if "complete" not in meta:
        warnings.append("another program wrote these rows: how many frames there were, and whether all, is unknown")
    elif not meta["complete"]:
        warnings.append("pieces of the video were damaged or missing: what they showed is not in the tracks")
    return warnings + ([f"of {rows} rows the 3D view holds every {every}th of each track"] if every > 1 else [])


def check_page(out: Path, overwrite: bool, *sources: Path | str | None) -> None:
    """Raise UsageError if a page cannot be written to ``out``, or ``out`` is one of its sources."""
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out}: a report's name must end in {', '.join(SUFFIXES)}")
    check_free(out, overwrite, *sources)


def contact_sheet(
    video: Path | str, tracks: Path, meta: Meta, rows: Tracks, painter: Painter, allow_network: bool = False
) -> tuple[tuple[int, int], dict[int, bytes]]:
    """Return the frame size, and a JPEG for each of the longest tracks: its best view, with the body drawn on it."""
    wanted: dict[int, list[Tracks]] = {}
    ids, counts = np.unique(rows.track_id, return_counts=True)
    for track_id in ids[np.argsort(-counts, kind="stable")][:SHEET_MAX]:
        best = _best(rows[rows.track_id == track_id])
        wanted.setdefault(int(best.frame_idx[0]), []).append(best)
    size_wh: tuple[int, int] | None = None
    pictures: dict[int, bytes] = {}
    with open_source(video, decoding(meta, allow_network)) as source:
        check_same_video(source, meta, tracks)
        for frames in source.frames(1, DecodeCounts()):
            size_wh = size_wh or frames.size_wh
            for person in wanted.pop(int(frames.frame_idx[0]), []):
                pictures[int(person.track_id[0])] = _picture(frames.images[0].rgb().copy(), person, painter)
            if not wanted:
                break
    if wanted:
        raise InputError(f"{video}: has no frame {min(wanted)}, of which {tracks} holds people; not the same video")
    assert size_wh, "a source without frames is an error"
    return (int(size_wh[0]), int(size_wh[1])), dict(sorted(pictures.items()))


def _best(rows: Tracks) -> Tracks:
    """Return the row (1,) with the best view of a person: high score, large box, not at the border."""
    side = np.sqrt(np.clip((rows.bbox_xyxy[:, 2:] - rows.bbox_xyxy[:, :2]).prod(axis=1), 0, None))
    worth = rows.det_score * side / np.where(rows.flags & AT_BORDER, 2, 1)
    best = int(np.argmax(np.where(rows.flags & NOT_DRAWN, -1, worth)))
    return rows[best : best + 1]


def _picture(image: Pixels, person: Tracks, painter: Painter) -> bytes:
    given = person.global_orient, person.body_pose, person.betas, person.transl
    if not person.flags[0] & NOT_DRAWN:
        if painter.renderer:
            scene = painter.scene(image.shape[1::-1], person, *painter.body.surface(*given))
            compose(image, painter.renderer.render(scene), painter.options.alpha)
        else:
            center = center_px(painter.meta, image.shape[1::-1])
            draw_skeletons(image, person, painter.body.joints(*given), painter.body.parents, center)
    x0, y0, x1, y1 = person.bbox_xyxy[0].astype(float)
    height = max(1.35 * (y1 - y0), 1.35 * (x1 - x0) * PICTURE_WH[1] / PICTURE_WH[0], 16)
    width = height * PICTURE_WH[0] / PICTURE_WH[1]
    scale = PICTURE_WH[1] / height
    left, top = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    crop = cv2.warpAffine(image, move, PICTURE_WH, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])[1].tobytes()


def _around(meta: Meta, size_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a frame around the principal point: the player's camera has no other."""
    width, height = symmetric_size(size_wh, center_px(meta, size_wh))
    return round(width), round(height)


def _sheet(rows: Tracks, pictures: dict[int, bytes]) -> str:
    total = len(np.unique(rows.track_id))
    few = f"the {len(pictures)} seen longest of {total}" if len(pictures) < total else "where each is seen best"
    figures = []
    for track_id, jpeg in pictures.items():
        mine = rows[rows.track_id == track_id]
        span = f"{mine.time_s[0]:.1f} to {mine.time_s[-1]:.1f} s"
        source = base64.b64encode(jpeg).decode("ascii")
        figures.append(
            f'<figure data-track="{track_id}"><img alt="Track {track_id}" src="data:image/jpeg;base64,{source}">'
            f"<figcaption><b>{track_id}</b> · {span}</figcaption></figure>"
        )
    return f'<h2>Everybody <small>{few}</small></h2><div class="sheet">{"".join(figures)}</div>'


def _facts(rows: Tracks, meta: Meta) -> str:
    frames = meta.get("counts", {}).get("decode", {}).get("frames")
    ids, counts = np.unique(rows.track_id, return_counts=True)
    good = (rows.flags & NOT_DRAWN) == 0
    facts = [
        (f"{frames:,}" if frames is not None else "unknown", "frames"),
        (f"{len(ids):,}", "tracks"),
        (f"{len(rows) / frames:.1f}" if frames else "unknown", "people a frame"),
        (f"{np.median(counts) if len(ids) else 0:.0f}", "frames a track"),
        (f"{rows.det_score.mean() if len(rows) else 0:.2f}", "mean confidence"),
        (f"{np.median(rows.transl[good, 2]) if good.any() else 0:.1f} m", "median distance"),
    ]
    for bit, what in ((BAD_CAMERA, "rows with an impossible camera"), (IMPLAUSIBLE, "implausible rows, not drawn")):
        if count := int((rows.flags & bit != 0).sum()):
            facts.append((f"{count:,}", what))
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in facts)


def _subtitle(meta: Meta, tracks: Path) -> str:
    info = meta["video"]
    parts = [f"{info['width_px']} × {info['height_px']}", info["codec"], tracks.name]
    return " · ".join(parts)


def _models(meta: Meta) -> str:
    return ", ".join(model["name"] for model in meta.get("models", [])) or "models not named"
