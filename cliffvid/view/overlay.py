"""Draw tracks on their video in a second pass: decode, pose, draw, encode."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..concurrency import AHEAD_BYTES, Stages
from ..errors import InputError, UsageError
from ..files import check_free, claims
from ..geometry import Array, camera_to_side, principal_point_px
from ..models.body import Body, load_body
from ..option import given
from ..options import Options
from ..tables import NOT_DRAWN, Float64, Frames, Tracks
from ..tracks.colors import track_color
from ..tracks.level import Levels
from ..tracks.meta import Meta, center_px
from ..tracks.read import chosen, read_both
from ..video.encode import FORMATS, Film
from ..video.image_files import Images
from ..video.open import open_source
from ..video.reader import DecodeCounts, Video
from .draw import Pixels, draw_boxes, draw_ids, draw_skeletons
from .options import OverlayKeywords, OverlayOptions
from .renderers import Renderer, Scene, compose, open_renderer

FRAME_BATCH = 4  # posed together
AHEAD = 2  # batches each stage may run ahead
BACKDROP = (22, 24, 27)  # background colour of the side view
SIDES = ("side", "both")  # views that have a side view
DECODING = ("stream", "matrix", "hdr", "deinterlace", "image_fps", "stride")  # fields of Options


@dataclass(frozen=True, eq=False)
class Shot:
    """Some frames, the people in them, and their meshes or joints in the camera frame."""

    frames: Frames
    people: Tracks
    vertices: Array  # (P,V,3); joints (P,J,3) for the skeleton view
    normals: Array | None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes

    def __iter__(self) -> Iterator[tuple[Pixels, Tracks, Array, Array | None]]:
        """Yield the image, people, vertices and normals of each frame."""
        for i, index in enumerate(self.frames.frame_idx):
            rows = slice(*np.searchsorted(self.people.frame_idx, [index, index + 1]))
            normals = None if self.normals is None else self.normals[rows]
            yield self.frames.images[i].rgb(), self.people[rows], self.vertices[rows], normals


@dataclass(frozen=True)
class OverlayReport:
    """Result of one overlay."""

    out: Path
    frames: int
    drawn: int  # frames with people
    not_drawn: int  # rows skipped because they are implausible or have an impossible camera
    renderer: str | None  # name and device; None for the skeleton view, which needs no renderer
    sound: str
    seconds: float
    busy_s: dict[str, float]
    warnings: list[str]

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain values, for JSON."""
        return asdict(self) | {"out": str(self.out), "frames_per_s": self.frames / self.seconds}


