"""Hold the rows of one video together with its metadata, and compute what both say: joints, surfaces, keypoints."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, SupportsInt, TypeAlias

import numpy as np

from .. import optional
from ..errors import UsageError
from ..files import Claim, check_free
from ..geometry import project
from ..models.body import Body, load_body
from ..option import check, check_up
from ..tables import FLAG_BITS, Array, Float32, Float64, Tracks
from .level import Levels
from .meta import Meta, VideoFacts, center_px
from .motion import Z_UP
from .rewritten import Misfit, in_order
from .write import arrow_table, open_writer, output_format

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Frame: TypeAlias = Literal["camera", "level"] | Levels


@dataclass(frozen=True, eq=False)
class VideoTracks(Tracks):
    """Rows of one video with its metadata, as ``read_tracks`` and ``stream`` return them.

    Select rows by a slice, a mask or an index array, or with ``select``; all keep the metadata.

    Attributes:
        meta: The metadata, as ``read_meta`` returns it; empty if unknown.
    """

    meta: Meta = field(default_factory=Meta, kw_only=True, repr=False)
    _all: "VideoTracks | None" = field(default=None, kw_only=True, repr=False)  # the rows that these are a part of

    @classmethod
    def of(cls, rows: Tracks, meta: Meta, whole: "VideoTracks | None" = None) -> Self:
        """Return rows with metadata; ``whole``: the rows that they are a part of."""
        made = cls.checked(rows.columns())
        made.__dict__.update(meta=meta, _all=whole)
        return made

    def __getitem__(self, rows: slice | Array) -> Self:
        return self.of(super().__getitem__(rows), self.meta, self._all or self)

    @classmethod
    def concat(cls, tables: list[Self]) -> Self:
        """Return the rows of several tables of one video, such as those of ``stream``, as one.

        Raises:
            UsageError: There is no table, or they are of different videos.
        """
        check(bool(tables), "concat: no table given; it needs at least one")
        names = {table.meta.get("video", {}).get("name") for table in tables}
        check(len(names) == 1, f"concat: tables of {len(names)} videos; give those of one")
        return cls.of(super().concat(tables), tables[0].meta)

    def select(
        self, track: SupportsInt | Collection[SupportsInt] | None = None, time_s: tuple[float, float] | None = None
    ) -> Self:
        """Return the rows of some tracks, or of a span of time, or of both.

        Args:
            track: A track id, or several; None: all. An id without rows selects none.
            time_s: Start and end in seconds; the end is not included. None: all.
        """
        chosen = np.ones(len(self), bool)
        if track is not None:
            ids = track if isinstance(track, Iterable) else [track]
            chosen &= np.isin(self.track_id, [int(each) for each in ids])
        if time_s is not None:
            start_s, end_s = time_s
            chosen &= (self.time_s >= start_s) & (self.time_s < end_s)
        return self[chosen]

    @property
    def video(self) -> VideoFacts:
        """What is known of the video: ``name``, ``codec``, ``width_px``, ``height_px`` and more.

        Raises:
            UsageError: The metadata names no video.
        """
        facts = self.meta.get("video")
        if facts is None:
            raise UsageError(
                "the rows' metadata names no video; read them with read_tracks, from the file of one video"
            )
        return facts

    @property
    def body(self) -> Body:
        """The body that pose and betas belong to, with joint names and faces.

        Raises:
            UsageError: The metadata names no body, or it is missing here; the message says how to get it.
            ModelError: The body's file is damaged.
        """
        facts = self.meta.get("body")
        if facts is None:
            raise UsageError("the rows' metadata names no body; read them with read_tracks, from the file of one video")
        return load_body(facts["name"])

    @cached_property
    def levels(self) -> Levels:
        """Up and the floor in each shot, found from all people of the video that was read, as by ``level``."""
        return self._all.levels if self._all else level(self)

    def joints(self, frame: Frame = "camera") -> Float64:
        """Return the joints (rows, J, 3) in metres; ``tracks.body.joint_names`` names them.

        Args:
            frame: ``camera``: x right, y down, z forward. ``level``: x right, y away from the camera, z up, with the
                floor at 0, or the camera where no floor is known; up and the floor are found from the people, for a
                camera that stands still. What ``level`` returns: the same, by that level.

        Raises:
            UsageError: The metadata names no body, or it is missing here.
            ModelError: The body's file is damaged, or does not fit the rows.
        """
        joints = self.body.joints(self.global_orient, self.body_pose, self.betas, self.transl)
        return self._in_frame(joints, frame)

    def vertices(self, frame: Frame = "camera") -> Float32:
        """Return the surface's vertices (rows, V, 3) in metres; ``tracks.body.faces`` are its triangles.

        A row takes 12 V bytes, 162 KB for open-body: select rows first. Arguments and errors are those of ``joints``.
        """
        vertices, _ = self.body.surface(self.global_orient, self.body_pose, self.betas, self.transl)
        return self._in_frame(vertices.astype(np.float64), frame).astype(np.float32)

    def keypoints_2d(self) -> Float64:
        """Return the joints (rows, J, 2) in pixels of the displayed frame, by ``focal_px`` and the principal point.

        Raises:
            UsageError: The metadata names no video or no body, or the body is missing here.
        """
        video, focal_px = self.video, self.focal_px.astype(np.float64)
        center = center_px(self.meta, (video["width_px"], video["height_px"]))
        return project(self.joints(), focal_px, center).astype(np.float64)

    def to_arrow(self) -> "pa.Table":
        """Return the rows as a pyarrow Table: the columns of a tracks file, vectors as fixed-size lists.

        It holds the metadata too: ``read_tracks`` reads what ``pyarrow.parquet.write_table`` makes of it.
        """
        return arrow_table(self, self.meta)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the rows as a pandas DataFrame: the columns of a tracks file, vectors as arrays.

        Raises:
            NotInstalledError: pandas is missing.
        """
        optional.load("pandas", "pip install pandas", "install it again")
        return self.to_arrow().to_pandas()

    def write(
        self, path: str | Path, format: Literal["auto", "parquet", "npz", "cliff"] = "auto", *, overwrite: bool = False
    ) -> None:
        """Write the rows, in a file's order, and the metadata to a tracks file. After an error no file is left behind.

        Args:
            path: The file to write.
            format: Its format. ``auto``: by the suffix.
            overwrite: Replace an existing file.

        Raises:
            UsageError: The file exists, its suffix is that of another format, or a person has two rows in a frame.
            OutputError: It cannot be written.
        """
        path = Path(path)
        kind = output_format(path, format)
        check_free(path, overwrite)
        try:
            rows = in_order(self)
        except Misfit as misfit:
            raise UsageError(f"{path}: not written: {misfit}") from misfit
        with Claim(path), open_writer(kind, path, self[:0], self._described(), overwrite) as writer:
            writer.write(rows)
            writer.finish()

    def _described(self) -> Meta:
        """Return the metadata with the counts of these rows."""
        if "counts" not in self.meta:
            return self.meta
        flags = {name: int(((self.flags & bit) != 0).sum()) for name, bit in FLAG_BITS.items()}
        meta, counts = self.meta.copy(), self.meta["counts"].copy()
        counts["rows"], counts["tracks"], counts["flags"] = len(self), len(np.unique(self.track_id)), flags
        meta["counts"] = counts
        return meta

    def _in_frame(self, points: Float64, frame: Frame) -> Float64:
        if frame == "camera":
            return points
        check(
            frame == "level" or isinstance(frame, Levels), f"frame {frame}: choose camera, level or what level returns"
        )
        levels = frame if isinstance(frame, Levels) else self.levels
        turned = np.empty_like(points)
        shot = np.searchsorted(levels.starts, self.frame_idx, side="right") - 1
        for number, each in enumerate(levels.levels):
            rows = shot == number
            turned[rows] = points[rows] @ (Z_UP @ each.axes).T
            turned[rows, :, 2] -= each.floor_m or 0
        return turned


def level(tracks: VideoTracks, up: str = "auto") -> Levels:
    """Return which way is up in each shot of a video, and where the floor is, as the people show it.

    Args:
        tracks: Rows of the video; the more people walk about in them, the surer it is.
        up: ``auto``: what the people say where it is sure, else the camera's own axes. ``floor``: what they say.
            ``camera``: the camera's own. ``x,y,z``: this direction as the camera sees it.

    Returns:
        The levels, for ``joints(frame=...)``. ``words()`` describes them, ``at(frame_idx)`` is that of a frame: ``up``,
        ``floor_m`` and ``sigma_deg``, the standard error of up.

    Raises:
        UsageError: ``up`` is none of these, or the body is missing.
    """
    check_up(up)
    return Levels.find(tracks, tracks.body, up, tracks.meta)
