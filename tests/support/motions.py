"""Tracks of people who move at random, and where their joints are at any time."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from cliffvid import read_tracks
from cliffvid.models.body import load_body
from cliffvid.tables import Tracks
from cliffvid.tracks.write import WRITERS

RATE = 60.0
MOTIONS = st.tuples(st.integers(0, 10**6), st.lists(st.integers(1, 4), min_size=1, max_size=8))


def save(path: Path, frames, ids, *, turn=None, pose=None, betas=None, transl=None, body="open-body", flags=None):
    """A tracks file of a row for each frame number and identity, on a clock of RATE; what is not told is 0."""
    count = len(frames)
    moved, shape = (63, 11) if body.startswith("smplx") else (69, 10)
    like = Tracks.empty(Tracks.optional(), pose=moved, shape=shape, joints=moved // 3 + 1)
    columns = {n: np.zeros((count, *c.shape[1:]), c.dtype) for n, c in like.columns().items()}
    columns["frame_idx"][:], columns["track_id"][:] = frames, ids
    columns["joint_confidence"] += np.linspace(0, 1, moved // 3 + 1, dtype=np.float32)
    columns["time_s"][:] = columns["frame_idx"] / RATE
    columns["pts"][:] = columns["frame_idx"] * 1000
    columns["det_score"][:], columns["focal_px"][:] = 0.9, 1200
    given_ = {"global_orient": turn, "body_pose": pose, "betas": betas, "transl": transl, "flags": flags}
    for name, values in given_.items():
        if values is not None:
            columns[name][:] = values
    tracks = Tracks(**columns)
    tracks = tracks[np.lexsort((tracks.track_id, tracks.frame_idx))]
    with WRITERS["npz"](path, like) as writer:
        writer.write(tracks)
        info = {"name": "a.mp4", "codec": "h264", "width_px": 1280, "height_px": 720}
        counts = {"decode": {"frames": int(max(frames, default=0)) + 1}}
        writer.finish({"video": info, "body": {"name": body}, "models": [], "complete": True, "counts": counts})
    return path


def random_motion(folder: Path, seed: int, steps: list[int]):
    """A person on irregular frames: any turns, so also beyond half a turn; a tracks file and its truth."""
    rng = np.random.default_rng(seed)
    frames = np.concatenate([[3], 3 + np.cumsum(steps)])
    count = len(frames)
    turn, pose = rng.normal(0, 2, (count, 3)), rng.normal(0, 0.6, (count, 69))
    transl = [0, 0, 6] + rng.normal(0, 1, (count, 3))
    betas = np.tile(rng.normal(0, 1, 10), (count, 1))
    path = save(folder / "a.npz", frames, [1] * count, turn=turn, pose=pose, betas=betas, transl=transl)
    return path, read_tracks(path)


def truth_at(rows: Tracks, time_s: float) -> np.ndarray:
    """Joints in the camera's frame: rotations by scipy's slerp, the pelvis along a line, at the video's true times."""
    body = load_body("open-body")
    pose = np.concatenate([rows.global_orient, rows.body_pose], axis=1).reshape(len(rows), -1, 3).astype(float)
    now = np.stack([Slerp(rows.time_s, Rotation.from_rotvec(pose[:, j]))(time_s).as_rotvec() for j in range(24)])
    transl = np.array([np.interp(time_s, rows.time_s, column) for column in rows.transl.T])
    return body.joints(now[:1], now[1:].reshape(1, 69), rows.betas[:1].astype(float), transl[None])[0]