@claims
def overlay(
    video: str | Path,
    tracks: str | Path,
    out: str | Path,
    options: OverlayOptions | None = None,
    allow_network: bool = False,
    watch: Callable[[Stages, int | None], None] = lambda stages, frames: None,
    **keywords: Unpack[OverlayKeywords],
) -> OverlayReport:
    """Draw tracks on their video. After an error no partial file is left behind.

    Args:
        video: The video of the tracks; it is decoded with the settings recorded in them.
        tracks: The tracks file.
        out: The film to write, ``.mp4``.
        options: How to draw; the defaults if None.
        allow_network: Allow ``video`` to be a URL.
        watch: Called at the start with the stages and the number of frames, None if unknown, to show progress.
        **keywords: The fields of OverlayOptions, instead of ``options``.

    Raises:
        UsageError: ``out`` exists, or the body is missing.
        InputError: The tracks are unreadable or belong to another video.
        BackendError: No renderer works.
        OutputError: ``out`` cannot be written.
    """
    options, tracks, out = given(OverlayOptions, options, keywords), Path(tracks), Path(out)
    check_target(out, options.overwrite, video, tracks)
    rows, meta = read_both(tracks)
    painter = Painter(options, meta["body"]["name"], meta)
    rows = chosen(rows, options.track, tracks)
    levels = painter.levels(rows, meta)
    counts, start = DecodeCounts(), time.perf_counter()
    again = decoding(meta, allow_network)
    with open_source(video, again) as source, Stages(AHEAD) as stages:
        check_same_video(source, meta, tracks)
        whole = options.start_s == 0 and options.end_s == float("inf") and again.stride == 1
        watch(stages, source.info.frames_claimed if whole else None)
        with Film(out, source.info, options.start_s > 0, options.end_s, options.overwrite) as film:
            batch = min(FRAME_BATCH, max(AHEAD_BYTES // (3 * source.info.width_px * source.info.height_px), 1))
            frames = source.frames(batch, counts, options.start_s, options.end_s, again.stride)
            shots = stages.ahead("pose", "frames", painter.pose(stages.ahead("decode", "frames", frames), rows))
            for drawn in stages.ahead("draw", "frames", painter.draw(shots, levels, mean_depth_m(rows))):
                for image, time_s in zip(drawn.images, drawn.time_s, strict=True):
                    film.write(image, (counts.first_pts or 0) + round(float(time_s) / source.info.time_base))
            film.finish()
        seconds = time.perf_counter() - start
        busy_s = stages.busy_s() | {"encode": seconds - stages.stages[-1].consumer_wait_s}
    warnings = [f"{counts.damaged} damaged or missing pieces of video are not in the film"] if counts.damaged else []
    warnings += levels.warnings()
    return OverlayReport(
        *(out, film.frames, painter.drawn, painter.not_drawn, painter.device, film.sound, seconds, busy_s, warnings)
    )


@dataclass(frozen=True, eq=False)
class Drawn:
    """Finished images and their timestamps."""

    images: list[Pixels]
    time_s: Float64  # not pts, which may jump back

    def __len__(self) -> int:
        return len(self.images)

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images)


@dataclass(frozen=True, eq=False)
class SideCamera:
    """The camera of the side view: at +90 degrees about the vertical axis through the film's axis at a depth."""

    depth_m: float
    axes: Float64  # (3,3), see Level.axes


class Painter:
    """Poses and draws people by the options; opens the renderer at once, so that a missing one fails early."""

    def __init__(self, options: OverlayOptions, body_name: str, meta: Meta | None = None) -> None:
        self.options, self.meta = options, meta or {}  # ``meta``: that of the tracks, for their camera
        self.body: Body = load_body(check_family(options.body or body_name, body_name))
        self.renderer: Renderer | None = None if options.view == "skeleton" else open_renderer(options.renderer)
        self.device = f"{self.renderer.name} ({self.renderer.device})" if self.renderer else None
        self.drawn = self.not_drawn = 0

    def pose(self, batches: Iterator[Frames], rows: Tracks) -> Iterator[Shot]:
        """Yield each batch of frames with its people, posed together."""
        for frames in batches:
            people = people_in(frames, rows)
            given = people.global_orient, people.body_pose, people.betas, people.transl
            if self.renderer:
                yield Shot(frames, people, *self.body.surface(*given))
            else:
                yield Shot(frames, people, self.body.joints(*given), None)

    def draw(self, shots: Iterator[Shot], levels: Levels, depth_m: float) -> Iterator[Drawn]:
        """Yield the finished images; the fixed side camera is level, at a depth."""
        for shot in shots:
            sides = [SideCamera(depth_m, levels.at(index).axes) for index in shot.frames.frame_idx.tolist()]
            images = [self._picture(*frame, side) for frame, side in zip(shot, sides, strict=True)]
            yield Drawn(images, shot.frames.time_s)

    def levels(self, rows: Tracks, meta: Meta | None = None) -> Levels:
        """Return which way is up, in each of the shots that ``meta`` names; the camera's own up if it is not needed."""
        return Levels.find(rows, self.body, self.options.up if self.options.view in SIDES else "camera", meta)

    def _picture(
        self, image: Pixels, people: Tracks, vertices: Array, normals: Array | None, side: SideCamera
    ) -> Pixels:
        drawn = self.views(image, people, vertices, normals, side)
        return np.hstack(list(drawn.values())) if len(drawn) > 1 else next(iter(drawn.values()))

    def views(
        self, image: Pixels, people: Tracks, vertices: Array, normals: Array | None, camera: SideCamera
    ) -> dict[str, Pixels]:
        """Return the images (H,W,3) for the options: ``front``, drawn on ``image`` in place, and ``side``."""
        options = self.options
        self.drawn += len(people) > 0
        good = (people.flags & NOT_DRAWN) == 0
        self.not_drawn += int((~good).sum())
        side = np.empty_like(image) if options.view in SIDES else None
        if self.renderer is None:
            center = center_px(self.meta, image.shape[1::-1])
            draw_skeletons(image, people[good], vertices[good], self.body.parents, center)
        else:
            assert normals is not None, "a renderer draws surfaces"
            scene = self.scene(image.shape[1::-1], people[good], vertices[good], normals[good])
            if options.view in ("overlay", "both"):
                compose(image, self.renderer.render(scene), options.alpha)
            if side is not None:
                side[:] = BACKDROP
                compose(side, self.renderer.render(side_of(scene, camera)), 1.0)
        if options.boxes:
            draw_boxes(image, people)
        if options.ids:
            draw_ids(image, people)
        drawn = {"front": None if options.view == "side" else image, "side": side}
        return {name: picture for name, picture in drawn.items() if picture is not None}

    def scene(self, size_wh: tuple[int, int], people: Tracks, vertices: Array, normals: Array) -> Scene:
        """Return a scene with one camera: people of another focal length are scaled in x and y to the first one's."""
        focal_px = float(people.focal_px[0]) if len(people) else 1.0
        if (people.focal_px != focal_px).any():
            vertices = (
                vertices * np.stack([people.focal_px / focal_px] * 2 + [np.ones_like(people.focal_px)], 1)[:, None]
            )
        colors = np.array([track_color(int(i)) for i in people.track_id], np.float32).reshape(-1, 3) / 255
        return Scene(size_wh, focal_px, center_px(self.meta, size_wh), self.body.levels, vertices, normals, colors)


def people_in(frames: Frames, rows: Tracks) -> Tracks:
    """Return the rows of a batch of frames."""
    return rows[slice(*np.searchsorted(rows.frame_idx, [frames.frame_idx[0], frames.frame_idx[-1] + 1]))]


def mean_depth_m(people: Tracks) -> float:
    """Return the mean depth of the people drawn, about which the side camera rotates; 0 if there are none."""
    good = (people.flags & NOT_DRAWN) == 0
    return float(people.transl[good, 2].mean()) if good.any() else 0.0


def side_of(scene: Scene, camera: SideCamera) -> Scene:
    """Return the same people seen from the side."""
    vertices = camera_to_side(scene.vertices, camera.depth_m, camera.axes)
    normals = camera_to_side(scene.normals, 0, camera.axes)
    middle = principal_point_px(scene.size_wh)
    return Scene(scene.size_wh, scene.focal_px, middle, scene.levels, vertices, normals, scene.colors)


def check_target(out: Path, overwrite: bool, *sources: Path | str) -> None:
    """Raise UsageError if an overlay cannot be written to ``out``, or ``out`` is one of its sources."""
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: an overlay's name must end in {', '.join(FORMATS)}")
    check_free(out, overwrite, *sources)


def decoding(meta: Meta, allow_network: bool = False) -> Options:
    """Return the decoding options of a tracks file, to reproduce the same frames and sizes.

    The frame size limit is raised to that of the tracks' video if needed.
    """
    kept = meta.get("settings", {})
    settings: dict[str, Any] = {name: kept[name] for name in DECODING if name in kept}  # of Options' types
    seen_mpx = meta["video"]["width_px"] * meta["video"]["height_px"] / 1e6
    return Options(**settings, max_frame_mpx=max(Options.max_frame_mpx, seen_mpx), allow_network=allow_network)


def check_same_video(source: Video | Images, meta: Meta, tracks: Path) -> None:
    """Raise InputError if the tracks belong to a different video than the open source."""
    recorded = meta["video"]
    if (source.info.name, source.info.codec) != (recorded["name"], recorded["codec"]):
        raise InputError(f"{tracks}: tracks of {recorded['name']}, not of {source.info.name}")


def check_family(name: str, tracks_body: str) -> str:
    """Return the body's name. Raises UsageError if it cannot draw tracks of the body ``tracks_body``."""
    if name.split("-")[0] != tracks_body.split("-")[0]:
        raise UsageError(f"--body {name}: the tracks' pose and betas belong to {tracks_body!r} and to no other")
    return name
