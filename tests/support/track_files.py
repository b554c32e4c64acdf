"""Tracks files of people whose places are known."""

from pathlib import Path

import numpy as np

from cliffvid.tables import Tracks
from cliffvid.tracks.write import WRITERS
from scenes import people


def make_tracks(
    path: Path,
    video: Path,
    places,
    frames: int,
    focal_px: float = 200.0,
    body: str = "open-body",
    moved: int = 23,
    betas: int = 10,
    flags: dict[tuple[int, int], int] | None = None,
) -> Path:
    """Tracks of people who stand still: the k-th at ``places[k]`` in all the frames, 25 a second.

    ``flags``: (frame, track) -> the row's flags, of rows that have some.
    """
    count = len(places)
    turn, pose, shape, transl = people(places)
    like = Tracks.empty(pose=3 * moved, shape=betas)
    columns = {n: np.zeros((frames * count, *c.shape[1:]), c.dtype) for n, c in like.columns().items()}
    columns["frame_idx"][:] = np.repeat(np.arange(frames), count)
    columns["time_s"][:] = columns["frame_idx"] / 25
    columns["track_id"][:] = np.tile(np.arange(1, count + 1), frames)
    columns["det_score"][:] = np.tile(np.linspace(0.9, 0.5, count), frames)
    columns["focal_px"][:] = focal_px
    columns["bbox_xyxy"][:] = [20, 20, 60, 100]
    for (frame, track), bits in (flags or {}).items():
        columns["flags"][frame * count + track - 1] = bits
    given = {"global_orient": turn, "body_pose": pose, "betas": shape, "transl": transl}
    for name, values in given.items():
        width = min(columns[name].shape[1], values.shape[1])
        columns[name][:, :width] = np.tile(values[:, :width], (frames, 1))
    with WRITERS["npz"](path, like) as writer:
        writer.write(Tracks(**columns))
        info = {"name": video.name, "codec": "h264", "width_px": 192, "height_px": 144}
        counts = {"decode": {"frames": frames, "damaged": 0}}
        made = {"video": info, "body": {"name": body}, "models": [], "complete": True, "counts": counts}
        writer.finish(made)
    return path
