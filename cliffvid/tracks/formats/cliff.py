"""Write the result file of the official CLIFF demo: its keys in addition to the columns of a tracks file."""

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from ... import geometry
from ...errors import UsageError
from ...models.body import Body, load_body
from ...tables import Array, Tracks
from ..meta import known
from ..write import NpzWriter, add_array

SMPL_VERTICES = 6890
# Vertices that the smplx package appends to SMPL's 24 joints: nose, eyes, ears (right before left); big toe, small toe
# and heel of the left foot, then the right; thumb to little finger of the left hand, then the right.
# fmt: off
PICKED = (
    332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787,
    2746, 2319, 2445, 2556, 2673, 6191, 5782, 5905, 6016, 6133,
)
# fmt: on
NAMES_AT_ONCE = 4096


class CliffWriter(NpzWriter):
    """Writes the keys of the official demo: ``imgname`` per image, and ``fps`` once.

    Per row: pose, shape, global_t, pred_joints, focal_l and detection_all. Raises UsageError if the body does not have
    SMPL's 24 joints and 10 betas, or if its file is missing.
    """

    def __init__(self, path: Path, like: Tracks, meta: Mapping[str, object], overwrite: bool = False) -> None:
        body = known(meta)["body"]["name"]
        if (like.body_pose.shape[1], like.betas.shape[1]) != (69, 10):
            raise UsageError(
                f"--format cliff: holds bodies of 24 joints and 10 betas, but the regressor answers {body!r}; "
                "choose --format npz"
            )
        self._body = load_body(body)
        is_smpl = body.split("-")[0] == "smpl" and self._body.weights.shape[1] == SMPL_VERTICES
        self._picked = with_vertices(self._body, list(PICKED)) if is_smpl else None
        super().__init__(path, like, meta, overwrite)

    def _arrays(self, tracks: Tracks) -> dict[str, Array]:
        pose, betas, transl = tracks.body_pose, tracks.betas, tracks.transl
        joints = self._body.joints(tracks.global_orient, pose, betas, transl)
        if self._picked:
            joints = np.hstack([joints, self._picked.surface(tracks.global_orient, pose, betas, transl)[0]])
        ones, zeros = np.ones_like(tracks.det_score), np.zeros_like(tracks.det_score)
        detection = [tracks.frame_idx, *tracks.bbox_xyxy.T, tracks.det_score, ones, zeros]
        return super()._arrays(tracks) | {
            "pose": np.hstack([tracks.global_orient, pose]),
            "shape": betas,
            "global_t": transl,
            "pred_joints": joints.astype(np.float32),
            "focal_l": tracks.focal_px,
            "detection_all": np.column_stack(detection).astype(np.float32),
        }

    def _write(self, tracks: Tracks) -> None:
        super()._write(tracks)
        self._last = int(tracks.frame_idx.max(initial=self._last))

    _last = -1  # the last frame with a person

    def _add_more(self, archive: zipfile.ZipFile, meta: Mapping[str, object]) -> None:
        facts = known(meta)
        files = facts["video"].get("files")
        read = facts.get("counts", {}).get("decode", {}).get("frames", 0)  # unknown for rewritten tracks
        count = len(files) if files else max(read, self._last + 1)
        width = max(map(len, files)) if files else len(frame_name(count))
        dtype = np.dtype(f"<U{width}")

        def blocks() -> Iterator[bytes]:
            for start in range(0, count, NAMES_AT_ONCE):
                some = range(start, min(start + NAMES_AT_ONCE, count))
                yield np.array([files[i] if files else frame_name(i + 1) for i in some], dtype).tobytes()

        add_array(archive, "imgname", dtype, (count,), blocks())
        rate = facts["video"].get("rate")
        fps = np.float64(Fraction(rate)) if rate else np.float64(np.nan)
        add_array(archive, "fps", fps.dtype, (), [fps.tobytes()])


def frame_name(number: int) -> str:
    """Return the official demo's name of a video frame, counted from 1."""
    return f"{number:06d}.png"


def with_vertices(body: Body, picked: list[int]) -> Body:
    """Return the same body with only these vertices, to pose them without the others."""

    def only(rows: geometry.Array) -> geometry.Array:
        return rows.reshape(*rows.shape[:-1], 3, -1)[..., picked].reshape(*rows.shape[:-1], -1)

    return dataclasses.replace(
        body,
        faces=np.zeros((0, 3), np.int32),
        rest_m=only(body.rest_m),
        shape_dirs_m=only(body.shape_dirs_m),
        pose_dirs_m=None if body.pose_dirs_m is None else only(body.pose_dirs_m),
        weights=np.ascontiguousarray(body.weights[:, picked]),
        rest_normals=body.rest_normals[:, picked],
    )
